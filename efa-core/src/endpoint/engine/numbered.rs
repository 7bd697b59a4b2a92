//! Messages with numbers: see `engine::numbers`.
//!
//! An endpoint that numbers its messages takes other ways than the fast ones, so that those that don't pay nothing for it:
//! each rank is marked as one that calls have to wait for, and the work queue of receives as full. So every call of a message
//! comes here by [`Engine::defer`].

use std::time::Duration;

use super::Engine;
use super::numbers::{Missing, Numbers};
use super::slot::SlotId;
use crate::endpoint::TRUNCATED;
use crate::endpoint::request::{Operation, Request, WorkQueue};
use crate::error::Code;
use crate::ffi::{CompletionError, Entry, Posted, Segment};

/// In `waiting`: messages to the rank have numbers.
pub(super) const NUMBERED: u32 = 1 << 30;

/// Messages that are due at the end of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// All have come.
    Came,
    /// At least this one has not come yet.
    Coming { rank: usize, number: u64 },
    /// They have been overtaken by a later message of the rank, and can only be among those that nobody has received.
    Overtaken { rank: usize, number: u64 },
}

impl Engine {
    /// Lets all messages carry numbers from now on.
    pub(crate) fn number_messages(&mut self, numbered: Numbered) {
        self.peers.iter_mut().for_each(|peer| peer.waiting = NUMBERED);
        self.room[WorkQueue::Receive as usize] = 0;
        self.numbered = Some(Box::new(numbered));
    }

    /// Whether messages carry numbers.
    pub(crate) fn numbers_messages(&self) -> bool {
        self.numbered.is_some()
    }

    /// Whether messages carry numbers, and no call to the rank waits for room, nor is the rank gone.
    pub(super) fn may_number_now(&self, rank: u32) -> bool {
        self.peers[rank as usize].waiting == NUMBERED
    }

    /// [`Engine::attempt`] on an endpoint that numbers its messages.
    ///
    /// # Safety
    /// As [`Engine::start`].
    pub(super) unsafe fn attempt_numbered(
        &mut self,
        id: SlotId,
        request: Request,
        memory: &[Segment],
    ) -> Posted {
        let turn = self.slots.get(id).turn;
        match (request.operation, request.peer, &mut self.endpoint, &mut self.numbered) {
            (Operation::Send { space }, Some(rank), Some(endpoint), Some(numbered)) => {
                let out = WorkQueue::Transmit as usize;
                if self.in_flight[out] >= self.room[out] {
                    return Posted::Again;
                }
                let to = self.peers[rank as usize].address;
                let tag = self.tags.pack(space, request.tag);
                let data = numbered.numbers.next(rank as usize, tag);
                // SAFETY: passed on to the caller; the context lives as long as its slot.
                let posted = unsafe { endpoint.send_with(to, tag, data, memory, self.slots.context(id)) };
                if posted == Posted::Yes {
                    numbered.numbers.sent(rank as usize, tag);
                    self.in_flight[out] += 1;
                }
                posted
            }
            (Operation::Receive { space, ignore }, peer, Some(_), Some(_)) => {
                let (tag, ignore) = self.tags.pack_match(space, peer, request.tag, ignore);
                let work_queue = WorkQueue::Receive as usize;
                let room = std::mem::replace(&mut self.room[work_queue], usize::MAX);
                // SAFETY: passed on to the caller.
                let posted = unsafe { self.attempt_any(id, request, memory) };
                self.room[work_queue] = room;
                if let (Posted::Yes, Some(numbered)) = (posted, &mut self.numbered) {
                    numbered.numbers.posted(turn, tag, ignore);
                }
                posted
            }
            // SAFETY: passed on to the caller.
            _ => unsafe { self.attempt_any(id, request, memory) },
        }
    }

    /// Looks at the number of a message that a receive met. Returns `false` if the endpoint had to be closed, because a
    /// message before it is lost.
    pub(super) fn meet_number(&mut self, id: SlotId, entry: &Entry) -> bool {
        let data = entry.number().map(|number| (entry.tag(), number));
        self.end_receive(id, data)
    }

    /// [`Engine::meet_number`] for an operation that failed.
    ///
    /// What was posted to the provider fails there when its connection breaks, and for no other reason, unless a message
    /// was too long. The provider makes another connection, but what was on its way over the old one is lost.
    pub(super) fn meet_failure(&mut self, id: SlotId, error: &CompletionError) -> bool {
        if self.numbered.is_none() {
            return true;
        }
        let Request { operation, peer, .. } = self.slots.get(id).request;
        let message = error.number.map(|number| (error.tag, number));
        let is_message = operation.is_send() || operation.is_receive();
        let is_withdrawn = operation.is_receive() && error.code == Code(libc::ECANCELED);
        if !is_message || error.code == TRUNCATED || is_withdrawn {
            return self.end_receive(id, message.filter(|_| error.code == TRUNCATED));
        }
        let sender = message.map(|(tag, _)| self.tags.unpack(tag).0);
        let rank = peer.map(|rank| rank as usize).or(sender);
        if let Some(peer) = rank.and_then(|rank| self.peers.get(rank))
            && !self.lost_peers.contains(&peer.address)
        {
            self.lost_peers.push(peer.address);
        }
        self.end_receive(id, None)
    }

    fn end_receive(&mut self, id: SlotId, message: Option<(u64, u64)>) -> bool {
        let Some(numbered) = &mut self.numbered else { return true };
        let record = self.slots.get(id);
        if !record.request.operation.is_receive() {
            return true;
        }
        let missing = match message {
            Some((tag, data)) => {
                let (rank, _) = self.tags.unpack(tag);
                numbered.numbers.arrived(record.turn, rank, tag, data)
            }
            None => numbered.numbers.ended(record.turn),
        };
        let Some(missing) = missing else { return true };
        let why = numbered.describe(missing);
        self.close(why);
        false
    }

    /// How many messages went to each rank, or will once there is room for them, if they carry numbers.
    pub(crate) fn sent_messages(&mut self) -> Option<Vec<u64>> {
        let mut counts = self.numbered.as_ref().map(|numbered| numbered.numbers.counts())?;
        let waiting = self.deferred[WorkQueue::Transmit as usize].iter();
        for deferred in waiting {
            let request = self.slots.get(deferred.id).request;
            if let (true, Some(rank)) = (request.operation.is_send(), request.peer) {
                counts[rank as usize] += 1;
            }
        }
        Some(counts)
    }

    /// Whether the messages have come that each rank has sent to this one.
    pub(crate) fn look_for(&self, sent: &[u64]) -> Due {
        let Some(numbered) = &self.numbered else { return Due::Came };
        let mut all = Due::Came;
        for (rank, &sent) in sent.iter().enumerate() {
            let number = numbered.numbers.first_missing(rank);
            if number > sent {
                continue;
            }
            if numbered.numbers.has_beyond(rank, sent) {
                return Due::Overtaken { rank, number };
            }
            all = Due::Coming { rank, number };
        }
        all
    }

    /// How many messages have come, counting only those before the first of a rank that has not.
    pub(crate) fn whole_messages(&self) -> u64 {
        let numbered = self.numbered.as_ref();
        numbered.map_or(0, |numbered| {
            (0..numbered.names.len()).map(|rank| numbered.numbers.first_missing(rank) - 1).sum()
        })
    }

    /// How many receives the provider has.
    pub(crate) fn receives(&self) -> usize {
        self.numbered.as_ref().map_or(0, |numbered| numbered.numbers.receives())
    }

    /// Why a job can't go on without this message, which is lost, or did not come within `waited`.
    pub(crate) fn describe_missing(&self, rank: usize, number: u64, waited: Option<Duration>) -> String {
        let Some(numbered) = &self.numbered else { return String::new() };
        match waited {
            None => numbered.describe(Missing { rank, number }),
            Some(waited) => format!(
                "messages from {} to {} have not arrived, from number {number} on, and none has arrived for {waited:.0?}; if \
                 the data connection broke, this libfabric has lost them: run the job again, with the built-in libfabric \
                 (EFA_LIBFABRIC=builtin) to be told at once",
                numbered.names[rank], numbered.names[numbered.me]
            ),
        }
    }
}

/// What an endpoint with numbered messages has beside the others.
pub(crate) struct Numbered {
    me: usize,
    /// By rank.
    names: Vec<String>,
    numbers: Numbers,
}

impl Numbered {
    /// For rank `me` of those with these names.
    pub(crate) fn new(me: usize, names: Vec<String>) -> Self {
        let numbers = Numbers::new(names.len());
        Self { me, names, numbers }
    }

    fn describe(&self, Missing { rank, number }: Missing) -> String {
        format!(
            "messages from {} to {} are lost, number {number} the first of them: their data connection broke, and \
             this libfabric made a new one without a word",
            self.names[rank], self.names[self.me]
        )
    }
}
