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
use super::engine::slot::WakeUp;
use super::keys::Keys;
use crate::bootstrap::Liveness;
use crate::error::{Peer, Result};
use crate::fabric::{Limits, Owner, Quirks};
use crate::ffi::{AccessFlags, Domain, EndpointHandle, Registered, log_one};
use crate::memory::{Access, Registrar};

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
    pub quirks: Quirks,
    /// Who they are, by rank.
    pub peers: Vec<Peer>,
    /// Of which process each rank's endpoint is, where the address tells: on shared memory.
    pub owners: Vec<Option<Owner>>,
    pub liveness: Arc<Liveness>,
    pub clock: Clock,
    /// How long waits spin just now, in microseconds: see `wait`.
    pub spin_now: AtomicU32,
    pub oversubscribed: bool,
    pub(super) keys: Keys,
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
        quirks: Quirks,
        me: usize,
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
            quirks,
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

    /// Such operations are all atomics, and reads and writes where the device can't do them. What comes late then goes to
    /// memory that is out of use.
    fn keeps_windows(&self, access: Access) -> bool {
        let emulates_writes = || self.lock().endpoint().is_some_and(EndpointHandle::emulates_writes);
        self.quirks.looks_into_closed_regions && (access == Access::ReadWrite || emulates_writes())
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
