//! One collective operation of the control plane as rank 0 sees it: who has contributed what so far.

use std::time::{Duration, Instant};

use super::fault::{peer_lost, seconds};
use super::frame::MAX_PAYLOAD;
use super::message::{Gathering, Message};
use super::ranks::{group_by_value, list_groups, name_ranks};
use crate::{Error, Peer};

/// Parts of a result that travel in one message, in bytes: small enough to keep heartbeats flowing in between.
const PARTS_BYTES: usize = 1 << 20;

/// What one member has contributed.
struct Contribution {
    gathering: Gathering,
    label: String,
    data: Vec<u8>,
}

/// An operation under way.
pub(super) struct Gather {
    contributions: Vec<Option<Contribution>>,
    /// How many have contributed.
    count: usize,
    /// The rank that contributed first; the others must make the same call.
    first: usize,
    begun: Instant,
    /// The earliest deadline of those who have contributed.
    pub(super) deadline: Instant,
    /// Why it can't succeed any more; told to those who come late, too.
    pub(super) fault: Option<Error>,
}

impl Gather {
    pub(super) fn new(size: usize, now: Instant, deadline: Instant) -> Self {
        let contributions = (0..size).map(|_| None).collect();
        Self { contributions, count: 0, first: 0, begun: now, deadline, fault: None }
    }

    /// Takes a member's part; parts of different operations are a fault. A second part from one member is ignored.
    pub(super) fn contribute(
        &mut self,
        rank: usize,
        gathering: Gathering,
        label: String,
        data: Vec<u8>,
        deadline: Instant,
        peers: &[Peer],
    ) {
        if self.contributions[rank].is_some() {
            return;
        }
        if self.count == 0 {
            self.first = rank;
        }
        self.count += 1;
        self.deadline = self.deadline.min(deadline);
        self.contributions[rank] = Some(Contribution { gathering, label, data });
        if !self.same_call_as_first(rank) && self.fault.is_none() {
            let calls =
                self.present().map(|(rank, c)| (rank, format!("{} '{}'", c.gathering.name(), c.label)));
            self.fault = Some(Error::rendezvous(
                "the members of the job do not make the same calls",
                list_groups(&group_by_value(calls), peers, ("is at", "are at")),
                "make the same collective calls in the same order on every rank, from one thread at a time",
            ));
        }
    }

    fn same_call_as_first(&self, rank: usize) -> bool {
        match (&self.contributions[self.first], &self.contributions[rank]) {
            (Some(first), Some(this)) => first.gathering == this.gathering && first.label == this.label,
            _ => true,
        }
    }

    /// Gives up at the deadline, naming those who did not come.
    pub(super) fn expire(&mut self, now: Instant, peers: &[Peer]) {
        if self.fault.is_none() {
            let waited = now.duration_since(self.begun);
            self.fault = Some(Error::timeout(
                waited,
                format!("{} timed out after {}", self.name(), seconds(waited)),
                format!("nothing came from {}", name_ranks(&self.missing(), peers)),
                "see what that rank is doing, or allow more time",
            ));
        }
    }

    /// Gives up because a member that has not contributed is gone.
    pub(super) fn lose(&mut self, peer: &Peer, reason: &str) {
        if self.contributions.get(peer.rank).is_some_and(Option::is_none) && self.fault.is_none() {
            let what = format!("{} cannot complete without {peer}", self.name());
            self.fault = Some(peer_lost(peer.clone(), what, reason));
        }
    }

    /// Returns `true` if every member has contributed.
    pub(super) fn is_complete(&self) -> bool {
        self.count == self.contributions.len()
    }

    /// Returns who has contributed, and is to be told that the operation has failed: where some ranks fail, only those.
    pub(super) fn to_be_told(&self) -> Vec<usize> {
        let is_failing = |c: &Contribution| c.gathering == Gathering::Failing;
        let some_fail = self.present().any(|(_, c)| is_failing(c));
        self.present().filter(|(_, c)| !some_fail || is_failing(c)).map(|(rank, _)| rank).collect()
    }

    /// Takes back the part of a rank that fails and is gone. Returns whether it had one: those who were not told for its
    /// sake are to be told now.
    pub(super) fn take_back_failing(&mut self, rank: usize) -> bool {
        let part = self
            .contributions
            .get_mut(rank)
            .and_then(|c| c.take_if(|c| self.fault.is_some() && c.gathering == Gathering::Failing));
        part.is_some()
    }

    /// Returns `true` if everybody who has contributed is told of a failure.
    pub(super) fn tells_all(&self) -> bool {
        self.to_be_told().len() == self.present().count()
    }

    /// Returns who has not contributed.
    pub(super) fn missing(&self) -> Vec<usize> {
        (0..self.contributions.len()).filter(|&rank| self.contributions[rank].is_none()).collect()
    }

    /// Returns the result in messages of bearable size. Call it when the operation is complete.
    pub(super) fn into_parts(self, sequence: u64) -> Vec<Message> {
        let first = self.contributions[self.first].as_ref();
        let gathering = first.map_or(Gathering::Barrier, |first| first.gathering);
        let taken = match gathering {
            Gathering::Exchange => usize::MAX,
            Gathering::Broadcast => 1,
            Gathering::Barrier | Gathering::Failing => 0,
        };
        let parts: Vec<Vec<u8>> =
            self.contributions.into_iter().flatten().map(|c| c.data).take(taken).collect();
        let total = parts.len() as u32;
        let mut messages = Vec::new();
        let (mut batch, mut bytes, mut first) = (Vec::new(), 0, 0);
        for part in parts {
            if !batch.is_empty() && bytes + part.len() > PARTS_BYTES {
                let next = first + batch.len() as u32;
                messages.push(Message::Parts { sequence, total, first, parts: std::mem::take(&mut batch) });
                (first, bytes) = (next, 0);
            }
            // The length in front of each part counts, too, or a million empty ones would not fit a message.
            bytes += part.len() + 4;
            batch.push(part);
        }
        messages.push(Message::Parts { sequence, total, first, parts: batch });
        messages
    }

    fn present(&self) -> impl Iterator<Item = (usize, &Contribution)> {
        self.contributions.iter().enumerate().filter_map(|(rank, c)| Some((rank, c.as_ref()?)))
    }

    /// Returns the operation as messages name it.
    fn name(&self) -> String {
        match &self.contributions[self.first] {
            Some(first) => format!("{} '{}'", first.gathering.name(), first.label),
            None => "a collective operation".to_owned(),
        }
    }
}

/// Returns a label and a payload within the limits.
pub(super) fn fits(label: &str, data: &[u8]) -> bool {
    label.len() <= MAX_LABEL && data.len() <= MAX_PAYLOAD
}

/// The longest label, in bytes.
pub(super) const MAX_LABEL: usize = 1024;

/// Returns the deadline `patience` from now; a patience beyond what the clock can hold means a day.
pub(super) fn deadline_after(now: Instant, patience: Duration) -> Instant {
    now.checked_add(patience.min(Duration::from_secs(86_400 * 365)))
        .unwrap_or(now + Duration::from_secs(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(size: usize) -> Vec<Peer> {
        (0..size).map(|rank| Peer { rank, host: format!("node-{rank}"), address: String::new() }).collect()
    }

    fn gather(size: usize) -> (Gather, Instant) {
        let now = Instant::now();
        (Gather::new(size, now, now + Duration::from_secs(10)), now)
    }

    fn put(gather: &mut Gather, rank: usize, label: &str, data: &[u8], peers: &[Peer]) {
        let deadline = gather.deadline;
        gather.contribute(rank, Gathering::Exchange, label.into(), data.to_vec(), deadline, peers);
    }

    /// Returns the parts of a result in order, with gaps as a test failure.
    fn collect(messages: &[Message]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for message in messages {
            let Message::Parts { total, first, parts, .. } = message else { panic!("{message:?}") };
            assert_eq!(*first as usize, all.len());
            all.extend(parts.iter().cloned());
            assert!(all.len() <= *total as usize);
        }
        all
    }

    #[test]
    fn a_large_result_is_cut_into_bearable_messages() {
        let peers = peers(5);
        let (mut g, _) = gather(5);
        let data: Vec<Vec<u8>> = (0..5_u8).map(|rank| vec![rank; 600 << 10]).collect();
        for (rank, data) in data.iter().enumerate() {
            put(&mut g, rank, "facts", data, &peers);
        }
        assert!(g.is_complete() && g.fault.is_none());
        let messages = g.into_parts(7);
        assert_eq!(messages.len(), 5);
        assert_eq!(collect(&messages), data);
    }

    #[test]
    fn different_labels_are_named_with_their_ranks() {
        let peers = peers(3);
        let (mut g, _) = gather(3);
        put(&mut g, 0, "facts", b"", &peers);
        put(&mut g, 2, "facts", b"", &peers);
        assert!(g.fault.is_none());
        put(&mut g, 1, "addresses", b"", &peers);
        let why = g.fault.unwrap().explanation().why.clone();
        assert_eq!(why, "ranks 0, 2 are at exchange 'facts', rank 1 (node-1) is at exchange 'addresses'");
    }

    #[test]
    fn only_ranks_that_fail_hear_that_others_do_something_else() {
        let peers = peers(3);
        let (mut g, now) = gather(3);
        put(&mut g, 0, "facts", b"", &peers);
        assert_eq!(g.to_be_told(), [0]);
        g.contribute(2, Gathering::Failing, "the end".into(), Vec::new(), now, &peers);
        assert!(g.fault.is_some());
        assert_eq!(g.to_be_told(), [2]);
        put(&mut g, 1, "facts", b"", &peers);
        assert_eq!(g.to_be_told(), [2]);
    }

    #[test]
    fn a_deadline_names_who_did_not_come() {
        let peers = peers(4);
        let (mut g, now) = gather(4);
        put(&mut g, 1, "facts", b"", &peers);
        g.expire(now + Duration::from_secs(10), &peers);
        let fault = g.fault.unwrap();
        assert!(fault.explanation().what.contains("exchange 'facts'"), "{fault:?}");
        assert!(fault.explanation().why.contains("ranks 0, 2-3"), "{fault:?}");
    }

    #[test]
    fn a_loss_matters_only_if_the_lost_one_had_not_contributed() {
        let peers = peers(2);
        let (mut g, _) = gather(2);
        put(&mut g, 1, "facts", b"", &peers);
        g.lose(&peers[1], "it was killed");
        assert!(g.fault.is_none());
        g.lose(&peers[0], "it was killed");
        assert_eq!(g.fault.unwrap().peer().unwrap().rank, 0);
    }
}
