//! The receiving half of a queue pair: posted receives, and the messages placed into them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::abi::queue::ibv_sge;
use crate::log::monotonic_coarse;
use crate::wire::queue::{QueueFile, UNSOLICITED, Which};
use crate::wire::ring::{Label, Seen};

/// Pieces that one receive may have.
pub(crate) const MAX_RECEIVE_PIECES: usize = 2;
/// How long a message may be half placed before its sender is checked for being alive.
const STUCK: Duration = Duration::from_millis(20);

/// One posted receive.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Receive {
    pub(crate) wr_id: u64,
    pub(crate) pieces: [ibv_sge; MAX_RECEIVE_PIECES],
    pub(crate) count: usize,
}

impl Receive {
    /// Returns its length in bytes.
    pub(crate) fn room(&self) -> u32 {
        let total: u64 = self.pieces.iter().take(self.count).map(|piece| u64::from(piece.length)).sum();
        u32::try_from(total).unwrap_or(u32::MAX)
    }
}

/// What was found at the front.
pub(crate) struct Arrival {
    /// The receive that it took; none for an unsolicited write.
    pub(crate) receive: Option<Receive>,
    pub(crate) label: Label,
    pub(crate) ticket: u64,
    pub(crate) which: Which,
}

/// The receives of one queue pair, known to its owner only.
#[derive(Debug)]
pub(crate) struct Receives {
    /// By ticket.
    posted: Vec<Receive>,
    /// Posted when the ring was full, which takes a sender that is slow halfway.
    backlog: VecDeque<Receive>,
    outstanding: u32,
    limit: u32,
    /// The lowest ticket not taken out.
    next: u64,
    /// The next ticket to post.
    tail: u64,
    next_unsolicited: u64,
    /// A half placed message at the front, since when.
    stuck: Option<(u64, Duration)>,
    /// Bytes in front of each message that belong to its route header.
    header: u32,
}

impl Receives {
    /// Starts without receives, for at most `limit` at a time. Of each, `header` bytes are not for the message.
    pub(crate) fn new(file: &QueueFile, limit: u32, header: u32) -> Self {
        let ring = file.ring(Which::Posted);
        let first = ring.first_ticket();
        let unsolicited = file.ring(Which::Unsolicited);
        let next_unsolicited = unsolicited.first_ticket();
        for ticket in next_unsolicited..next_unsolicited + u64::from(UNSOLICITED) {
            unsolicited.post(file.mapping(), ticket, 0);
        }
        Self {
            posted: vec![Receive::default(); ring.count() as usize],
            backlog: VecDeque::new(),
            outstanding: 0,
            limit,
            next: first,
            tail: first,
            next_unsolicited,
            stuck: None,
            header,
        }
    }

    /// Posts a receive. False if there are as many as there may be.
    pub(crate) fn post(&mut self, file: &QueueFile, receive: Receive) -> bool {
        if self.outstanding >= self.limit {
            return false;
        }
        self.outstanding += 1;
        if self.backlog.is_empty() && self.has_place() {
            self.post_now(file, receive);
        } else {
            self.backlog.push_back(receive);
        }
        true
    }

    /// Returns the first message that is there. `is_dead` tells whether the process at a place has ended.
    pub(crate) fn front(
        &mut self,
        file: &QueueFile,
        unsolicited: bool,
        is_dead: impl Fn(u16) -> bool,
    ) -> Option<Arrival> {
        if unsolicited && let Some(arrival) = self.front_unsolicited(file, &is_dead) {
            return Some(arrival);
        }
        let ring = file.ring(Which::Posted);
        let mut ticket = self.next;
        while ticket < self.tail {
            match ring.look(file.mapping(), ticket) {
                Seen::Waiting => return None,
                Seen::Ready(label) => {
                    let receive = self.posted.get((ticket % ring.count()) as usize).copied();
                    return Some(Arrival { receive, label, ticket, which: Which::Posted });
                }
                Seen::Claimed(by) => {
                    if ticket == self.next && self.is_stuck(ticket) && is_dead(by) {
                        self.take_back(file, ticket);
                    }
                }
                Seen::Gone => {
                    if ticket == self.next {
                        self.next += 1;
                    }
                }
            }
            ticket += 1;
        }
        None
    }

    /// Returns `true` if a message is there, without taking anything.
    pub(crate) fn is_ready(&self, file: &QueueFile) -> bool {
        let ready =
            |which: Which, ticket| matches!(file.ring(which).look(file.mapping(), ticket), Seen::Ready(_));
        ready(Which::Unsolicited, self.next_unsolicited)
            || (self.next..self.tail).any(|t| ready(Which::Posted, t))
    }

    /// Makes the place of an arrival usable again, once its bytes are copied.
    pub(crate) fn take_out(&mut self, file: &QueueFile, arrival: &Arrival) {
        let ring = file.ring(arrival.which);
        ring.take_out(file.mapping(), arrival.ticket);
        match arrival.which {
            Which::Unsolicited => {
                ring.post(file.mapping(), arrival.ticket + ring.count(), 0);
                self.next_unsolicited = arrival.ticket + 1;
            }
            Which::Posted => {
                self.outstanding = self.outstanding.saturating_sub(1);
                if arrival.ticket == self.next {
                    self.next += 1;
                }
                self.post_backlog(file);
            }
        }
    }

    /// Takes the oldest receive back, whatever has arrived for it: the device is gone.
    pub(crate) fn flush(&mut self, file: &QueueFile) -> Option<Receive> {
        let ring = file.ring(Which::Posted);
        while self.next < self.tail {
            let ticket = self.next;
            self.next += 1;
            if !matches!(ring.look(file.mapping(), ticket), Seen::Gone) {
                self.outstanding = self.outstanding.saturating_sub(1);
                return self.posted.get((ticket % ring.count()) as usize).copied();
            }
        }
        let receive = self.backlog.pop_front()?;
        self.outstanding = self.outstanding.saturating_sub(1);
        Some(receive)
    }

    fn front_unsolicited(&mut self, file: &QueueFile, is_dead: &impl Fn(u16) -> bool) -> Option<Arrival> {
        let ring = file.ring(Which::Unsolicited);
        let ticket = self.next_unsolicited;
        match ring.look(file.mapping(), ticket) {
            Seen::Ready(label) => {
                return Some(Arrival { receive: None, label, ticket, which: Which::Unsolicited });
            }
            Seen::Claimed(by) if self.is_stuck(u64::MAX - ticket) && is_dead(by) => {}
            Seen::Claimed(_) | Seen::Waiting => return None,
            Seen::Gone => {}
        }
        ring.take_out(file.mapping(), ticket);
        ring.post(file.mapping(), ticket + ring.count(), 0);
        self.next_unsolicited += 1;
        None
    }

    /// Returns `true` if the message at the front has been half placed for a while.
    fn is_stuck(&mut self, ticket: u64) -> bool {
        let now = monotonic_coarse();
        match self.stuck {
            Some((same, since)) if same == ticket => {
                if now.saturating_sub(since) < STUCK {
                    return false;
                }
                self.stuck = Some((ticket, now));
                true
            }
            _ => {
                self.stuck = Some((ticket, now));
                false
            }
        }
    }

    /// Puts a receive whose sender died halfway back to the end of the queue.
    fn take_back(&mut self, file: &QueueFile, ticket: u64) {
        let ring = file.ring(Which::Posted);
        ring.take_out(file.mapping(), ticket);
        if let Some(receive) = self.posted.get((ticket % ring.count()) as usize).copied() {
            self.backlog.push_back(receive);
        }
        self.next += 1;
        self.post_backlog(file);
    }

    fn post_backlog(&mut self, file: &QueueFile) {
        while self.has_place() {
            match self.backlog.pop_front() {
                Some(receive) => self.post_now(file, receive),
                None => return,
            }
        }
    }

    fn has_place(&self) -> bool {
        self.tail - self.next < self.posted.len() as u64
    }

    fn post_now(&mut self, file: &QueueFile, receive: Receive) {
        let ring = file.ring(Which::Posted);
        if let Some(place) = self.posted.get_mut((self.tail % ring.count()) as usize) {
            *place = receive;
            ring.post(file.mapping(), self.tail, receive.room().saturating_sub(self.header));
            self.tail += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Receive, Receives};
    use crate::abi::queue::ibv_sge;
    use crate::wire::queue::{QueueFile, Which};
    use crate::wire::ring::{Label, Refusal};

    struct Fixture {
        _dir: tempfile::TempDir,
        file: QueueFile,
        receives: Receives,
    }

    fn fixture(limit: u32) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let file = QueueFile::create(&dir.path().join("q"), limit).unwrap();
        let receives = Receives::new(&file, limit, 0);
        Fixture { _dir: dir, file, receives }
    }

    impl Fixture {
        fn post(&mut self, wr_id: u64) -> bool {
            let pieces = [ibv_sge { addr: 0, length: 100, lkey: 0 }, ibv_sge::default()];
            self.receives.post(&self.file, Receive { wr_id, pieces, count: 1 })
        }

        fn send(&self, number: u32) -> Result<(), Refusal> {
            let label = Label { len: 1, imm: Some(number), ..Label::default() };
            self.file.ring(Which::Posted).place(self.file.mapping(), 1, label, |_| {})
        }

        fn receive(&mut self) -> Option<(u64, u32)> {
            let arrival = self.receives.front(&self.file, true, |_| false)?;
            self.receives.take_out(&self.file, &arrival);
            Some((arrival.receive.map_or(0, |r| r.wr_id), arrival.label.imm.unwrap_or(0)))
        }
    }

    #[test]
    fn receives_are_used_in_the_order_posted() {
        let mut f = fixture(4);
        for round in 0..50u64 {
            assert!(f.post(2 * round) && f.post(2 * round + 1));
            f.send(7).unwrap();
            f.send(8).unwrap();
            assert_eq!(f.send(9), Err(Refusal::NotReady));
            assert_eq!(f.receive(), Some((2 * round, 7)));
            assert_eq!(f.receive(), Some((2 * round + 1, 8)));
            assert_eq!(f.receive(), None);
        }
    }

    #[test]
    fn no_more_receives_than_agreed() {
        let mut f = fixture(4);
        assert!((0..4).all(|n| f.post(n)));
        assert!(!f.post(4));
        f.send(1).unwrap();
        assert_eq!(f.receive(), Some((0, 1)));
        assert!(f.post(4));
    }

    #[test]
    fn unsolicited_writes_need_no_receive_and_never_run_out() {
        let mut f = fixture(4);
        for n in 0..1000 {
            let label = Label { is_write: true, len: 4096, imm: Some(n), ..Label::default() };
            f.file.ring(Which::Unsolicited).place(f.file.mapping(), 1, label, |_| {}).unwrap();
            assert_eq!(f.receive(), Some((0, n)));
        }
    }

    #[test]
    fn a_receive_is_taken_back_from_a_dead_sender() {
        let mut f = fixture(2);
        assert!(f.post(10) && f.post(11));
        // A sender that stops in the middle.
        let label = Label { len: 1, ..Label::default() };
        let halfway = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            f.file.ring(Which::Posted).place(f.file.mapping(), 9, label, |_| panic!("killed"))
        }));
        assert!(halfway.is_err());
        f.send(2).unwrap();
        assert_eq!(f.receive(), Some((11, 2)), "the message behind it comes through");
        let mut back = None;
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            assert!(f.receives.front(&f.file, true, |slot| slot == 9).is_none());
            back = f.send(3).ok();
            if back.is_some() {
                break;
            }
        }
        assert!(back.is_some(), "the receive was never given back");
        assert_eq!(f.receive(), Some((10, 3)));
    }
}
