//! Jobs whose members meet over real connections on the loopback interface.

mod arrival;
mod flood;
mod job;
mod operations;
mod processes;
mod strangers;
