//! Asking whether a message is there.

use super::backlog::{Backlog, Call};
use super::slot::{OperationInfo, Outcome, SlotId, WakeUp};
use super::{Engine, WorkQueue};
use crate::endpoint::NO_MESSAGE;
use crate::ffi::Posted;

impl Engine {
    /// Asks the provider whether a message is there, and returns the answer without waiting: `None` if there is no
    /// such message, or if the provider can't tell now.
    ///
    /// A probe neither counts as a receive nor queues behind receives, so that a full receive queue does not delay
    /// the answer. The slot is released, unless the result is an outcome to be taken.
    pub(crate) fn probe(&mut self, info: OperationInfo, tag: u64, ignore: u64, now: u32) -> Option<SlotId> {
        let id = self.slots.take(info, now);
        let work_queue = WorkQueue::Receive as usize;
        let room = std::mem::replace(&mut self.room[work_queue], usize::MAX);
        // SAFETY: a peek is given no memory.
        let posted = unsafe { self.attempt(id, Call::Peek { tag, ignore }, &[]) };
        self.room[work_queue] = room;
        match posted {
            Posted::Yes => {}
            Posted::Again => {
                self.release(id);
                return None;
            }
            Posted::Failed(code) => self.refuse(id, code),
        }
        // Every provider answers at once; the answer is behind the completions that were there before.
        while !self.slots.get(id).is_over() && self.poll() {}
        let record = self.slots.get(id);
        match record.outcome() {
            None => self.abandon(id, WakeUp::None),
            Some(Outcome::Failed(error)) if error.code == NO_MESSAGE => self.release(id),
            // A receive that waits for room in the provider has a right to the message.
            Some(&Outcome::Done { tag, .. }) if is_claimed(&self.deferred[work_queue], tag) => {
                self.release(id)
            }
            Some(_) => return Some(id),
        }
        None
    }
}

/// Whether a receive that is still to be posted matches the message.
fn is_claimed(receives: &Backlog, message: u64) -> bool {
    receives.iter().any(|deferred| match deferred.call {
        Call::Receive { tag, ignore } => (tag ^ message) & !ignore == 0,
        _ => false,
    })
}
