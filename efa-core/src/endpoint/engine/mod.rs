//! What the endpoint's lock protects: posting, polling, and the operations under way. Takes no lock and waits for nothing.

mod backlog;
mod closing;
mod flow;
mod group;
mod numbered;
mod numbers;
mod peers;
mod probe;
pub(crate) mod slot;

use std::any::Any;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::task::Waker;
use std::thread::Thread;

use log::Level;

use self::backlog::Backlog;
pub(crate) use self::numbered::{Due, Numbered};
use self::peers::{Doubtful, Peer};
use self::slot::{Outcome, SlotId, Slots, Stage, WakeUp};
use super::driver::activity::Activity;
use super::driver::progress::Watch;
use super::request::{Operation, Request, WorkQueue};
use super::tag::TagFormat;
use super::{NO_MESSAGE, TRUNCATED};
use crate::bootstrap::Liveness;
use crate::error::Code;
use crate::fabric::Quirks;
use crate::ffi::{
    ADDRESS_UNSPECIFIED, Batch, CompletionError, CompletionQueue, EndpointHandle, Polled, Posted, Registered,
    Segment, log_later,
};

/// Somebody who waits for `count` immediates of one value.
struct Expectation {
    id: SlotId,
    value: u32,
    count: u64,
}

pub(crate) struct Engine {
    // The order of these three is the order in which they close. After the queue is gone, so are all contexts.
    endpoint: Option<EndpointHandle>,
    queue: Arc<CompletionQueue>,
    pub slots: Slots,
    batch: Batch,
    /// How many operations the provider holds, and may hold at most, per work queue.
    in_flight: [usize; 2],
    room: [usize; 2],
    deferred: [Backlog; 2],
    immediates: HashMap<u32, u64>,
    expectations: Vec<Expectation>,
    /// Memory that peers could reach and may still be writing to, until the endpoint is closed.
    retired: Vec<Box<dyn Any + Send>>,
    /// By rank.
    peers: Vec<Peer>,
    me: u32,
    pub tags: TagFormat,
    quirks: Quirks,
    liveness: Arc<Liveness>,
    /// The news of `liveness` that `peers` has.
    news: u64,
    /// Failures whose cause is not known yet: see `peers`.
    doubtful: Vec<Doubtful>,
    /// What there is to numbered messages, if messages have numbers: see `numbered`.
    numbered: Option<Box<Numbered>>,
    /// To be delivered by whoever holds the lock, after releasing it.
    pub wake_ups: Vec<WakeUp>,
    /// Fabric addresses of peers whose connection the provider reported as lost, until somebody takes them.
    lost_peers: Vec<u64>,
    /// The provider may still hold a receive that failed: see `closing`.
    spoiled: bool,
    /// Code of others, run by the endpoint, that panicked: the progress thread closes the endpoint for it.
    pub(in crate::endpoint) panicked: Option<String>,
    /// Ends what takes too long.
    pub(in crate::endpoint) watch: Watch,
    /// Registrations of regions that are closed, when they have to last as long as the endpoint.
    kept: Vec<Registered>,
    /// Why the endpoint was closed, if it was.
    pub closed: Option<String>,
    /// A thread is polling for everybody.
    pub led: bool,
    /// Threads that wait for their operation, or for the lead.
    pub followers: Vec<SlotId>,
    /// Tells the progress thread whether it is needed.
    pub(in crate::endpoint) activity: Arc<Activity>,
}

// SAFETY: the raw pointers in here are addresses of operations' memory, which the operations' owners keep valid
// wherever they are; the handles may be used from any thread that holds the lock.
unsafe impl Send for Engine {}

impl Engine {
    /// The engine of rank `me` of those with these fabric addresses. `room` is how many operations the provider may hold
    /// at most, per work queue.
    #[expect(clippy::too_many_arguments)]
    pub(crate) fn new(
        endpoint: EndpointHandle,
        queue: Arc<CompletionQueue>,
        room: [usize; 2],
        me: usize,
        addresses: Vec<u64>,
        tags: TagFormat,
        quirks: Quirks,
        liveness: Arc<Liveness>,
    ) -> Self {
        Self {
            endpoint: Some(endpoint),
            queue,
            slots: Slots::new(),
            batch: Batch::new(),
            in_flight: [0; 2],
            room,
            deferred: [Backlog::default(), Backlog::default()],
            immediates: HashMap::new(),
            expectations: Vec::new(),
            retired: Vec::new(),
            peers: addresses.into_iter().map(|address| Peer { address, waiting: 0 }).collect(),
            me: me as u32,
            tags,
            quirks,
            news: 0,
            liveness,
            doubtful: Vec::new(),
            numbered: None,
            wake_ups: Vec::new(),
            lost_peers: Vec::new(),
            spoiled: false,
            panicked: None,
            watch: Watch::default(),
            kept: Vec::new(),
            closed: None,
            led: false,
            followers: Vec::new(),
            activity: Arc::default(),
        }
    }

    /// Sends a message that is copied at once, if the provider has room for it now.
    ///
    /// # Safety
    /// See [`EndpointHandle::inject`].
    #[inline(always)]
    pub(crate) unsafe fn inject(&mut self, request: Request, start: *const u8, len: usize) -> Posted {
        let Request { operation: Operation::Send { space }, peer: Some(rank), tag, .. } = request else {
            return Posted::Again;
        };
        let Some(to) = self.free_peer(rank) else { return Posted::Again };
        let Some(endpoint) = &mut self.endpoint else { return Posted::Again };
        // SAFETY: passed on to the caller.
        unsafe { endpoint.inject(to, self.tags.pack(space, tag), start, len) }
    }

    /// Starts an operation in a slot that was taken for this request. How it ends, even at once, is noted in the slot.
    ///
    /// Inlined where the operation is known, most of this and of what it calls falls away.
    ///
    /// # Safety
    /// Until the slot's outcome is there, the memory stays valid and is used by nobody else, as the operation requires.
    #[inline(always)]
    pub(crate) unsafe fn start(&mut self, id: SlotId, request: Request, memory: &[Segment]) {
        if let Operation::ImmediateData { value, count } = request.operation {
            return self.expect(id, value, count);
        }
        if let Operation::WriteImmediate { .. } = request.operation {
            let is_to_self = request.peer == Some(self.me);
            self.slots.get(id).special().announces = is_to_self && self.quirks.refuses_immediate_to_self;
        }
        // Operations for one peer keep their order; those for another don't wait for it.
        let free = match (request.operation.work_queue(), request.peer) {
            (WorkQueue::Transmit, Some(rank)) => self.free_peer(rank),
            (work_queue, _) => self.deferred[work_queue as usize].is_empty().then_some(ADDRESS_UNSPECIFIED),
        };
        if let Some(address) = free {
            // SAFETY: passed on to the caller.
            match unsafe { self.attempt(id, request, address, memory) } {
                Posted::Yes => return,
                Posted::Again => {}
                Posted::Failed(code) => return self.reject(id, code),
            }
        }
        // SAFETY: passed on to the caller.
        unsafe { self.defer(id, memory) };
    }

    /// Posts an operation, `peer` being its peer's address, if the provider has room for it.
    ///
    /// # Safety
    /// As [`Engine::start`].
    #[inline(always)]
    unsafe fn attempt(&mut self, id: SlotId, request: Request, peer: u64, memory: &[Segment]) -> Posted {
        let work_queue = request.operation.work_queue() as usize;
        let Some(endpoint) = &mut self.endpoint else {
            self.finish(id, Outcome::Closed);
            return Posted::Yes;
        };
        if self.in_flight[work_queue] >= self.room[work_queue] {
            return Posted::Again;
        }
        let context = self.slots.context(id);
        // SAFETY: the context lives as long as its slot, which is not released before the outcome is there; the
        // caller vouches for the memory.
        let posted = unsafe {
            match request.operation {
                Operation::Send { space } => {
                    let tag = self.tags.pack(space, request.tag);
                    if let [one] = memory
                        && self.quirks.injects(one.len)
                    {
                        let posted = endpoint.inject(peer, tag, one.start, one.len);
                        if posted == Posted::Yes {
                            // No completion comes of it.
                            self.finish(id, Outcome::Done { bytes: one.len, tag });
                        }
                        return posted;
                    }
                    endpoint.send(peer, tag, memory, context)
                }
                Operation::Receive { space, ignore } => {
                    let (tag, ignore) = self.tags.pack_match(space, request.peer, request.tag, ignore);
                    endpoint.receive(tag, ignore, memory, context)
                }
                Operation::Probe { space, ignore } => {
                    let (tag, ignore) = self.tags.pack_match(space, request.peer, request.tag, ignore);
                    endpoint.peek(tag, ignore, context)
                }
                Operation::Write { place } => endpoint.write(peer, place, memory, None, context),
                Operation::WriteImmediate { place, data } => {
                    let data = (!self.slots.get(id).announces).then_some(data);
                    endpoint.write(peer, place, memory, data, context)
                }
                Operation::Read { place } => endpoint.read(peer, place, memory, context),
                Operation::Atomic { place, call, width } => {
                    let operands = self.slots.operands(id);
                    let (operand, compare, result) = (
                        &raw const (*operands).operand,
                        &raw const (*operands).compare,
                        &raw mut (*operands).result,
                    );
                    endpoint.atomic(
                        call,
                        width,
                        peer,
                        place,
                        operand.cast::<c_void>(),
                        compare.cast(),
                        result.cast(),
                        context,
                    )
                }
                // Nothing is asked of the device.
                Operation::ImmediateData { .. } | Operation::Group => return Posted::Yes,
            }
        };
        if posted == Posted::Yes {
            self.in_flight[work_queue] += 1;
        }
        posted
    }

    /// Reads what has completed, makes the provider progress, and posts what had no room before.
    #[inline]
    pub(crate) fn poll(&mut self) -> bool {
        self.activity.polled();
        if self.endpoint.is_none() {
            return false;
        }
        let active = match self.queue.read(&mut self.batch) {
            Polled::Nothing => false,
            Polled::Some(count) => {
                for index in 0..count {
                    if !self.complete_plainly(index) {
                        self.complete_rest(index, count);
                        break;
                    }
                }
                true
            }
            Polled::ErrorIsNext => {
                self.fail_next();
                true
            }
            Polled::Broken(code) => {
                self.give_up(code);
                true
            }
        };
        // One test of both.
        if !(self.deferred[0].is_empty() & self.deferred[1].is_empty()) {
            self.retry();
        }
        active
    }

    /// Does what a completion tells of, if that is only that an operation is over, as nearly always. Apart from the
    /// rest, whose needs of registers and stack would be every poll's.
    #[inline(always)]
    fn complete_plainly(&mut self, index: usize) -> bool {
        let entry = self.batch.entry(index);
        if entry.has_data() || entry.context().is_null() {
            return false;
        }
        // SAFETY: contexts that are not null are ours: every operation is posted with one of a slot.
        match unsafe { self.slots.find(entry.context()) } {
            Some((_, record)) if record.is_plain() => {
                record.stage = Stage::Over(Outcome::Done { bytes: entry.len(), tag: entry.tag() });
                self.in_flight[record.request.operation.work_queue() as usize] -= 1;
                true
            }
            _ => false,
        }
    }

    /// Does what the completions from `first` on tell of. Called once, as a call inside the loop over the plain ones would
    /// have every poll save more registers.
    #[inline(never)]
    fn complete_rest(&mut self, first: usize, count: usize) {
        (first..count).for_each(|index| self.complete(index));
    }

    /// Does what a completion tells of, whatever that is.
    #[inline]
    fn complete(&mut self, index: usize) {
        let entry = self.batch.entry(index);
        if let Some(value) = entry.immediate() {
            return self.immediate(value as u32);
        }
        if entry.context().is_null() {
            return;
        }
        // SAFETY: as in `complete_plainly`.
        if let Some((id, record)) = unsafe { self.slots.find(entry.context()) } {
            self.in_flight[record.request.operation.work_queue() as usize] -= 1;
            if self.numbered.is_some() && !self.meet_number(id, &entry) {
                return;
            }
            self.finish(id, Outcome::Done { bytes: entry.len(), tag: entry.tag() });
        }
    }

    #[cold]
    fn give_up(&mut self, code: Code) {
        self.close(format!("its completion queue failed: {}", crate::ffi::describe(code)));
    }

    #[cold]
    fn fail_next(&mut self) {
        if let Some(error) = self.queue.read_error() {
            self.fail(error);
        }
    }

    #[cold]
    fn fail(&mut self, error: CompletionError) {
        if error.context.is_null() && error.code == Code(libc::ECONNRESET) {
            return self.lost_peers.push(error.data);
        }
        if error.context.is_null() {
            let text = format!("an operation that nobody waits for failed: {}", error.text);
            return log_later(Level::Warn, text);
        }
        // SAFETY: as in `complete_plainly`.
        if let Some((id, record)) = unsafe { self.slots.find(error.context) } {
            if record.failed {
                return;
            }
            if !matches!(error.code, TRUNCATED | NO_MESSAGE | Code(libc::ECANCELED)) {
                record.special().failed = true;
            }
            self.in_flight[record.request.operation.work_queue() as usize] -= 1;
            // Withdrawn because the endpoint is closing: see `closing`.
            let is_cancelled = error.code == Code(libc::ECANCELED);
            self.spoiled |= record.request.operation.is_receive() && !is_cancelled && error.code != TRUNCATED;
            if self.numbered.is_some() && !self.meet_failure(id, &error) {
                return;
            }
            let withdrawn = self.closed.is_some() && is_cancelled;
            match withdrawn {
                true => self.finish(id, Outcome::Closed),
                false => self.finish_failed(id, error),
            }
        }
    }

    /// Notes that the provider refused to post an operation.
    #[cold]
    fn reject(&mut self, id: SlotId, code: Code) {
        self.finish_failed(id, CompletionError::posting(code));
    }

    /// Ends an operation that the provider does not have.
    #[cold]
    fn refuse(&mut self, id: SlotId, code: Code) {
        self.finish(id, Outcome::Failed(Box::new(CompletionError::posting(code))));
    }

    /// Notes how an operation ended.
    #[inline]
    pub(crate) fn finish(&mut self, id: SlotId, outcome: Outcome) {
        let record = self.slots.get(id);
        // Of what has a handle, the handle's owner takes the result, and leaves the group then.
        let group = record.request.group.filter(|_| record.is_orphan());
        let arrived = match (record.request.operation, &outcome) {
            (Operation::WriteImmediate { data, .. }, Outcome::Done { .. }) if record.announces => Some(data),
            _ => None,
        };
        let wake_up = self.slots.finish(id, outcome);
        if let Some(value) = arrived {
            self.immediate(value);
        }
        if let Some(group) = group {
            self.leave_group(group);
        }
        match wake_up {
            WakeUp::None => {}
            wake_up => {
                if matches!(wake_up, WakeUp::Wake(_)) {
                    self.activity.task_left();
                }
                self.wake_ups.push(wake_up);
            }
        }
    }

    /// Gives a slot back, and with it all that was kept in it.
    #[inline]
    pub(crate) fn release(&mut self, id: SlotId) {
        if let Some(group) = self.slots.release(id) {
            self.leave_group(group);
        }
    }

    /// Whether the operation wakes this very task when it is over.
    pub(crate) fn wakes(&mut self, id: SlotId, waker: &Waker) -> bool {
        matches!(&self.slots.get(id).wake_up, WakeUp::Wake(known) if known.will_wake(waker))
    }

    /// Lets a task be woken when the operation is over; it replaces one that was to be woken before. The waker was
    /// cloned without the endpoint's lock: cloning runs code of others.
    pub(crate) fn wake_when_over(&mut self, id: SlotId, waker: Waker) {
        self.tell_nobody(id);
        self.slots.get(id).special().wake_up = WakeUp::Wake(waker);
        self.activity.task_waits();
    }

    /// Lets a thread be unparked when the operation is over, or when it is its turn to poll.
    pub(crate) fn unpark_when_over(&mut self, id: SlotId, thread: Thread) {
        self.tell_nobody(id);
        self.slots.get(id).special().wake_up = WakeUp::Unpark(thread);
    }

    /// Forgets who was to be told.
    pub(crate) fn tell_nobody(&mut self, id: SlotId) {
        let record = self.slots.get(id);
        if record.is_plain() {
            return;
        }
        if let WakeUp::Wake(waker) = std::mem::replace(&mut record.wake_up, WakeUp::None) {
            self.activity.task_left();
            self.wake_ups.push(WakeUp::Forget(waker));
        }
    }

    /// Leaves an operation to itself. The buffer is kept until the device is done with it.
    pub(crate) fn abandon(&mut self, id: SlotId, parked: WakeUp) {
        self.tell_nobody(id);
        if self.slots.get(id).is_over() {
            self.release(id);
        } else {
            self.slots.abandon(id, parked);
        }
    }

    /// Waits for `count` writes that bring the immediate `value`; those that have come already count.
    fn expect(&mut self, id: SlotId, value: u32, count: u64) {
        if self.endpoint.is_none() {
            return self.finish(id, Outcome::Closed);
        }
        self.expectations.push(Expectation { id, value, count });
        self.settle(value);
    }

    fn immediate(&mut self, value: u32) {
        *self.immediates.entry(value).or_default() += 1;
        if !self.expectations.is_empty() {
            self.settle(value);
        }
    }

    /// Ends the waits that have got what they waited for, oldest first.
    fn settle(&mut self, value: u32) {
        while let Some(place) = self.expectations.iter().position(|expectation| expectation.value == value) {
            let arrived = self.immediates.entry(value).or_default();
            let Expectation { id, count, .. } = self.expectations[place];
            if *arrived < count {
                return;
            }
            *arrived -= count;
            if *arrived == 0 {
                self.immediates.remove(&value);
            }
            self.expectations.remove(place);
            self.finish(id, Outcome::Done { bytes: 0, tag: 0 });
        }
    }

    /// Closes the endpoint, after which the device touches no memory of ours, and ends everything under way.
    pub(crate) fn close(&mut self, why: String) {
        let Some(endpoint) = self.endpoint.take() else { return };
        if self.quirks.never_closes {
            // Nothing here calls it any more, and nothing else makes it touch memory.
            std::mem::forget(endpoint);
        }
        self.kept.clear();
        self.closed.get_or_insert(why);
        self.settle_doubts(|_| true);
        let retired = std::mem::take(&mut self.retired);
        self.wake_ups.extend(retired.into_iter().map(WakeUp::Drop));
        self.deferred.iter_mut().for_each(Backlog::clear);
        self.peers.iter_mut().for_each(|peer| peer.waiting = 0);
        self.expectations.clear();
        self.in_flight = [0; 2];
        // Groups are not the device's: they end when the last of their operations does.
        for id in self.slots.under_way() {
            if !matches!(self.slots.get(id).request.operation, Operation::Group) {
                self.finish(id, Outcome::Closed);
            }
        }
    }

    /// Ends the registration of a region, or keeps it where transfers under way may still look into it.
    pub(crate) fn end_registration(&mut self, registered: Registered) {
        if self.quirks.never_closes && self.is_open() {
            self.kept.push(registered);
        }
    }

    /// Keeps memory that peers could reach until none of them can: after its registration has ended, a message that
    /// was on its way may still be written there.
    pub(crate) fn retire(&mut self, memory: Box<dyn Any + Send>) {
        match self.endpoint {
            Some(_) => self.retired.push(memory),
            None => self.wake_ups.push(WakeUp::Drop(memory)),
        }
    }

    /// Whether the device has nothing of ours to send, read or write.
    pub(crate) fn is_drained(&self) -> bool {
        self.in_flight[WorkQueue::Transmit as usize] == 0
            && self.deferred[WorkQueue::Transmit as usize].is_empty()
    }

    /// Returns the ranks whose connection was lost since the last call.
    pub(in crate::endpoint) fn take_lost_peers(&mut self) -> Vec<usize> {
        let rank_of = |address| self.peers.iter().position(|peer| peer.address == address);
        self.lost_peers.drain(..).filter_map(rank_of).collect()
    }

    /// Whether connections broke of which it is not known yet whether their peers are gone.
    pub(in crate::endpoint) fn has_broken_connections(&self) -> bool {
        !self.lost_peers.is_empty() || self.watch.has_broken_connections()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.endpoint.is_some()
    }

    /// The queue, for sleeping on it without the lock.
    pub(crate) fn queue(&self) -> &CompletionQueue {
        &self.queue
    }

    /// The endpoint, while it is open.
    pub(crate) fn endpoint(&self) -> Option<&EndpointHandle> {
        self.endpoint.as_ref()
    }
}
