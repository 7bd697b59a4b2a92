//! Who polls and who waits, to be seen without the lock.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Written under the endpoint's lock, read by the progress thread without it: taking the lock every few milliseconds
/// from a thread that polls would cost that thread several turns of the scheduler each time.
#[derive(Default)]
pub(in crate::endpoint) struct Activity {
    polls: AtomicU64,
    tasks: AtomicUsize,
}

impl Activity {
    /// Notes a poll.
    #[inline]
    pub(in crate::endpoint) fn polled(&self) {
        // One writer at a time, so no locked instruction is needed.
        self.polls.store(self.polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How often the queue was polled.
    pub(in crate::endpoint) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    /// Whether others have polled since there were `seen` polls, and no task waits that they might leave alone.
    pub(in crate::endpoint) fn is_enough_since(&self, seen: u64) -> bool {
        self.polls() != seen && self.tasks() == 0
    }

    /// Notes that a task waits for its operation.
    pub(in crate::endpoint) fn task_waits(&self) {
        self.tasks.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a task waits no longer.
    pub(in crate::endpoint) fn task_left(&self) {
        self.tasks.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many tasks wait.
    pub(in crate::endpoint) fn tasks(&self) -> usize {
        self.tasks.load(Ordering::Relaxed)
    }
}
