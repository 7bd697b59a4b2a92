//! A ring of receives: the owner posts, any number of processes place messages, the owner takes them out.
//!
//! Each entry's state holds a ticket that counts up for ever, so that an entry seen late is never mistaken for its
//! successor. A sender claims the lowest posted ticket by compare-and-swap and leaves its own number in the state: if
//! it dies before it has placed the message, the owner sees who it was and takes the receive back. Whoever comes after
//! goes on with the next ticket, and so does the owner: datagrams have no order.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::MAX_MESSAGE;
use crate::mapping::{Mapping, Shared};

/// Bytes of a message that fit into the entry itself: with these the usual short message touches few cache lines.
pub(crate) const INLINE: usize = 256 - 48;
/// Distance between the places for long messages.
const STRIDE: usize = MAX_MESSAGE.next_multiple_of(64);

/// One receive and the message placed into it.
#[repr(C, align(64))]
pub(crate) struct Entry {
    state: AtomicU64,
    /// Length of the posted receive.
    room: AtomicU32,
    /// Length of the message.
    len: AtomicU32,
    /// What kind of message: a [`Label`]'s flags.
    flags: AtomicU32,
    imm: AtomicU32,
    source_qpn: AtomicU32,
    source_slot: AtomicU32,
    source_generation: AtomicU32,
    source_device: AtomicU32,
    _reserved: AtomicU64,
    inline: [AtomicU64; INLINE / 8],
}

// SAFETY: atomics only; the inline bytes are also copied through raw pointers.
unsafe impl Shared for Entry {}
const _: () = assert!(size_of::<Entry>() == 256);

/// What a message is, besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Label {
    /// Length of the message, or of the data that a write placed elsewhere.
    pub(crate) len: u32,
    /// Four bytes for the completion, where given.
    pub(crate) imm: Option<u32>,
    /// A peer wrote into our memory: the entry itself carries no bytes.
    pub(crate) is_write: bool,
    pub(crate) source_qpn: u32,
    pub(crate) source_slot: u16,
    pub(crate) source_generation: u32,
    pub(crate) source_device: u8,
}

const HAS_IMM: u32 = 1;
const IS_WRITE: u32 = 2;

/// Where a ring lies in its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Entries, a power of two.
    pub(crate) count: u32,
    /// Offset of the ticket that senders try first.
    pub(crate) head: usize,
    /// Offset of the first entry.
    pub(crate) entries: usize,
    /// Offset of the places for long messages; none if the ring has only short ones.
    pub(crate) long: Option<usize>,
}

impl Place {
    /// Returns the bytes that `count` entries need, with or without places for long messages.
    pub(crate) fn size(count: u32, long: bool) -> usize {
        count as usize * (size_of::<Entry>() + if long { STRIDE } else { 0 })
    }
}

/// Why a message was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No receive is posted.
    NotReady,
    /// The posted receive is too short.
    TooLong,
    /// The ring's owner wrote nonsense, or it is not that long.
    Broken,
}

/// The state of one entry, unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing posted; the ticket is the one last used here.
    Empty(u64),
    Posted(u64),
    /// A process is placing a message.
    Claimed(u64, u16),
    Ready(u64),
}

impl State {
    fn pack(self) -> u64 {
        match self {
            Self::Empty(t) => t << 18,
            Self::Posted(t) => t << 18 | 1,
            Self::Claimed(t, slot) => t << 18 | u64::from(slot) << 2 | 2,
            Self::Ready(t) => t << 18 | 3,
        }
    }

    fn unpack(word: u64) -> Self {
        let ticket = word >> 18;
        match word & 3 {
            0 => Self::Empty(ticket),
            1 => Self::Posted(ticket),
            2 => Self::Claimed(ticket, (word >> 2) as u16),
            _ => Self::Ready(ticket),
        }
    }
}

/// A ring in a mapped file, checked to lie within it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    place: Place,
}

impl Ring {
    /// Returns the ring at a place, or `None` if it would reach beyond the file.
    pub(crate) fn new(mapping: &Mapping, place: Place) -> Option<Self> {
        let count = place.count as usize;
        if !place.count.is_power_of_two() || place.count > 1 << 16 {
            return None;
        }
        mapping.at::<AtomicTicket>(place.head)?;
        mapping.array::<Entry>(place.entries, count)?;
        if let Some(long) = place.long {
            mapping.bytes(long, count * STRIDE)?;
        }
        Some(Self { place })
    }

    /// Returns the first ticket, which is not 0: that would look like an entry never used.
    pub(crate) fn first_ticket(&self) -> u64 {
        u64::from(self.place.count)
    }

    /// Returns the number of entries.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.place.count)
    }

    /// Makes the ring usable before anyone else knows it. For the owner.
    pub(crate) fn initialise(&self, mapping: &Mapping) {
        if let Some(head) = self.head(mapping) {
            head.store(self.first_ticket(), Ordering::Release);
        }
    }

    /// Posts a receive of `room` bytes under a ticket whose predecessor at the same place has been taken out. For the
    /// owner.
    pub(crate) fn post(&self, mapping: &Mapping, ticket: u64, room: u32) {
        if let Some(entry) = self.entry(mapping, ticket) {
            entry.room.store(room, Ordering::Relaxed);
            entry.state.store(State::Posted(ticket).pack(), Ordering::Release);
        }
    }

    /// Returns what became of a posted ticket. For the owner.
    pub(crate) fn look(&self, mapping: &Mapping, ticket: u64) -> Seen {
        let Some(entry) = self.entry(mapping, ticket) else { return Seen::Gone };
        match State::unpack(entry.state.load(Ordering::Acquire)) {
            State::Posted(t) if t == ticket => Seen::Waiting,
            State::Claimed(t, by) if t == ticket => Seen::Claimed(by),
            State::Ready(t) if t == ticket => Seen::Ready(entry.label()),
            // Taken out before, or another process wrote nonsense: either way there is no message.
            _ => Seen::Gone,
        }
    }

    /// Returns where the bytes of a ready message lie, or `None` if they do not fit. For the owner.
    pub(crate) fn data(&self, mapping: &Mapping, ticket: u64, len: usize) -> Option<*const u8> {
        self.bytes(mapping, ticket, len).map(|p| p.cast_const())
    }

    /// Lets the entry be used again. For the owner.
    pub(crate) fn take_out(&self, mapping: &Mapping, ticket: u64) {
        if let Some(entry) = self.entry(mapping, ticket) {
            entry.state.store(State::Empty(ticket).pack(), Ordering::Release);
        }
    }

    /// Claims a receive, lets `fill` write the message's bytes, and hands it over. For senders.
    pub(crate) fn place(
        &self,
        mapping: &Mapping,
        slot: u16,
        label: Label,
        fill: impl FnOnce(*mut u8),
    ) -> Result<(), Refusal> {
        let bytes = if label.is_write { 0 } else { label.len as usize };
        let ticket = self.claim(mapping, slot, bytes as u32)?;
        let (Some(entry), Some(data)) = (self.entry(mapping, ticket), self.bytes(mapping, ticket, bytes))
        else {
            return Err(Refusal::Broken);
        };
        fill(data);
        entry.write(label);
        entry.state.store(State::Ready(ticket).pack(), Ordering::Release);
        Ok(())
    }

    /// Claims the lowest posted receive. For senders.
    fn claim(&self, mapping: &Mapping, slot: u16, bytes: u32) -> Result<u64, Refusal> {
        let head = self.head(mapping).ok_or(Refusal::Broken)?;
        let mut ticket = head.load(Ordering::Acquire);
        // Each step passes one ticket that others took; more than the ring holds means that it is not in order.
        for _ in 0..=2 * self.place.count {
            let entry = self.entry(mapping, ticket).ok_or(Refusal::Broken)?;
            let seen = entry.state.load(Ordering::Acquire);
            let past = match State::unpack(seen) {
                State::Posted(t) if t == ticket => {
                    if bytes > entry.room.load(Ordering::Relaxed) || !self.holds(bytes) {
                        return Err(Refusal::TooLong);
                    }
                    let mine = State::Claimed(ticket, slot).pack();
                    if entry.state.compare_exchange(seen, mine, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                        advance(head, ticket.wrapping_add(1));
                        return Ok(ticket);
                    }
                    continue;
                }
                State::Empty(t) | State::Posted(t) | State::Claimed(t, _) | State::Ready(t) => t,
            };
            if past < ticket {
                return Err(Refusal::NotReady);
            }
            ticket = ticket.wrapping_add(1).max(head.load(Ordering::Acquire));
        }
        Err(Refusal::Broken)
    }

    fn holds(&self, bytes: u32) -> bool {
        bytes as usize <= if self.place.long.is_some() { MAX_MESSAGE } else { INLINE }
    }

    fn head<'a>(&self, mapping: &'a Mapping) -> Option<&'a AtomicU64> {
        mapping.at::<AtomicTicket>(self.place.head).map(|t| &t.0)
    }

    fn index(&self, ticket: u64) -> usize {
        (ticket & (u64::from(self.place.count) - 1)) as usize
    }

    fn entry<'a>(&self, mapping: &'a Mapping, ticket: u64) -> Option<&'a Entry> {
        mapping.at(self.place.entries + self.index(ticket) * size_of::<Entry>())
    }

    fn bytes(&self, mapping: &Mapping, ticket: u64, len: usize) -> Option<*mut u8> {
        if len <= INLINE {
            return Some(self.entry(mapping, ticket)?.inline.as_ptr().cast_mut().cast());
        }
        let long = self.place.long?;
        if len > STRIDE { None } else { mapping.bytes(long + self.index(ticket) * STRIDE, len) }
    }
}

/// What the owner finds at a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Posted, nothing came.
    Waiting,
    /// The process at this place is about to place a message.
    Claimed(u16),
    /// A message is there.
    Ready(Label),
    /// Nothing any more.
    Gone,
}

impl Entry {
    fn write(&self, label: Label) {
        let flags = if label.imm.is_some() { HAS_IMM } else { 0 } | if label.is_write { IS_WRITE } else { 0 };
        self.len.store(label.len, Ordering::Relaxed);
        self.flags.store(flags, Ordering::Relaxed);
        self.imm.store(label.imm.unwrap_or(0), Ordering::Relaxed);
        self.source_qpn.store(label.source_qpn, Ordering::Relaxed);
        self.source_slot.store(u32::from(label.source_slot), Ordering::Relaxed);
        self.source_generation.store(label.source_generation, Ordering::Relaxed);
        self.source_device.store(u32::from(label.source_device), Ordering::Relaxed);
    }

    fn label(&self) -> Label {
        let flags = self.flags.load(Ordering::Relaxed);
        Label {
            len: self.len.load(Ordering::Relaxed),
            imm: (flags & HAS_IMM != 0).then(|| self.imm.load(Ordering::Relaxed)),
            is_write: flags & IS_WRITE != 0,
            source_qpn: self.source_qpn.load(Ordering::Relaxed),
            source_slot: self.source_slot.load(Ordering::Relaxed) as u16,
            source_generation: self.source_generation.load(Ordering::Relaxed),
            source_device: self.source_device.load(Ordering::Relaxed) as u8,
        }
    }
}

/// The ticket that senders try first, alone on its cache lines.
#[repr(C, align(64))]
pub(crate) struct AtomicTicket(AtomicU64);

// SAFETY: an atomic.
unsafe impl Shared for AtomicTicket {}

fn advance(head: &AtomicU64, to: u64) {
    head.fetch_max(to, Ordering::AcqRel);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        _dir: tempfile::TempDir,
        mapping: Mapping,
        ring: Ring,
    }

    fn fixture(count: u32) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let len = 64 + Place::size(count, true);
        let (mapping, _) = Mapping::create(&dir.path().join("ring"), len, 0).unwrap();
        let entries = 64;
        let long = Some(entries + Place::size(count, false));
        let ring = Ring::new(&mapping, Place { count, head: 0, entries, long }).unwrap();
        ring.initialise(&mapping);
        Fixture { _dir: dir, mapping, ring }
    }

    impl Fixture {
        fn send(&self, text: &[u8]) -> Result<(), Refusal> {
            let label = Label { len: text.len() as u32, source_qpn: 5, ..Label::default() };
            // SAFETY: `place` gives room for the label's length.
            self.ring.place(&self.mapping, 3, label, |to| unsafe { to.copy_from(text.as_ptr(), text.len()) })
        }

        fn receive(&self, ticket: u64) -> Option<Vec<u8>> {
            let Seen::Ready(label) = self.ring.look(&self.mapping, ticket) else { return None };
            let from = self.ring.data(&self.mapping, ticket, label.len as usize)?;
            // SAFETY: `data` checked the length.
            let bytes = unsafe { std::slice::from_raw_parts(from, label.len as usize) }.to_vec();
            self.ring.take_out(&self.mapping, ticket);
            Some(bytes)
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in_many_times_around() {
        let f = fixture(4);
        for ticket in 4..40u64 {
            f.ring.post(&f.mapping, ticket, 9000);
            let text = vec![ticket as u8; if ticket % 2 == 0 { 20 } else { MAX_MESSAGE }];
            f.send(&text).unwrap();
            assert_eq!(f.receive(ticket), Some(text));
            assert_eq!(f.ring.look(&f.mapping, ticket), Seen::Gone);
        }
    }

    #[test]
    fn without_a_receive_nothing_is_placed() {
        let f = fixture(4);
        assert_eq!(f.send(b"x"), Err(Refusal::NotReady));
        f.ring.post(&f.mapping, 4, 100);
        f.send(b"x").unwrap();
        assert_eq!(f.send(b"y"), Err(Refusal::NotReady));
        assert_eq!(f.receive(4), Some(b"x".to_vec()));
        assert_eq!(f.send(b"y"), Err(Refusal::NotReady));
    }

    #[test]
    fn a_short_receive_refuses_and_stays_posted() {
        let f = fixture(4);
        f.ring.post(&f.mapping, 4, 3);
        assert_eq!(f.send(b"four"), Err(Refusal::TooLong));
        f.send(b"abc").unwrap();
        assert_eq!(f.receive(4), Some(b"abc".to_vec()));
    }

    #[test]
    fn a_sender_that_died_halfway_does_not_stop_the_others() {
        let f = fixture(4);
        for ticket in 4..8 {
            f.ring.post(&f.mapping, ticket, 100);
        }
        assert_eq!(f.ring.claim(&f.mapping, 9, 1), Ok(4)); // and then nothing
        f.send(b"next").unwrap();
        assert_eq!(f.ring.look(&f.mapping, 4), Seen::Claimed(9));
        assert_eq!(f.receive(5), Some(b"next".to_vec()));
        f.ring.take_out(&f.mapping, 4);
        f.ring.post(&f.mapping, 8, 100);
        f.send(b"more").unwrap();
        assert_eq!(f.receive(6), Some(b"more".to_vec()));
    }

    #[test]
    fn nonsense_in_shared_memory_is_an_error_and_not_a_crash() {
        let f = fixture(4);
        for ticket in 4..8 {
            f.ring.post(&f.mapping, ticket, 100);
        }
        for head in [0, 1, 1 << 45, u64::MAX - 1, u64::MAX >> 18] {
            f.ring.head(&f.mapping).unwrap().store(head, Ordering::Relaxed);
            let _ = f.send(b"x");
        }
        let entry = f.ring.entry(&f.mapping, 4).unwrap();
        entry.state.store(State::Ready(4).pack(), Ordering::Relaxed);
        entry.len.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(f.receive(4), None);
        let small = Place { count: 1 << 10, head: 0, entries: 64, long: None };
        assert!(Ring::new(&f.mapping, Place { count: 3, ..small }).is_none());
        assert!(Ring::new(&f.mapping, Place { entries: usize::MAX - 64, ..small }).is_none());
        assert!(Ring::new(&f.mapping, small).is_none());
    }

    #[test]
    fn many_senders_lose_nothing() {
        let f = fixture(64);
        let total = 4000u64;
        let mut got = 0u64;
        std::thread::scope(|s| {
            for sender in 0..4u64 {
                let f = &f;
                s.spawn(move || {
                    for n in 0..total / 4 {
                        let word = (sender * total + n).to_le_bytes();
                        while f.send(&word) == Err(Refusal::NotReady) {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let (mut next, mut tail) = (64, 64);
            let mut sum = std::collections::HashSet::new();
            while got < total {
                while tail < next + 64 {
                    f.ring.post(&f.mapping, tail, 100);
                    tail += 1;
                }
                match f.receive(next) {
                    Some(bytes) => {
                        assert!(sum.insert(bytes));
                        got += 1;
                        next += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
        assert_eq!(got, total);
    }
}
