//! Collectives: what all ranks of a group do together.
//!
//! A collective is carried out by a [`Schedule`]: what one rank sends, receives, reduces and
//! copies, and in which order. Schedules are made by the functions in [`algorithms`], chosen by [`select`]. They are
//! plain data, so that the same schedule moves real bytes over an endpoint and runs in the simulator ([`simulate`]),
//! which proves it right and predicts how long it takes.

#![forbid(unsafe_code)]

pub mod algorithms;
mod call;
mod communicator;
mod execute;
mod ranges;
pub mod reduce;
pub mod schedule;
pub mod select;
pub mod simulate;
mod validate;

pub use call::{BufferMode, Call, Collective, Counts, MAX_RANKS};
pub use communicator::Communicator;
pub use reduce::{Located, ReduceOp, Reduction, UserOp};
pub use schedule::Schedule;
pub use select::{Algorithm, Options};
