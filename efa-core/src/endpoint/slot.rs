//! Operation slots: what the endpoint remembers of an operation while the device works on it.
//!
//! Each slot has a context, 64 bytes at a fixed address that the provider may scribble on and whose address it
//! hands back in the completion, and a record, which only we touch. Slots are reused; a generation number tells
//! a handle on an old operation from the one that has the slot now.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;
use std::task::Waker;
use std::thread::Thread;

use crate::ffi::{CompletionError, Registered};

/// How many slots are made at a time.
const CHUNK: usize = 256;
const NONE: u32 = u32::MAX;

/// Names an operation: its slot, and which of the slot's operations it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId {
    index: u32,
    generation: u32,
}

/// What an operation is, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Send,
    Receive,
    Read,
    Write,
    Atomic,
    Probe,
    /// No operation of the device: a wait for immediates that peers' writes bring.
    Immediates,
    /// No operation of the device: the end of all operations of a scope.
    Group,
}

impl Kind {
    /// Receives can be taken back before a message has come; nothing else can.
    pub(crate) fn can_cancel(self) -> bool {
        matches!(self, Self::Receive | Self::Probe | Self::Immediates)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Read => "remote read",
            Self::Write => "remote write",
            Self::Atomic => "remote atomic",
            Self::Probe => "probe",
            Self::Immediates => "wait for immediates",
            Self::Group => "scope",
        }
    }
}

/// What an operation was asked to do; enough to say so in an error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub kind: Kind,
    /// The peer's rank; none for a receive from any.
    pub peer: Option<u32>,
    /// The user's tag of a send or receive.
    pub tag: u64,
    pub bytes: usize,
    /// The group that waits for it.
    pub group: Option<SlotId>,
}

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// As it should; for a receive, with the message's length and fabric tag.
    Done { bytes: usize, tag: u64 },
    /// The provider reported an error. Boxed, since every outcome is moved and few are this.
    Failed(Box<CompletionError>),
    /// The endpoint was closed under it.
    Closed,
}

/// Why we are trying to end an operation before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The program asked for it.
    Cancelled,
    /// The deadline of every operation passed.
    Overdue,
    /// Its peer is gone.
    PeerLost,
    /// Some rank called the job off.
    Aborted,
    /// The collective that it was part of failed.
    Pointless,
}

/// Who is to be told when the operation is over, or what is to be dropped then. Both run code of others, so they
/// are collected under the endpoint's lock and done after it is released.
#[derive(Debug)]
pub(crate) enum Notice {
    None,
    Wake(Waker),
    /// A waker that is not needed any more; it may hold the last reference to somebody's task.
    Forget(Waker),
    Unpark(Thread),
    Drop(Box<dyn Any + Send>),
}

impl Notice {
    /// Does what the notice is for; to be called without the endpoint's lock.
    pub(crate) fn deliver(self) {
        match self {
            Self::None => {}
            Self::Wake(waker) => waker.wake(),
            Self::Forget(waker) => drop(waker),
            Self::Unpark(thread) => thread.unpark(),
            Self::Drop(parked) => drop(parked),
        }
    }
}

/// The storage of an atomic operation's operands and result: it lives as long as its slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operands {
    pub operand: u64,
    pub compare: u64,
    pub result: u64,
}

/// Alone on its cache lines: the provider writes to it while other threads use the neighbours.
#[repr(C, align(128))]
struct Context {
    /// `fi_context2`: the provider's for as long as the operation is under way.
    provider: UnsafeCell<[*mut c_void; 8]>,
    operands: UnsafeCell<Operands>,
    index: u32,
}

/// What we remember of an operation.
pub(crate) struct Record {
    generation: u32,
    next_free: u32,
    in_use: bool,
    /// Nobody holds a handle any more; the buffer, if any, is in `notice`.
    orphan: bool,
    /// Nothing below `outcome` was touched since the slot was taken: most operations come and go like this.
    plain: bool,
    pub about: About,
    /// The clock tick at which it was posted.
    pub started: u32,
    pub outcome: Option<Outcome>,
    /// Why it is being ended before its time, and since when.
    pub ending: Option<(Ending, u32)>,
    /// A waiting task or thread; or, once nobody holds a handle any more, the buffer.
    pub notice: Notice,
    /// Registrations made for this one operation.
    pub registered: Vec<Registered>,
    /// For a group: how many operations it waits for, and one more until it is sealed.
    pub members: usize,
    /// The immediate to count as arrived here when the operation is done: of a write to oneself.
    pub announce: Option<u32>,
}

/// All the slots of an endpoint.
pub(crate) struct Slots {
    contexts: Vec<Box<[Context; CHUNK]>>,
    records: Vec<Record>,
    free: u32,
    used: usize,
}

impl Slots {
    pub(crate) fn new() -> Self {
        let mut slots = Self { contexts: Vec::new(), records: Vec::new(), free: NONE, used: 0 };
        slots.grow();
        slots
    }

    /// How many operations are remembered.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Takes a slot for a new operation.
    #[inline]
    pub(crate) fn take(&mut self, about: About, started: u32) -> SlotId {
        if self.free == NONE {
            self.grow();
        }
        let index = self.free;
        let record = &mut self.records[index as usize];
        self.free = record.next_free;
        self.used += 1;
        record.in_use = true;
        record.orphan = false;
        record.about = about;
        record.started = started;
        SlotId { index, generation: record.generation }
    }

    /// Gives a slot back, and with it all that was kept in it. Returns the group that waits for the operation.
    #[inline]
    pub(crate) fn release(&mut self, id: SlotId) -> Option<SlotId> {
        let record = &mut self.records[id.index as usize];
        debug_assert!(record.in_use && record.generation == id.generation);
        record.in_use = false;
        record.generation = record.generation.wrapping_add(1);
        record.next_free = self.free;
        record.outcome = None;
        if !record.plain {
            record.clean();
        }
        self.free = id.index;
        self.used -= 1;
        record.about.group
    }

    /// The record of an operation that has not been released.
    #[inline]
    pub(crate) fn get(&mut self, id: SlotId) -> &mut Record {
        let record = &mut self.records[id.index as usize];
        debug_assert!(record.in_use && record.generation == id.generation);
        record
    }

    /// The context to post the operation with.
    #[inline]
    pub(crate) fn context(&self, id: SlotId) -> *mut c_void {
        let context = &self.contexts[id.index as usize / CHUNK][id.index as usize % CHUNK];
        ptr::from_ref(context).cast_mut().cast()
    }

    /// Where the operation's operands and result are.
    pub(crate) fn operands(&self, id: SlotId) -> *mut Operands {
        self.contexts[id.index as usize / CHUNK][id.index as usize % CHUNK].operands.get()
    }

    /// Sets the operands of an operation that has not been posted yet.
    pub(crate) fn set_operands(&mut self, id: SlotId, operands: Operands) {
        // SAFETY: the slot is ours, and before it is posted the device has not seen its address.
        unsafe { *self.operands(id) = operands }
    }

    /// Reads the operands and the result of an operation that is over.
    pub(crate) fn read_operands(&mut self, id: SlotId) -> Operands {
        debug_assert!(self.get(id).is_over());
        // SAFETY: the operation is over, so the device is done with them.
        unsafe { *self.operands(id) }
    }

    /// The operation that was posted with this context, if it is still remembered.
    ///
    /// # Safety
    /// `context` must have come from [`Slots::context`] of this very object.
    #[inline]
    pub(crate) unsafe fn find(&mut self, context: *mut c_void) -> Option<(SlotId, &mut Record)> {
        // SAFETY: the caller vouches for the pointer; contexts are never freed before `self`, and `index` is
        // never written after it was made.
        let index = unsafe { (*context.cast::<Context>()).index };
        let record = &mut self.records[index as usize];
        match record.in_use {
            true => Some((SlotId { index, generation: record.generation }, record)),
            false => None,
        }
    }

    /// Notes how an operation ended, and returns what is to be done about it. An orphan is released at once.
    #[inline]
    pub(crate) fn finish(&mut self, id: SlotId, outcome: Outcome) -> Notice {
        let record = self.get(id);
        if record.plain {
            record.outcome = Some(outcome);
            return Notice::None;
        }
        let notice = std::mem::replace(&mut record.notice, Notice::None);
        if record.orphan {
            self.release(id);
        } else {
            record.outcome = Some(outcome);
        }
        notice
    }

    /// Leaves an operation that is not over to itself: `parked` is kept until the device is done with it.
    pub(crate) fn abandon(&mut self, id: SlotId, parked: Notice) {
        let record = self.get(id);
        debug_assert!(record.outcome.is_none());
        record.orphan = true;
        record.special().notice = parked;
    }

    /// The operations that are not over.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.remembered(|record| record.outcome.is_none())
    }

    /// The operations of a group that still count as having a handle.
    pub(crate) fn leaked(&self, group: SlotId) -> Vec<SlotId> {
        self.remembered(|record| !record.orphan && record.about.group == Some(group)).collect()
    }

    fn remembered(&self, wanted: impl Fn(&Record) -> bool) -> impl Iterator<Item = SlotId> {
        self.records
            .iter()
            .enumerate()
            .filter(move |(_, record)| record.in_use && wanted(record))
            .map(|(index, record)| SlotId { index: index as u32, generation: record.generation })
    }

    #[cold]
    fn grow(&mut self) {
        let first = self.records.len() as u32;
        let context = |index| Context {
            provider: UnsafeCell::new([ptr::null_mut(); 8]),
            operands: UnsafeCell::default(),
            index,
        };
        let chunk: Box<[Context]> = (first..first + CHUNK as u32).map(context).collect();
        self.contexts.push(chunk.try_into().unwrap_or_else(|_| unreachable!("just so many were made")));
        self.records.extend((0..CHUNK).map(|_| Record::empty()));
        for index in (first..first + CHUNK as u32).rev() {
            self.records[index as usize].next_free = self.free;
            self.free = index;
        }
    }
}

impl Record {
    fn empty() -> Self {
        Self {
            generation: 0,
            next_free: NONE,
            in_use: false,
            orphan: false,
            plain: true,
            about: About { kind: Kind::Send, peer: None, tag: 0, bytes: 0, group: None },
            started: 0,
            outcome: None,
            ending: None,
            notice: Notice::None,
            registered: Vec::new(),
            members: 0,
            announce: None,
        }
    }

    /// The record, of which more than the outcome is going to be used.
    pub(crate) fn special(&mut self) -> &mut Self {
        self.plain = false;
        self
    }

    /// Whether only the outcome matters.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    #[cold]
    fn clean(&mut self) {
        self.plain = true;
        self.announce = None;
        self.ending = None;
        self.notice = Notice::None;
        self.registered.clear();
    }

    /// The handle is gone; nobody will ask how the operation ended.
    pub(crate) fn is_orphan(&self) -> bool {
        self.orphan
    }

    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.outcome.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const ABOUT: About = About { kind: Kind::Send, peer: Some(1), tag: 7, bytes: 3, group: None };

    #[test]
    fn a_context_leads_back_to_its_operation_until_the_slot_is_released() {
        let mut slots = Slots::new();
        let ids: Vec<_> = (0..2 * CHUNK).map(|_| slots.take(ABOUT, 0)).collect();
        for id in &ids {
            // SAFETY: the context is from these slots.
            assert_eq!(unsafe { slots.find(slots.context(*id)) }.map(|found| found.0), Some(*id));
        }
        let context = slots.context(ids[5]);
        slots.release(ids[5]);
        // SAFETY: as above.
        assert!(unsafe { slots.find(context) }.is_none());
        let again = slots.take(ABOUT, 0);
        assert_eq!(again.index, ids[5].index);
        assert_ne!(again, ids[5]);
    }

    #[test]
    fn an_abandoned_operation_keeps_its_buffer_until_it_is_over() {
        let mut slots = Slots::new();
        let buffer = Arc::new([1u8; 16]);
        let id = slots.take(ABOUT, 0);
        slots.abandon(id, Notice::Drop(Box::new(buffer.clone())));
        assert_eq!(Arc::strong_count(&buffer), 2);
        let notice = slots.finish(id, Outcome::Done { bytes: 0, tag: 0 });
        assert_eq!(Arc::strong_count(&buffer), 2);
        notice.deliver();
        assert_eq!(Arc::strong_count(&buffer), 1);
        assert_eq!(slots.used(), 0);
    }
}
