//! One open endpoint: how it is opened, how operations are kept, how we wait.
//!
//! One mutex covers posting and polling (`core`); what an operation needs to be remembered is in a slot (`slot`);
//! whoever waits polls (`wait`), and a thread sees to it that somebody does (`progress`).

mod activity;
pub(crate) mod call;
mod card;
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
mod primitives;
mod progress;
mod scope;
pub(crate) mod shared;
pub(crate) mod slot;
pub(crate) mod tag;
mod wait;
mod watchdog;
mod workspace;

pub use card::AddressCard;
pub use config::EndpointConfig;
use failure::{NO_MESSAGE, TRUNCATED};
pub(crate) use farewell::Progress;
pub(crate) use op::State;
pub use op::{Completion, Op};
pub use open::{Endpoint, Unconnected};
pub use scope::{Scope, ScopedOp};
pub use tag::{MAX_RANKS, Source, Tag, TagMatch};
pub(crate) use workspace::{Place, Workspace, WorkspaceState};
