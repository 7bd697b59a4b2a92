//! What is known of the peers: who is gone, and which failures may be theirs.
//!
//! Looking for news costs a posted operation one load and one comparison. A rank that is gone is flagged in the counters
//! that each call to it looks at anyway.
//!
//! A provider tells that an operation failed, and seldom why: a target that has died looks like one that closed its
//! region. The control connection tells who has died, a moment later. So a failure that a peer's death may explain is
//! kept back for a short time.

use super::Engine;
use super::slot::{Outcome, SlotId};
use crate::endpoint::error::is_doubtful;
use crate::ffi::CompletionError;

/// In `waiting`: the rank is gone.
const GONE: u32 = 1 << 31;
/// How long a failure waits for the news that its peer is gone, in ticks.
const DOUBT: u32 = 100;

/// What the engine knows of a rank.
pub(super) struct Peer {
    /// Where to post to.
    pub address: u64,
    /// How many operations for it wait for room; a flag if it is gone, or if messages to it have numbers.
    pub waiting: u32,
}

/// A failed operation whose outcome is kept back.
pub(super) struct Doubtful {
    id: SlotId,
    error: CompletionError,
    since: u32,
}

impl Engine {
    /// Returns the rank's address if operations for it can be posted at once, as far as is known here.
    #[inline(always)]
    pub(super) fn free_peer(&mut self, rank: u32) -> Option<u64> {
        if self.liveness.epoch() != self.news {
            self.hear_news();
        }
        let peer = &self.peers[rank as usize];
        (peer.waiting == 0).then_some(peer.address)
    }

    #[cold]
    fn hear_news(&mut self) {
        self.news = self.liveness.epoch();
        for (rank, peer) in self.peers.iter_mut().enumerate() {
            if self.liveness.status(rank).is_gone() {
                peer.waiting |= GONE;
            }
        }
    }

    /// Whether the rank is known to be gone.
    pub(super) fn is_gone(&self, rank: usize) -> bool {
        self.peers[rank].waiting & GONE != 0
    }

    /// Notes that an operation failed, now or when it is known whether its peer is gone.
    #[cold]
    pub(super) fn finish_failed(&mut self, id: SlotId, error: CompletionError) {
        let request = self.slots.get(id).request;
        let is_alone = self.peers.len() == 1;
        if is_alone || !is_doubtful(&request, error.code) || self.has_lost(request.peer) {
            return self.finish(id, Outcome::Failed(Box::new(error)));
        }
        self.doubtful.push(Doubtful { id, error, since: self.watch.looked() });
    }

    /// Ends the operations whose peer is gone by now, and those that have waited for that long enough.
    pub(crate) fn end_doubts(&mut self, now: u32) {
        if self.doubtful.is_empty() {
            return;
        }
        self.hear_news();
        self.settle_doubts(|doubtful| now.wrapping_sub(doubtful.since) > DOUBT);
    }

    /// Ends the operations that `is_due` says, and those whose peer is gone.
    pub(super) fn settle_doubts(&mut self, is_due: impl Fn(&Doubtful) -> bool) {
        for doubtful in std::mem::take(&mut self.doubtful) {
            let peer = self.slots.get(doubtful.id).request.peer;
            if is_due(&doubtful) || self.has_lost(peer) {
                self.finish(doubtful.id, Outcome::Failed(Box::new(doubtful.error)));
            } else {
                self.doubtful.push(doubtful);
            }
        }
    }

    /// Ends an operation now, if it has failed and its outcome was kept back.
    pub(super) fn end_doubt(&mut self, id: SlotId) -> bool {
        let Some(place) = self.doubtful.iter().position(|doubtful| doubtful.id == id) else { return false };
        let doubtful = self.doubtful.swap_remove(place);
        self.finish(id, Outcome::Failed(Box::new(doubtful.error)));
        true
    }

    fn has_lost(&self, peer: Option<u32>) -> bool {
        peer.is_some_and(|rank| self.is_gone(rank as usize))
    }
}
