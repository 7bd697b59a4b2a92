//! Who is in the job, and how its members find, trust and watch one another.
//!
//! A launcher starts the members; [`Job::from_env`] reads from the environment which one this is. [`Job::connect`]
//! brings them together: rank 0 listens at the *rendezvous*, and every other rank holds one TCP connection to it,
//! encrypted and authenticated with the [job key](JobKey). Over it the members exchange small facts
//! ([`Control`]) and notice when one of them dies ([`Liveness`]). Tensors never travel here.
//!
//! Without a job key the members only meet on the loopback interface of one host, and only processes of the same user
//! are let in: rank 0 makes a key and hands it to them over a Unix socket, where either side learns from the kernel who
//! the other is.
//!
//! ```
//! # fn main() -> efa_bootstrap::Result<()> {
//! use efa_bootstrap::{ControlConfig, Job};
//! use std::time::Duration;
//!
//! let deadline = Duration::from_secs(30);
//! let job = Job::alone(); // Job::from_env()? in a real program
//! let control = job.connect(&ControlConfig::default(), deadline)?;
//! let addresses = control.exchange("endpoint addresses", b"my address", deadline)?;
//! assert_eq!(addresses.len(), control.size());
//! control.leave();
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod address;
mod ancestors;
mod client;
mod control;
mod coordinator;
mod dial;
mod environment;
mod fault;
mod frame;
#[cfg(test)]
mod fuzz_tests;
mod gather;
mod inbox;
mod job;
mod key;
mod kubernetes;
mod launch;
mod liveness;
mod message;
mod nesting;
mod ranks;
mod root_process;
mod running;
mod same_user;
mod secret;
mod secure_connection;
mod server;
mod slurm;
mod worker;

pub use efa_error::{Error, Explanation, Peer, Result};

pub use control::{Control, ControlConfig};
pub use frame::MAX_PAYLOAD;
pub use job::{Job, Launcher, MAX_RANKS, Rendezvous};
pub use key::JobKey;
pub use launch::LaunchEnv;
pub use liveness::{CalledOff, Liveness, Status};
pub use root_process::RootProcess;
pub use secret::JobSecret;
