//! Messages with numbers: see `engine::numbers`.
//!
//! An endpoint that numbers its messages takes other ways than the fast ones, so that those that don't pay nothing for it:
//! each rank is marked as one that calls have to wait for, and the work queue of receives as full. So every call of a message
//! comes here by [`Engine::defer`].

use std::time::Duration;

use super::backlog::Call;
use super::numbers::{Missing, Numbers};
use super::slot::{Kind, SlotId};
use super::{Engine, WorkQueue};
use crate::endpoint::TRUNCATED;
use crate::endpoint::tag::TagFormat;
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
        self.waiting.fill(NUMBERED);
        self.room[WorkQueue::Receive as usize] = 0;
        self.numbered = Some(Box::new(numbered));
    }

    /// Whether messages carry numbers.
    pub(crate) fn numbers_messages(&self) -> bool {
        self.numbered.is_some()
    }

    /// Whether messages carry numbers, and no call to the rank waits for room, nor is the rank gone.
    pub(super) fn may_number_now(&self, rank: u32) -> bool {
        self.waiting[rank as usize] == NUMBERED
    }

    /// [`Engine::attempt`] on an endpoint that numbers its messages.
    ///
    /// # Safety
    /// As [`Engine::start`].
    pub(super) unsafe fn attempt_numbered(&mut self, id: SlotId, call: Call, memory: &[Segment]) -> Posted {
        let record = self.slots.get(id);
        let (turn, peer) = (record.turn, record.info.peer);
        match (call, peer, &mut self.endpoint, &mut self.numbered) {
            (Call::Send { to, tag }, Some(rank), Some(endpoint), Some(numbered)) => {
                let out = WorkQueue::Transmit as usize;
                if self.in_flight[out] >= self.room[out] {
                    return Posted::Again;
                }
                let data = numbered.numbers.next(rank as usize, tag);
                // SAFETY: passed on to the caller; the context lives as long as its slot.
                let posted = unsafe { endpoint.send_with(to, tag, data, memory, self.slots.context(id)) };
                if posted == Posted::Yes {
                    numbered.numbers.sent(rank as usize, tag);
                    self.in_flight[out] += 1;
                }
                posted
            }
            (Call::Receive { tag, ignore }, _, Some(_), Some(_)) => {
                let work_queue = WorkQueue::Receive as usize;
                let room = std::mem::replace(&mut self.room[work_queue], usize::MAX);
                // SAFETY: passed on to the caller.
                let posted = unsafe { self.attempt(id, call, memory) };
                self.room[work_queue] = room;
                if let (Posted::Yes, Some(numbered)) = (posted, &mut self.numbered) {
                    numbered.numbers.posted(turn, tag, ignore);
                }
                posted
            }
            // SAFETY: passed on to the caller.
            _ => unsafe { self.attempt(id, call, memory) },
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
        let Some(numbered) = &mut self.numbered else { return true };
        let info = self.slots.get(id).info;
        let message = error.number.map(|number| (error.tag, number));
        let is_message = matches!(info.kind, Kind::Send | Kind::Receive);
        let is_withdrawn = info.kind == Kind::Receive && error.code == Code(libc::ECANCELED);
        if !is_message || error.code == TRUNCATED || is_withdrawn {
            return self.end_receive(id, message.filter(|_| error.code == TRUNCATED));
        }
        let sender = message.map(|(tag, _)| numbered.tags.unpack(tag).0);
        let address =
            info.peer.map(|rank| rank as usize).or(sender).and_then(|rank| numbered.addresses.get(rank));
        if let Some(address) = address
            && !self.lost_peers.contains(address)
        {
            self.lost_peers.push(*address);
        }
        self.end_receive(id, None)
    }

    fn end_receive(&mut self, id: SlotId, message: Option<(u64, u64)>) -> bool {
        let Some(numbered) = &mut self.numbered else { return true };
        let record = self.slots.get(id);
        if record.info.kind != Kind::Receive {
            return true;
        }
        let missing = match message {
            Some((tag, data)) => {
                let (rank, _) = numbered.tags.unpack(tag);
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
        for deferred in waiting.filter(|deferred| matches!(deferred.call, Call::Send { .. })) {
            if let Some(rank) = self.slots.get(deferred.id).info.peer {
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
    tags: TagFormat,
    /// By rank, as the names are.
    addresses: Vec<u64>,
    names: Vec<String>,
    numbers: Numbers,
}

impl Numbered {
    /// For rank `me` of those with these fabric addresses and names.
    pub(crate) fn new(me: usize, tags: TagFormat, addresses: Vec<u64>, names: Vec<String>) -> Self {
        let numbers = Numbers::new(names.len());
        Self { me, tags, addresses, names, numbers }
    }

    fn describe(&self, Missing { rank, number }: Missing) -> String {
        format!(
            "messages from {} to {} are lost, number {number} the first of them: their data connection broke, and \
             this libfabric made a new one without a word",
            self.names[rank], self.names[self.me]
        )
    }
}
