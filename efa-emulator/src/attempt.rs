//! How far a work request has come, and how one try went.

use std::time::Duration;

use crate::status::Status;

/// Wait before the first retry when a receiver isn't ready. It doubles with each retry.
const RETRY_FIRST: Duration = Duration::from_micros(20);

/// How one try went.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Finished, well or not.
    Done(Status),
    /// The receiver has no receive posted.
    NotReady,
    /// The same again in a moment: the peer must do something first. Given up after a while with the status, if any.
    Later(Option<Status>),
    /// Finished after a while.
    After(Duration, Status),
}

/// How far a request has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Tries left when the receiver isn't ready.
    pub(crate) retries: u32,
    /// Wait before the next of these.
    pub(crate) wait: Duration,
    /// How long it has waited for the peer to answer letters.
    pub(crate) waited: Duration,
    /// Fail like this instead of trying.
    pub(crate) fail: Option<Status>,
    /// Pretend this many times that no receive was there.
    pub(crate) not_ready: u32,
}

impl Attempt {
    /// Makes the state before the first try.
    pub(crate) fn first(retries: u32) -> Self {
        Self { retries, wait: RETRY_FIRST, waited: Duration::ZERO, fail: None, not_ready: 0 }
    }
}
