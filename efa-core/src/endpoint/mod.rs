//! One open endpoint: how it is opened, how operations are kept, how we wait.
//!
//! One mutex covers posting and polling (`core`); what an operation needs to be remembered is in a slot (`slot`);
//! whoever waits polls (`wait`), and a thread sees to it that somebody does (`progress`).

mod activity;
mod borrow_tracker;
pub(crate) mod call;
mod clock;
mod closing;
mod config;
mod connections;
pub(crate) mod core;
mod failure;
mod farewell;
mod fence;
mod keys;
mod lock;
#[cfg(test)]
mod lock_tests;
mod numbers;
mod op;
mod open;
mod peer_address;
mod primitives;
mod progress;
mod scope;
pub(crate) mod shared;
pub(crate) mod slot;
pub(crate) mod tag;
mod wait;
mod watchdog;

pub(crate) use borrow_tracker::{BorrowTracker, Place, WorkspaceState};
pub use config::EndpointConfig;
use failure::{NO_MESSAGE, TRUNCATED};
pub(crate) use farewell::Progress;
pub(crate) use op::State;
pub use op::{Completion, Op};
pub use open::{Endpoint, Unconnected};
pub use peer_address::PeerAddress;
pub use scope::{Scope, ScopedOp};
pub use tag::{MAX_RANKS, Source, Tag, TagMatch};
