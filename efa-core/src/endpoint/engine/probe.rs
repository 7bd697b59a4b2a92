//! Asking whether a message is there.

use super::Engine;
use super::slot::{Outcome, SlotId, WakeUp};
use crate::endpoint::NO_MESSAGE;
use crate::endpoint::request::{Operation, Request, WorkQueue};
use crate::ffi::{ADDRESS_UNSPECIFIED, Posted};

impl Engine {
    /// Asks the provider whether a message is there, and returns the answer without waiting: `None` if there is no
    /// such message, or if the provider can't tell now.
    ///
    /// A probe neither counts as a receive nor queues behind receives, so that a full receive queue does not delay
    /// the answer. The slot is released, unless the result is an outcome to be taken.
    pub(crate) fn probe(&mut self, request: Request, now: u32) -> Option<SlotId> {
        let id = self.slots.take(request, now);
        let work_queue = WorkQueue::Receive as usize;
        let room = std::mem::replace(&mut self.room[work_queue], usize::MAX);
        // SAFETY: a peek is given no memory.
        let posted = unsafe { self.attempt(id, request, ADDRESS_UNSPECIFIED, &[]) };
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
        let message = match self.slots.get(id).outcome() {
            None => {
                self.abandon(id, WakeUp::None);
                return None;
            }
            Some(Outcome::Failed(error)) if error.code == NO_MESSAGE => None,
            Some(&Outcome::Done { tag, .. }) => Some(tag),
            Some(_) => return Some(id),
        };
        // A receive that waits for room in the provider has a right to the message.
        if message.is_some_and(|tag| !self.is_claimed(tag)) {
            return Some(id);
        }
        self.release(id);
        None
    }

    /// Whether a receive that is still to be posted matches the message.
    fn is_claimed(&mut self, message: u64) -> bool {
        let receives = self.deferred[WorkQueue::Receive as usize].iter();
        receives.into_iter().any(|deferred| {
            let Request { operation, peer, tag, .. } = self.slots.get(deferred.id).request;
            let Operation::Receive { space, ignore } = operation else { return false };
            let (tag, ignore) = self.tags.pack_match(space, peer, tag, ignore);
            (tag ^ message) & !ignore == 0
        })
    }
}
