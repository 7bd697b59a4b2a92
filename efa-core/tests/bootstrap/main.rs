//! Jobs whose members meet over real connections on the loopback interface.

mod arrival;
mod job;
mod operations;
mod processes;
mod strangers;
