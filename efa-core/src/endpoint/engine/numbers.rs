//! Numbers that travel with messages, so that a message that got lost is missed.
//!
//! A tcp provider without the patch `tcp-connection-loss` replaces a broken connection in silence. What had been copied
//! for the old one is gone, and a later message takes its place. There each message carries, as its remote data, its
//! number among those of its sender to its receiver, and how far back the one before it with the same tag is.
//!
//! Messages of one sender with one tag are matched in order. So whoever gets a message knows that the one before it
//! with its tag has been matched. If its number has not come, and no receive that might still be at work on it was
//! posted earlier, then it is lost. Messages that nobody has received yet are under no suspicion, whatever their number.

use std::collections::{HashMap, VecDeque};

/// How many bits of the remote data say how far back the message before is.
const BACK_BITS: u32 = 13;
/// The farthest that a message before can be back; a longer way is not told.
const FARTHEST: u64 = (1 << BACK_BITS) - 1;

/// Who is missing a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The rank that sent it.
    pub rank: usize,
    /// Its number, from 1.
    pub number: u64,
}

/// The numbers of one endpoint's messages, sent and received.
pub(super) struct Numbers {
    sent: Vec<Sent>,
    arrived: Vec<Arrived>,
    posted: Posted,
    doubts: Vec<Doubt>,
}

/// Messages to one rank.
#[derive(Default)]
struct Sent {
    last: u64,
    /// The last number of each fabric tag; not of those that are too far back.
    by_tag: HashMap<u64, u64>,
}

/// A message that has not come although a later one has; a receive may be at work on it.
struct Doubt {
    missing: Missing,
    tag: u64,
    /// Only a receive that was posted before this turn can have got it.
    before: u64,
}

impl Numbers {
    pub(super) fn new(ranks: usize) -> Self {
        Self {
            sent: (0..ranks).map(|_| Sent::default()).collect(),
            arrived: (0..ranks).map(|_| Arrived::default()).collect(),
            posted: Posted::default(),
            doubts: Vec::new(),
        }
    }

    /// The remote data of the next message to this rank with this fabric tag.
    pub(super) fn next(&self, rank: usize, tag: u64) -> u64 {
        let sent = &self.sent[rank];
        let number = sent.last + 1;
        let back = sent.by_tag.get(&tag).map_or(0, |previous| number - previous);
        number << BACK_BITS | if back <= FARTHEST { back } else { 0 }
    }

    /// Notes that the message that [`Numbers::next`] was asked for is on its way.
    pub(super) fn sent(&mut self, rank: usize, tag: u64) {
        let sent = &mut self.sent[rank];
        sent.last += 1;
        if sent.by_tag.len() as u64 > 2 * FARTHEST {
            sent.by_tag.retain(|_, number| sent.last - *number <= FARTHEST);
        }
        sent.by_tag.insert(tag, sent.last);
    }

    /// How many messages went to each rank.
    pub(super) fn counts(&self) -> Vec<u64> {
        self.sent.iter().map(|sent| sent.last).collect()
    }

    /// Notes that a receive was posted. Later ones have greater turns.
    pub(super) fn posted(&mut self, turn: u64, tag: u64, ignore: u64) {
        self.posted.add(Receive { turn, tag, ignore, is_over: false });
    }

    /// How many receives the provider has.
    pub(super) fn receives(&self) -> usize {
        self.posted.under_way
    }

    /// Notes that the provider has given a receive back. Returns the message that is known to be lost by now, if one is.
    pub(super) fn ended(&mut self, turn: u64) -> Option<Missing> {
        self.posted.end(turn);
        if self.doubts.is_empty() { None } else { self.settle() }
    }

    /// Notes that the receive of this turn met a message of `rank` with this fabric tag and remote data. Returns the
    /// message that is known to be lost by now, if one is.
    pub(super) fn arrived(&mut self, turn: u64, rank: usize, tag: u64, data: u64) -> Option<Missing> {
        self.posted.end(turn);
        let arrived = self.arrived.get_mut(rank)?;
        let (number, back) = (data >> BACK_BITS, data & FARTHEST);
        arrived.add(number);
        if back != 0 && back < number && !arrived.contains(number - back) {
            let missing = Missing { rank, number: number - back };
            self.doubts.push(Doubt { missing, tag, before: turn });
        }
        if self.doubts.is_empty() { None } else { self.settle() }
    }

    #[cold]
    fn settle(&mut self) -> Option<Missing> {
        let (arrived, posted) = (&self.arrived, &self.posted);
        self.doubts.retain(|doubt| !arrived[doubt.missing.rank].contains(doubt.missing.number));
        let may_be_at_work = |doubt: &Doubt| posted.has_match_before(doubt.before, doubt.tag);
        self.doubts.iter().find(|doubt| !may_be_at_work(doubt)).map(|doubt| doubt.missing)
    }

    /// The first message of `rank` that has not come.
    pub(super) fn first_missing(&self, rank: usize) -> u64 {
        self.arrived[rank].all_up_to + 1
    }

    /// Whether a message of `rank` with a number above this one has come.
    pub(super) fn has_beyond(&self, rank: usize, number: u64) -> bool {
        self.arrived[rank].last() > number
    }
}

/// The receives that the provider has, in the order of their posting.
#[derive(Default)]
struct Posted {
    receives: VecDeque<Receive>,
    under_way: usize,
}

struct Receive {
    turn: u64,
    tag: u64,
    ignore: u64,
    is_over: bool,
}

impl Posted {
    fn add(&mut self, receive: Receive) {
        self.receives.push_back(receive);
        self.under_way += 1;
    }

    fn end(&mut self, turn: u64) {
        let Ok(place) = self.receives.binary_search_by_key(&turn, |receive| receive.turn) else { return };
        if std::mem::replace(&mut self.receives[place].is_over, true) {
            return;
        }
        self.under_way -= 1;
        while self.receives.front().is_some_and(|receive| receive.is_over) {
            self.receives.pop_front();
        }
        // One that no message comes for must not keep all after it.
        if self.receives.len() > 2 * self.under_way + 64 {
            self.receives.retain(|receive| !receive.is_over);
        }
    }

    fn has_match_before(&self, turn: u64, message: u64) -> bool {
        let earlier = self.receives.iter().take_while(|receive| receive.turn < turn);
        earlier
            .filter(|receive| !receive.is_over)
            .any(|receive| (receive.tag ^ message) & !receive.ignore == 0)
    }
}

/// The numbers that have come from one rank.
#[derive(Default)]
struct Arrived {
    /// All from 1 to this one.
    all_up_to: u64,
    /// Runs of numbers after that, in order: the first of each run, and the last.
    beyond: Vec<(u64, u64)>,
}

impl Arrived {
    fn contains(&self, number: u64) -> bool {
        number <= self.all_up_to || {
            let after = self.beyond.partition_point(|run| run.0 <= number);
            after > 0 && number <= self.beyond[after - 1].1
        }
    }

    fn last(&self) -> u64 {
        self.beyond.last().map_or(self.all_up_to, |run| run.1)
    }

    fn add(&mut self, number: u64) {
        if self.contains(number) {
            return;
        }
        let after = self.beyond.partition_point(|run| run.0 <= number);
        let meets_next = self.beyond.get(after).is_some_and(|run| run.0 == number + 1);
        let last = if meets_next { self.beyond.remove(after).1 } else { number };
        if number == self.all_up_to + 1 {
            self.all_up_to = last;
        } else if after > 0 && self.beyond[after - 1].1 + 1 == number {
            self.beyond[after - 1].1 = last;
        } else {
            self.beyond.insert(after, (number, last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: u64 = 0;

    /// A sender and a receiver, with the remote data of each message that was sent.
    struct Pair {
        sender: Numbers,
        receiver: Numbers,
        turn: u64,
    }

    impl Pair {
        fn new() -> Self {
            Self { sender: Numbers::new(2), receiver: Numbers::new(2), turn: 0 }
        }

        fn send(&mut self, tag: u64) -> (u64, u64) {
            let data = self.sender.next(1, tag);
            self.sender.sent(1, tag);
            (tag, data)
        }

        fn post(&mut self, tag: u64, ignore: u64) -> u64 {
            self.turn += 1;
            self.receiver.posted(self.turn, tag, ignore);
            self.turn
        }

        fn meet(&mut self, turn: u64, (tag, data): (u64, u64)) -> Option<Missing> {
            self.receiver.arrived(turn, 0, tag, data)
        }
    }

    #[test]
    fn numbers_that_came_are_known_in_whatever_order() {
        let mut arrived = Arrived::default();
        let order = [5u64, 2, 1, 9, 7, 8, 3, 12, 6, 4, 10, 11];
        for (count, &number) in order.iter().enumerate() {
            arrived.add(number);
            arrived.add(number);
            for known in 1..20 {
                assert_eq!(arrived.contains(known), order[..=count].contains(&known), "{count} {known}");
            }
            assert_eq!(arrived.last(), *order[..=count].iter().max().unwrap());
        }
        assert!(arrived.beyond.is_empty() && arrived.all_up_to == 12);
    }

    #[test]
    fn a_lost_message_is_missed_by_the_next_of_its_tag() {
        let mut pair = Pair::new();
        let [first, _lost, other, third] = [7, 7, 8, 7].map(|tag| pair.send(tag));
        let [a, b, c] = [7, 7, 8].map(|tag| pair.post(tag, EXACT));
        assert_eq!(pair.meet(a, first), None);
        assert_eq!(pair.meet(c, other), None);
        assert_eq!(pair.meet(b, third), Some(Missing { rank: 0, number: 2 }));
    }

    #[test]
    fn messages_that_nobody_receives_are_under_no_suspicion() {
        let mut pair = Pair::new();
        for round in 0..100 {
            let [_left, wanted] = [round, 1000].map(|tag| pair.send(tag));
            let turn = pair.post(1000, EXACT);
            assert_eq!(pair.meet(turn, wanted), None);
        }
        assert_eq!(pair.receiver.first_missing(0), 1);
        assert!(pair.receiver.has_beyond(0, 199) && !pair.receiver.has_beyond(0, 200));
        assert!(pair.receiver.receives() == 0 && pair.receiver.doubts.is_empty());
    }

    #[test]
    fn a_receive_that_no_message_comes_for_keeps_no_others() {
        let mut pair = Pair::new();
        pair.post(1, EXACT);
        for _ in 0..10_000 {
            let message = pair.send(7);
            let turn = pair.post(7, EXACT);
            assert_eq!(pair.meet(turn, message), None);
        }
        assert!(pair.receiver.receives() == 1 && pair.receiver.posted.receives.len() < 100);
    }

    #[test]
    fn a_message_that_an_earlier_receive_is_at_work_on_is_waited_for() {
        let mut pair = Pair::new();
        let [long, short, next] = [7, 7, 7].map(|tag| pair.send(tag));
        let [a, b, c] = [(7, EXACT), (0, u64::MAX), (7, EXACT)].map(|(tag, ignore)| pair.post(tag, ignore));
        assert_eq!(pair.meet(b, short), None);
        assert_eq!(pair.meet(c, next), None);
        assert_eq!(pair.meet(a, long), None);
        assert!(pair.receiver.doubts.is_empty());
    }

    #[test]
    fn a_message_is_missed_when_the_receive_that_may_have_had_it_ends_without() {
        let mut pair = Pair::new();
        let [_lost, second] = [7, 7].map(|tag| pair.send(tag));
        let [a, b] = [7, 7].map(|tag| pair.post(tag, EXACT));
        assert_eq!(pair.meet(b, second), None);
        assert_eq!(pair.receiver.ended(a), Some(Missing { rank: 0, number: 1 }));
    }

    #[test]
    fn tags_that_are_seldom_used_take_no_room_and_are_not_judged() {
        let mut pair = Pair::new();
        pair.send(7);
        for tag in 0..5 * FARTHEST {
            pair.send(1 << 32 | tag);
        }
        assert!(pair.sender.sent[1].by_tag.len() as u64 <= 2 * FARTHEST + 1);
        let (tag, data) = pair.send(7);
        assert_eq!(data & FARTHEST, 0);
        let turn = pair.post(7, EXACT);
        assert_eq!(pair.meet(turn, (tag, data)), None);
        assert_eq!(pair.sender.counts(), [0, 5 * FARTHEST + 2]);
    }
}
