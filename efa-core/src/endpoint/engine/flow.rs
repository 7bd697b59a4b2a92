//! Operations that wait for room in the provider, and taking operations back.

use super::Engine;
use super::backlog::{Deferred, Memory};
use super::slot::{CancelReason, SlotId};
use crate::endpoint::request::{Operation, Request, WorkQueue};
use crate::error::Code;
use crate::ffi::{ADDRESS_UNSPECIFIED, Posted, Segment};

impl Engine {
    /// Puts an operation into its backlog, unless it can be posted after all.
    ///
    /// # Safety
    /// As [`Engine::start`].
    #[cold]
    pub(super) unsafe fn defer(&mut self, id: SlotId, memory: &[Segment]) {
        let request = self.slots.get(id).request;
        let work_queue = request.operation.work_queue();
        if let (WorkQueue::Transmit, Some(rank)) = (work_queue, request.peer)
            && self.is_gone(rank as usize)
        {
            let record = self.slots.get(id).special();
            record.cancel_reason = Some((CancelReason::PeerLost, record.started));
            return self.refuse(id, Code(libc::ECANCELED));
        }
        if let (WorkQueue::Transmit, Some(rank)) = (work_queue, request.peer)
            && self.may_number_now(rank)
        {
            // SAFETY: passed on to the caller.
            match unsafe { self.attempt_numbered(id, request, memory) } {
                Posted::Yes => return,
                Posted::Again => {}
                Posted::Failed(code) => return self.reject(id, code),
            }
        }
        let turn = self.deferred[work_queue as usize].push(id, Memory::of(memory));
        self.slots.get(id).turn = turn;
        if work_queue == WorkQueue::Receive && self.numbers_messages() {
            self.retry_receives();
        }
        if let (WorkQueue::Transmit, Some(rank)) = (work_queue, request.peer) {
            self.peers[rank as usize].waiting += 1;
        }
    }

    /// Tries once more what was deferred.
    ///
    /// # Safety
    /// As [`Engine::start`].
    #[cold]
    unsafe fn attempt_again(&mut self, deferred: &Deferred) -> Posted {
        let (id, memory) = (deferred.id, deferred.memory.segments());
        let request = self.slots.get(id).request;
        // SAFETY: passed on to the caller.
        unsafe {
            match self.numbers_messages() {
                true => self.attempt_numbered(id, request, memory),
                false => self.attempt_any(id, request, memory),
            }
        }
    }

    /// [`Engine::attempt`] for an operation of whatever kind.
    ///
    /// # Safety
    /// As [`Engine::start`].
    #[cold]
    pub(super) unsafe fn attempt_any(&mut self, id: SlotId, request: Request, memory: &[Segment]) -> Posted {
        let peer = request.peer.map(|rank| &self.peers[rank as usize]);
        let address = peer.map_or(ADDRESS_UNSPECIFIED, |peer| peer.address);
        // SAFETY: passed on to the caller.
        unsafe { self.attempt(id, request, address, memory) }
    }

    #[cold]
    pub(super) fn retry(&mut self) {
        self.retry_receives();
        let out = WorkQueue::Transmit as usize;
        if self.in_flight[out] >= self.room[out] {
            return;
        }
        let mut waiting = self.deferred[out].take();
        let mut refused: Vec<u32> = Vec::new();
        // Every call is looked at once, and what stays keeps its order.
        for _ in 0..waiting.len() {
            let Some(next) = waiting.pop_front() else { break };
            let rank = self.slots.get(next.id).request.peer.unwrap_or_default();
            let full = self.in_flight[out] >= self.room[out];
            if full && refused.is_empty() {
                // Nothing was moved to the end, so the rest is in order as it is.
                waiting.push_front(next);
                break;
            }
            if full || refused.contains(&rank) {
                waiting.push_back(next);
                continue;
            }
            // SAFETY: whoever started it vouched for the memory until the outcome is there, and it is not.
            match unsafe { self.attempt_again(&next) } {
                Posted::Again => {
                    refused.push(rank);
                    waiting.push_back(next);
                    continue;
                }
                Posted::Yes => {}
                Posted::Failed(code) => self.reject(next.id, code),
            }
            self.peers[rank as usize].waiting -= 1;
        }
        self.deferred[out].restore(waiting);
    }

    fn retry_receives(&mut self) {
        let work_queue = WorkQueue::Receive as usize;
        while let Some(next) = self.deferred[work_queue].pop() {
            // SAFETY: as in `retry`.
            match unsafe { self.attempt_again(&next) } {
                Posted::Yes => {}
                Posted::Again => return self.deferred[work_queue].unpop(next),
                Posted::Failed(code) => self.reject(next.id, code),
            }
        }
    }

    /// Tries to end an operation before its time, and notes why. Returns false when only closing the endpoint can.
    pub(crate) fn cancel(&mut self, id: SlotId, cancel_reason: CancelReason, now: u32) -> bool {
        let record = self.slots.get(id);
        let Request { operation, peer, .. } = record.request;
        let (first, turn) = (record.cancel_reason.is_none(), record.turn);
        record.special().cancel_reason.get_or_insert((cancel_reason, now));
        if self.end_doubt(id) {
            return true;
        }
        if turn != 0 && self.deferred[operation.work_queue() as usize].withdraw(turn, id) {
            if let (WorkQueue::Transmit, Some(rank)) = (operation.work_queue(), peer) {
                self.peers[rank as usize].waiting -= 1;
            }
            self.refuse(id, Code(libc::ECANCELED));
            return true;
        }
        if let Operation::ImmediateData { value, .. } = operation {
            self.expectations.retain(|expectation| expectation.id != id);
            self.refuse(id, Code(libc::ECANCELED));
            // One that came later and wants less may have all it wants.
            self.settle(value);
            return true;
        }
        if operation.can_cancel() && first {
            let context = self.slots.context(id);
            if let Some(endpoint) = &mut self.endpoint {
                endpoint.cancel(context);
            }
        }
        operation.can_cancel()
    }
}
