//! Groups: a slot that is over when all operations of a scope are.

use super::Engine;
use super::slot::{CancelReason, Outcome, SlotId, WakeUp};
use crate::endpoint::request::Request;

impl Engine {
    /// Opens a group. It is over when it has been sealed, and of every operation that names it in its [`Request`] either
    /// the result was taken or the end has come.
    pub(crate) fn open_group(&mut self, now: u32) -> SlotId {
        let id = self.slots.take(Request::GROUP, now);
        self.slots.get(id).members = 1;
        id
    }

    /// Puts one more operation into a group.
    #[inline]
    pub(crate) fn join_group(&mut self, group: SlotId) {
        self.slots.get(group).members += 1;
    }

    #[inline]
    pub(super) fn leave_group(&mut self, group: SlotId) {
        let record = self.slots.get(group);
        record.members -= 1;
        if record.members == 0 {
            self.finish(group, Outcome::Done { bytes: 0, tag: 0 });
        }
    }

    /// Says that no more operations will join the group.
    pub(crate) fn seal_group(&mut self, group: SlotId) {
        self.leave_group(group);
        if !self.slots.get(group).is_over() {
            // Handles can be leaked: nobody will come for their operations any more.
            for id in self.slots.leaked(group) {
                self.abandon(id, WakeUp::None);
            }
        }
    }

    /// Cancels what can be cancelled of a group whose results nobody will look at.
    pub(crate) fn cancel_group(&mut self, group: SlotId, now: u32) {
        for id in self.slots.under_way() {
            // The end of one may bring that of another.
            if self.slots.is_under_way(id) && self.slots.get(id).request.group == Some(group) {
                self.cancel(id, CancelReason::Cancelled, now);
            }
        }
    }
}
