//! One open endpoint: how it is opened, how operations are kept, how we wait.
//!
//! `engine` is what an endpoint remembers and decides: the operations under way, and the calls that have no room yet. `driver`
//! decides which thread runs it: the lock in front of it, waiting, the progress thread, and the clock.

mod borrow_tracker;
mod config;
mod driver;
mod engine;
mod error;
mod farewell;
mod keys;
mod op;
mod open;
mod peer_address;
mod pending;
pub(crate) mod request;
mod scope;
mod submit;
pub(crate) mod tag;

pub(crate) use borrow_tracker::{BorrowTracker, Place, WorkspaceState};
pub use config::EndpointConfig;
use error::{NO_MESSAGE, TRUNCATED};
pub(crate) use farewell::Progress;
pub use op::{Completion, Op, OpError, OpResult};
pub use open::{Endpoint, Unconnected};
pub use peer_address::PeerAddress;
pub use pending::{AnyBuffer, Pending, wait_all, wait_all_timeout, wait_any, wait_any_timeout};
pub use scope::{Scope, ScopedOp};
pub use tag::{MAX_RANKS, Source, Tag, TagMatch};
