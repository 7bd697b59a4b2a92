//! Operation slots: what the endpoint remembers of an operation while the device works on it.
//!
//! Each slot has a context, 64 bytes that the provider may scribble on and whose address it hands back in the
//! completion, and a record, which only we touch. A slot has a fixed address for as long as its endpoint exists; so the
//! way from a handle or a completion to the record is one pointer. Slots are reused: whoever has the handle of an
//! operation, and nobody else, gives its slot back.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::task::Waker;
use std::thread::Thread;

use crate::endpoint::request::Request;
use crate::error::Error;
use crate::ffi::{CompletionError, Registered};

/// How many slots are made at a time.
const CHUNK: usize = 256;

/// Names an operation by its slot. It is good for the [`Slots`] that made it, until it is released there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId(NonNull<Slot>);

// SAFETY: what it points to is only reached through `Slots`, which is behind the endpoint's lock.
unsafe impl Send for SlotId {}
// SAFETY: as above.
unsafe impl Sync for SlotId {}

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// As it should; for a receive, with the message's length and fabric tag.
    Done { bytes: usize, tag: u64 },
    /// The provider reported an error. Boxed, since every outcome is moved and few are this.
    Failed(Box<CompletionError>),
    /// It was not posted: its memory could not be registered.
    Unregistered(Box<Error>),
    /// The endpoint was closed under it.
    Closed,
}

/// Why we are trying to end an operation before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelReason {
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

impl CancelReason {
    /// The reason in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Cancelled => "it was cancelled",
            Self::Overdue => "its time was over",
            Self::PeerLost => "its peer is gone",
            Self::Aborted => "the job was called off",
            Self::Pointless => "the collective that it was part of failed",
        }
    }
}

/// Who is to be told when the operation is over, or what is to be dropped then. Both run code of others, so they
/// are collected under the endpoint's lock and done after it is released.
#[derive(Debug)]
pub(crate) enum WakeUp {
    None,
    Wake(Waker),
    /// A waker that is not needed any more; it may hold the last reference to somebody's task.
    Forget(Waker),
    Unpark(Thread),
    Drop(Box<dyn Any + Send>),
}

impl WakeUp {
    /// Whether delivering it runs code of others: a waker, or the drop of a task or a buffer.
    pub(crate) fn runs_foreign_code(&self) -> bool {
        !matches!(self, Self::None | Self::Unpark(_))
    }

    /// Wakes, unparks or drops; to be called without the endpoint's lock.
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

/// The context comes first: its address is the slot's.
#[repr(C, align(128))]
pub(crate) struct Slot {
    /// `fi_context2`: the provider's for as long as the operation is under way.
    context: UnsafeCell<[*mut c_void; 8]>,
    operands: UnsafeCell<Operands>,
    record: UnsafeCell<Record>,
}

/// How far a slot's operation has got.
#[derive(Debug)]
pub(crate) enum Stage {
    /// There is none.
    Free,
    UnderWay,
    Over(Outcome),
}

/// Memory that is registered for one operation.
pub(crate) struct CallMemory {
    // Declared, and so dropped, before the memory it covers.
    pub registered: Registered,
    /// What is registered in place of the program's memory, if it is not that.
    #[expect(dead_code, reason = "kept for as long as the device may read it")]
    pub copy: Option<Vec<u8>>,
}

/// What we remember of an operation.
pub(crate) struct Record {
    pub stage: Stage,
    next_free: Option<SlotId>,
    /// Nobody holds a handle any more; the buffer, if any, is in `wake_up`.
    orphan: bool,
    /// Nothing below `started` was touched since the slot was taken: most operations come and go like this.
    plain: bool,
    pub request: Request,
    /// The clock tick at which it was posted.
    pub started: u32,
    /// Why it is being ended before its time, and since when.
    pub cancel_reason: Option<(CancelReason, u32)>,
    /// A waiting task or thread; or, once nobody holds a handle any more, the buffer.
    pub wake_up: WakeUp,
    /// Registrations made for this one operation.
    pub registered: Vec<CallMemory>,
    /// While the provider has no room for it: its turn in the line. Zero before that.
    pub turn: u64,
    /// For a group: how many operations it waits for, and one more until it is sealed.
    pub members: u32,
    /// When the operation is done, its immediate data is to be counted as arrived here: of a write to oneself.
    pub announces: bool,
    /// The provider reported a failure, and may do so once more: efa does for every packet of a message. The slot is not
    /// used again, so that a late report can't end another operation, whose memory is still in use.
    pub failed: bool,
}

/// All the slots of an endpoint. They are never freed before this is.
pub(crate) struct Slots {
    chunks: Vec<NonNull<[Slot; CHUNK]>>,
    free: Option<SlotId>,
}

// SAFETY: it owns what it points to, and that may be used from any thread that has it.
unsafe impl Send for Slots {}

impl Slots {
    pub(crate) fn new() -> Self {
        let mut slots = Self { chunks: Vec::new(), free: None };
        slots.grow();
        slots
    }

    /// Takes a slot for a new operation.
    #[inline]
    pub(crate) fn take(&mut self, request: Request, started: u32) -> SlotId {
        let id = self.free.unwrap_or_else(|| self.grow());
        let record = self.record(id);
        debug_assert!(matches!(record.stage, Stage::Free));
        // Nothing to drop, which the compiler can't know.
        std::mem::forget(std::mem::replace(&mut record.stage, Stage::UnderWay));
        record.request = request;
        record.started = started;
        self.free = record.next_free;
        id
    }

    /// Gives a slot back, and with it all that was kept in it. Returns the group that waits for the operation.
    #[inline]
    pub(crate) fn release(&mut self, id: SlotId) -> Option<SlotId> {
        let free = self.free.replace(id);
        let record = self.get(id);
        record.stage = Stage::Free;
        record.next_free = free;
        let group = record.request.group;
        if !record.plain {
            record.clean();
            if record.failed {
                self.free = free;
            }
        }
        group
    }

    /// The record of an operation that has not been released.
    #[inline]
    pub(crate) fn get(&mut self, id: SlotId) -> &mut Record {
        let record = self.record(id);
        debug_assert!(!matches!(record.stage, Stage::Free));
        record
    }

    #[inline]
    fn record(&mut self, id: SlotId) -> &mut Record {
        // SAFETY: the slot is one of ours and so exists as long as we do; nobody else reaches its record, and we are
        // borrowed for as long as the result.
        unsafe { &mut *id.0.as_ref().record.get() }
    }

    /// The context to post the operation with.
    #[inline]
    pub(crate) fn context(&self, id: SlotId) -> *mut c_void {
        id.0.as_ptr().cast()
    }

    /// Where the operation's operands and result are.
    pub(crate) fn operands(&self, id: SlotId) -> *mut Operands {
        // SAFETY: as in `record`.
        unsafe { id.0.as_ref().operands.get() }
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

    /// The operation that was posted with this context, if it is still under way.
    ///
    /// # Safety
    /// `context` must have come from [`Slots::context`] of this very object.
    #[inline]
    pub(crate) unsafe fn find(&mut self, context: *mut c_void) -> Option<(SlotId, &mut Record)> {
        // SAFETY: the caller vouches for the pointer.
        let id = SlotId(unsafe { NonNull::new_unchecked(context.cast()) });
        let record = self.record(id);
        record.is_under_way().then_some((id, record))
    }

    /// Notes how an operation ended, and returns what is to be done about it. An orphan is released at once.
    #[inline]
    pub(crate) fn finish(&mut self, id: SlotId, outcome: Outcome) -> WakeUp {
        let record = self.get(id);
        if record.plain {
            record.stage = Stage::Over(outcome);
            return WakeUp::None;
        }
        let wake_up = std::mem::replace(&mut record.wake_up, WakeUp::None);
        if record.orphan {
            self.release(id);
        } else {
            record.stage = Stage::Over(outcome);
        }
        wake_up
    }

    /// Leaves an operation that is not over to itself: `parked` is kept until the device is done with it.
    pub(crate) fn abandon(&mut self, id: SlotId, parked: WakeUp) {
        let record = self.get(id).special();
        debug_assert!(record.is_under_way());
        record.orphan = true;
        record.wake_up = parked;
    }

    /// Whether the slot has an operation that is not over. Also for a slot that may have been released.
    pub(crate) fn is_under_way(&mut self, id: SlotId) -> bool {
        self.record(id).is_under_way()
    }

    /// The operations that are not over.
    pub(crate) fn under_way(&mut self) -> Vec<SlotId> {
        self.which(Record::is_under_way)
    }

    /// The operations of a group that still count as having a handle.
    pub(crate) fn leaked(&mut self, group: SlotId) -> Vec<SlotId> {
        let is_remembered = |record: &Record| !matches!(record.stage, Stage::Free);
        self.which(|record| is_remembered(record) && !record.orphan && record.request.group == Some(group))
    }

    fn which(&mut self, wanted: impl Fn(&Record) -> bool) -> Vec<SlotId> {
        let mut found = Vec::new();
        for chunk in 0..self.chunks.len() {
            found.extend(slots_of(self.chunks[chunk]).filter(|&id| wanted(self.record(id))));
        }
        found
    }

    /// Makes more slots, and returns the first.
    #[cold]
    fn grow(&mut self) -> SlotId {
        let slot = || Slot {
            context: UnsafeCell::new([ptr::null_mut(); 8]),
            operands: UnsafeCell::default(),
            record: UnsafeCell::new(Record::free()),
        };
        let chunk: Box<[Slot]> = (0..CHUNK).map(|_| slot()).collect();
        let chunk: Box<[Slot; CHUNK]> =
            chunk.try_into().unwrap_or_else(|_| unreachable!("just so many were made"));
        // Not kept as a box, which would claim that nobody else has its address.
        let chunk = NonNull::from(Box::leak(chunk));
        self.chunks.push(chunk);
        let mut next = self.free;
        for id in slots_of(chunk).rev() {
            self.record(id).next_free = next;
            next = Some(id);
        }
        self.free = next;
        SlotId(chunk.cast())
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for chunk in &self.chunks {
            // SAFETY: it was leaked from a box in `grow`, and whoever had addresses in it is gone.
            drop(unsafe { Box::from_raw(chunk.as_ptr()) });
        }
    }
}

fn slots_of(chunk: NonNull<[Slot; CHUNK]>) -> impl DoubleEndedIterator<Item = SlotId> {
    // SAFETY: the offsets are within the chunk.
    (0..CHUNK).map(move |index| SlotId(unsafe { chunk.cast::<Slot>().add(index) }))
}

impl Record {
    fn free() -> Self {
        Self {
            stage: Stage::Free,
            next_free: None,
            orphan: false,
            plain: true,
            request: Request::GROUP,
            started: 0,
            cancel_reason: None,
            wake_up: WakeUp::None,
            registered: Vec::new(),
            turn: 0,
            members: 0,
            announces: false,
            failed: false,
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
        self.orphan = false;
        self.announces = false;
        self.cancel_reason = None;
        self.wake_up = WakeUp::None;
        self.registered.clear();
    }

    /// The handle is gone; nobody will ask how the operation ended.
    pub(crate) fn is_orphan(&self) -> bool {
        self.orphan
    }

    #[inline]
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::UnderWay)
    }

    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        !self.is_under_way()
    }

    /// How the operation ended, if it is over.
    #[inline]
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        match &self.stage {
            Stage::Over(outcome) => Some(outcome),
            Stage::Free | Stage::UnderWay => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_slot_stays_within_four_lines_of_the_cache() {
        assert!(size_of::<Slot>() <= 256, "{}", size_of::<Slot>());
    }

    const ABOUT: Request = Request { peer: Some(1), length: 3, ..Request::GROUP };

    #[test]
    fn a_context_leads_back_to_its_operation_until_it_is_over() {
        let mut slots = Slots::new();
        let ids: Vec<_> = (0..2 * CHUNK).map(|_| slots.take(ABOUT, 0)).collect();
        for id in &ids {
            // SAFETY: the context is from these slots.
            assert_eq!(unsafe { slots.find(slots.context(*id)) }.map(|found| found.0), Some(*id));
        }
        let context = slots.context(ids[5]);
        slots.finish(ids[5], Outcome::Closed);
        // SAFETY: as above.
        assert!(unsafe { slots.find(context) }.is_none());
        slots.release(ids[5]);
        // SAFETY: as above.
        assert!(unsafe { slots.find(context) }.is_none());
        assert_eq!(slots.under_way().len(), ids.len() - 1);
        assert_eq!(slots.take(ABOUT, 0), ids[5]);
    }

    #[test]
    fn a_late_report_of_a_failed_operation_meets_no_other_operation() {
        let mut slots = Slots::new();
        let id = slots.take(ABOUT, 0);
        let context = slots.context(id);
        slots.get(id).special().failed = true;
        slots.finish(id, Outcome::Closed);
        slots.release(id);
        let later: Vec<_> = (0..3 * CHUNK).map(|_| slots.take(ABOUT, 0)).collect();
        assert!(!later.contains(&id));
        // SAFETY: the context is from these slots.
        assert!(unsafe { slots.find(context) }.is_none());
    }

    #[test]
    fn an_abandoned_operation_keeps_its_buffer_until_it_is_over() {
        let mut slots = Slots::new();
        let buffer = Arc::new([1u8; 16]);
        let id = slots.take(ABOUT, 0);
        slots.abandon(id, WakeUp::Drop(Box::new(buffer.clone())));
        assert_eq!(Arc::strong_count(&buffer), 2);
        let wake_up = slots.finish(id, Outcome::Done { bytes: 0, tag: 0 });
        assert_eq!(Arc::strong_count(&buffer), 2);
        wake_up.deliver();
        assert_eq!(Arc::strong_count(&buffer), 1);
        assert!(slots.under_way().is_empty());
        // Nothing of it is left for the next one.
        assert_eq!(slots.take(ABOUT, 0), id);
        assert!(slots.get(id).is_plain() && !slots.get(id).is_orphan());
    }
}
