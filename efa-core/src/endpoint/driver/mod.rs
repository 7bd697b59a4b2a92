//! What an endpoint, its operations and its progress thread share.

pub(super) mod activity;
pub(super) mod clock;
mod closing;
pub(super) mod connections;
mod fence;
mod lock;
#[cfg(test)]
mod lock_tests;
mod primitives;
pub(super) mod progress;
pub(super) mod wait;
pub(super) mod watchdog;

use std::any::Any;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Instant;

use self::clock::Clock;
use self::lock::{Guard, Lock};
use self::progress::describe_panic;
use super::config::EndpointConfig;
use super::engine::Engine;
use super::engine::backlog::Call;
use super::engine::slot::{CallMemory, Kind, Operands, OperationInfo, Outcome, SlotId, WakeUp};
use super::keys::Keys;
use super::tag::TagFormat;
use crate::bootstrap::Liveness;
use crate::error::{Code, Error, Peer, Result};
use crate::fabric::{Limits, Owner, Provider};
use crate::ffi::{AccessFlags, Domain, EndpointHandle, Registered, Segment, log_one};
use crate::memory::{self, Access, Registrar};

/// What is told to the other ranks if this one gives up.
#[derive(Debug)]
pub(crate) struct FirstFailure {
    pub text: String,
    /// The rank that the error says is lost.
    pub lost: Option<usize>,
}

/// Everything about an endpoint that more than one thread uses.
pub(crate) struct Shared {
    core: Lock<Engine>,
    pub domain: Arc<Domain>,
    pub config: EndpointConfig,
    pub limits: Limits,
    pub me: usize,
    pub tags: TagFormat,
    /// Where to post to, by rank.
    pub addresses: Vec<u64>,
    /// Who they are, by rank.
    pub peers: Vec<Peer>,
    /// Of which process each rank's endpoint is, where the address tells: on shared memory.
    pub owners: Vec<Option<Owner>>,
    pub liveness: Arc<Liveness>,
    pub clock: Clock,
    /// How long waits spin just now, in microseconds: see `wait`.
    pub spin_now: AtomicU32,
    pub oversubscribed: bool,
    keys: Keys,
    /// The first error of an operation that the program has not asked for.
    pub first_failure: OnceLock<FirstFailure>,
    pub stop: AtomicBool,
    pub progress_thread: OnceLock<Thread>,
}

impl Shared {
    #[expect(clippy::too_many_arguments)]
    pub(super) fn new(
        core: Engine,
        domain: Arc<Domain>,
        config: EndpointConfig,
        limits: Limits,
        me: usize,
        addresses: Vec<u64>,
        peers: Vec<Peer>,
        owners: Vec<Option<Owner>>,
        liveness: Arc<Liveness>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            core: Lock::new(core),
            domain,
            limits,
            me,
            tags: TagFormat::new(config.secret.as_ref(), me, addresses.len()),
            addresses,
            peers,
            owners,
            liveness,
            clock: Clock::start(),
            spin_now: AtomicU32::new(u32::try_from(config.spin.as_micros()).unwrap_or(u32::MAX)),
            oversubscribed: config.local_ranks > cores,
            keys: Keys::new(),
            first_failure: OnceLock::new(),
            config,
            stop: AtomicBool::new(false),
            progress_thread: OnceLock::new(),
        }
    }

    /// Takes the endpoint's lock.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked(ManuallyDrop::new(self.core.lock()))
    }

    /// Returns what tells this endpoint from the others of the process: see [`Registration`](crate::memory::Registration).
    #[inline]
    pub(crate) fn identity(&self) -> *const () {
        ptr::from_ref(self).cast()
    }

    /// Whether another thread waits for the lock.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        self.core.is_contended()
    }

    /// Whether some thread has the endpoint's lock, as seen without taking it.
    pub(super) fn is_locked(&self) -> bool {
        self.core.is_held()
    }

    /// The fabric address of a rank.
    #[inline]
    pub(crate) fn address(&self, rank: usize) -> Result<u64> {
        match self.addresses.get(rank) {
            Some(&address) => Ok(address),
            None => Err(self.no_such_rank(rank)),
        }
    }

    #[cold]
    fn no_such_rank(&self, rank: usize) -> Error {
        Error::misuse(
            format!("cannot reach rank {rank}"),
            format!("the job has {} ranks, numbered from 0", self.peers.len()),
            "use a rank of the job",
        )
    }

    /// Starts an operation and returns its slot, where it is noted how the operation ends, even at once.
    ///
    /// # Safety
    /// As [`Engine::start`].
    #[inline]
    pub(crate) unsafe fn start(&self, info: OperationInfo, call: Call, memory: &mut [Segment]) -> SlotId {
        let mut core = self.lock();
        // SAFETY: passed on to the caller.
        unsafe { self.start_locked(&mut core, info, call, memory) }
    }

    /// [`Shared::start`] for whoever has the lock already.
    ///
    /// # Safety
    /// As [`Engine::start`].
    #[inline(always)]
    pub(crate) unsafe fn start_locked(
        &self,
        core: &mut Engine,
        info: OperationInfo,
        call: Call,
        memory: &mut [Segment],
    ) -> SlotId {
        let id = core.slots.take(info, self.clock.now());
        if let Some(group) = info.group {
            core.join_group(group);
        }
        if self.limits.local_registration && !matches!(call, Call::Inject { .. }) {
            // SAFETY: passed on to the caller.
            if let Err(error) = unsafe { self.register_for_call(core, id, call.local_access(), memory) } {
                core.finish(id, Outcome::Unregistered(Box::new(error)));
                return id;
            }
        }
        // SAFETY: passed on to the caller.
        unsafe { core.start(id, info.peer, call, memory) };
        id
    }

    /// Starts an atomic operation, whose operands are kept in its slot.
    pub(crate) fn start_atomic(
        &self,
        core: &mut Engine,
        info: OperationInfo,
        call: Call,
        operands: Operands,
    ) -> SlotId {
        let id = core.slots.take(info, self.clock.now());
        core.slots.set_operands(id, operands);
        // SAFETY: the operands are in the slot, which is not released before the operation is over.
        unsafe { core.start(id, info.peer, call, &[]) };
        id
    }

    /// Registers what is not registered for the time of one operation.
    ///
    /// # Safety
    /// As [`Engine::start`].
    #[cold]
    unsafe fn register_for_call(
        &self,
        core: &mut Engine,
        id: SlotId,
        access: AccessFlags,
        memory: &mut [Segment],
    ) -> Result<()> {
        let kind = core.slots.get(id).info.kind;
        if let ([one], Kind::Send) = (&*memory, kind)
            && one.len <= self.limits.inject_size
        {
            // efa copies it, or has the device take it out of ordinary memory: registering would cost more than both.
            return Ok(());
        }
        if kind == Kind::Send && self.limits.must_copy(memory.iter().map(|segment| segment.len).sum()) {
            memory.iter_mut().for_each(|segment| segment.descriptor = std::ptr::null_mut());
            return Ok(());
        }
        let is_remote = matches!(kind, Kind::Read | Kind::Write);
        for segment in memory.iter_mut().filter(|segment| segment.descriptor.is_null()) {
            let mut len = segment.len;
            if len == 0 {
                if !is_remote {
                    continue;
                }
                // efa looks at the descriptor of a remote read of nothing, too. What nobody uses is the slot's own.
                segment.start = core.slots.operands(id).cast();
                len = 1;
            }
            // SAFETY: the caller keeps the memory until the outcome is there, and the slot ends the registration
            // when it is released, which is after that.
            let registered = unsafe { self.register_or_copy(segment, len, access)? };
            segment.descriptor = registered.registered.descriptor();
            core.slots.get(id).special().registered.push(registered);
        }
        Ok(())
    }

    /// Registers a segment, or a copy of it where the device can't reach the memory itself.
    ///
    /// A device that may write to whatever is registered refuses memory that the program can only read, such as a mapped
    /// file or a constant: efa registers all memory so, whatever it was asked for (`efa_mr_reg_impl`).
    ///
    /// # Safety
    /// The memory stays allocated until the registration has ended.
    unsafe fn register_or_copy(
        &self,
        segment: &mut Segment,
        len: usize,
        access: AccessFlags,
    ) -> Result<CallMemory> {
        let key = self.keys.next();
        // SAFETY: passed on to the caller.
        let refused = match unsafe { self.domain.register(segment.start, len, access, key) } {
            Ok(registered) => return Ok(CallMemory { registered, copy: None }),
            Err(error) => error,
        };
        let is_read_only = matches!(refused, Error::Fabric { code: Code(libc::EFAULT), .. });
        if !is_read_only || access != AccessFlags::LOCAL_READ {
            return Err(refused);
        }
        // SAFETY: the caller vouches for the memory, and the device would only have read it.
        let Some(mut copy) = (unsafe { memory::copy_of(segment.start, len) }) else { return Err(refused) };
        let key = self.keys.next();
        // SAFETY: the copy is dropped after its registration.
        let registered = unsafe { self.domain.register(copy.as_mut_ptr(), len, access, key)? };
        segment.start = copy.as_mut_ptr();
        Ok(CallMemory { registered, copy: Some(copy) })
    }

    /// Wakes the progress thread, if it is there yet.
    pub(crate) fn wake_progress(&self) {
        if let Some(thread) = self.progress_thread.get() {
            thread.unpark();
        }
    }
}

impl Registrar for Shared {
    unsafe fn register(&self, start: *mut u8, len: usize, access: AccessFlags) -> Result<Registered> {
        let key = self.keys.next();
        let _lock = self.lock();
        // SAFETY: passed on to the caller.
        unsafe { self.domain.register(start, len, access, key) }
    }

    fn deregister(&self, registered: Registered) {
        self.lock().end_registration(registered);
    }

    fn retire(&self, memory: Box<dyn Any + Send>) {
        self.lock().retire(memory);
    }

    /// libfabric's efa provider crashes over an operation that it carries out itself on memory that is not registered
    /// (1.22 to 2.1 at least; `efa-closed-region` mends the built-in 1.22): all atomics, and reads and writes where the
    /// device can't. What comes late then goes to memory that is out of use.
    fn keeps_windows(&self, access: Access) -> bool {
        if self.config.provider != Provider::Efa || crate::ffi::has_patch("efa-closed-region") {
            return false;
        }
        let emulates_writes = || self.lock().endpoint().is_some_and(EndpointHandle::emulates_writes);
        access == Access::ReadWrite || emulates_writes()
    }

    fn wants_local_registration(&self) -> bool {
        self.limits.local_registration
    }

    fn rank(&self) -> usize {
        self.me
    }
}

/// The core, locked. Notices that came up meanwhile are delivered when the lock has been released.
pub(crate) struct Locked<'a>(ManuallyDrop<Guard<'a, Engine>>);

impl Deref for Locked<'_> {
    type Target = Engine;

    #[inline]
    fn deref(&self) -> &Engine {
        &self.0
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.0
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken here and nowhere else.
        let guard = unsafe { ManuallyDrop::take(&mut self.0) };
        if !guard.wake_ups.is_empty() {
            return deliver(guard);
        }
        let lock = guard.lock();
        drop(guard);
        if lock.is_contended() {
            // The lock is not fair: without a turn of the scheduler this thread would take it again at once.
            give_way();
        }
    }
}

#[cold]
fn give_way() {
    thread::yield_now();
}

thread_local! {
    /// How many deliveries are under way on this thread, one inside the other.
    static DELIVERIES: Cell<u32> = const { Cell::new(0) };
}

/// A waker that uses the endpoint may complete another operation, whose waker does the same, and so on. At this depth
/// the rest is left to the outermost delivery, lest the stack overflow.
const DEEPEST: u32 = 16;

#[cold]
fn deliver(mut guard: Guard<'_, Engine>) {
    let lock = guard.lock();
    let depth = DELIVERIES.get();
    if depth >= DEEPEST {
        return;
    }
    DELIVERIES.set(depth + 1);
    loop {
        let mut wake_ups = std::mem::take(&mut guard.wake_ups);
        drop(guard);
        deliver_all(lock, &mut wake_ups);
        // Whoever has the lock now delivers what came up meanwhile.
        let Some(core) = lock.try_lock() else { break };
        guard = core;
        if guard.wake_ups.is_empty() {
            // Give the empty list back, so that the next wake-up needs no allocation.
            guard.wake_ups = wake_ups;
            break;
        }
    }
    DELIVERIES.set(depth);
}

fn deliver_all(lock: &Lock<Engine>, wake_ups: &mut Vec<WakeUp>) {
    let mut panicked = None;
    for wake_up in wake_ups.drain(..) {
        // Wakers and buffers are others' code. A panic in one must not end a wait for memory that is in use.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| wake_up.deliver())) {
            let what = describe_panic(&*payload);
            panicked = Some(format!("a waker or a buffer panicked when an operation was over: {what}"));
            // Dropping the payload runs code of others as well.
            std::mem::forget(payload);
        }
    }
    if let Some(text) = panicked {
        log_one(log::Level::Error, &text);
        // The task of that waker sleeps for good; nobody must take the endpoint for sound.
        lock.lock().panicked.get_or_insert(text);
    }
}

/// When a wait by a caller must end at the latest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadline(pub Option<Instant>);

impl Deadline {
    pub(crate) const NONE: Deadline = Deadline(None);

    pub(crate) fn passed(self) -> bool {
        self.0.is_some_and(|deadline| Instant::now() >= deadline)
    }
}
