//! The helper: a thread that runs work later, or whenever the process's doorbell rings.
//!
//! It starts with the first work that it gets, knows nothing of what the work is, and sleeps on the doorbell, which other
//! processes ring too. Sends are retried here whose receiver wasn't ready, requests go on that the fault plan holds back,
//! sleeping programs are told of arrivals, and letters are answered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::futex;
use crate::log::monotonic;
use crate::wire::process::ProcessFile;

/// Sleep without a reason to wake: nothing is due, and everyone who wants something rings.
const IDLE: Duration = Duration::from_secs(10);

/// Work that is due at a time.
struct Later {
    due: Duration,
    /// Work that is due at the same time runs in the order in which it came.
    order: u64,
    run: Box<dyn FnOnce() + Send>,
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// Work for each ring of the doorbell. It returns whether it wants to run at the next one too.
type AtRing = Box<dyn FnMut() -> bool + Send>;

/// The helper of a process, whether its thread runs or not.
pub(crate) struct Helper(Arc<Shared>);

/// What the thread shares with those who give it work.
struct Shared {
    /// The process's file, in which the doorbell is.
    file: Arc<ProcessFile>,
    later: Mutex<BinaryHeap<Reverse<Later>>>,
    at_ring: Mutex<Vec<AtRing>>,
    started: AtomicBool,
    order: AtomicU64,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Helper({} later)", lock(&self.0.later).len())
    }
}

impl Helper {
    /// Makes the helper of the process whose file this is. The thread starts with the first work.
    pub(crate) fn new(file: Arc<ProcessFile>) -> Self {
        let shared = Shared {
            file,
            later: Mutex::default(),
            at_ring: Mutex::default(),
            started: AtomicBool::new(false),
            order: AtomicU64::new(0),
        };
        Self(Arc::new(shared))
    }

    /// Runs `work` once, after a wait.
    pub(crate) fn after(&self, wait: Duration, work: impl FnOnce() + Send + 'static) {
        let order = self.0.order.fetch_add(1, Ordering::Relaxed);
        let later = Later { due: monotonic() + wait, order, run: Box::new(work) };
        lock(&self.0.later).push(Reverse(later));
        self.start();
        ring(&self.0.file);
    }

    /// Runs `work` at each ring of the doorbell, until `work` returns `false`.
    pub(crate) fn at_each_ring(&self, work: impl FnMut() -> bool + Send + 'static) {
        lock(&self.0.at_ring).push(Box::new(work));
        self.start();
    }

    /// Starts the thread unless it runs.
    fn start(&self) {
        if self.0.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = self.0.clone();
        // The program's signals are for the program's threads.
        let before = block_signals();
        let spawned =
            std::thread::Builder::new().name("efa-emulator".to_owned()).spawn(move || shared.work());
        restore_signals(&before);
        if spawned.is_err() {
            self.0.started.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    /// Runs the thread: work that is due, work for each ring, and sleep.
    fn work(&self) {
        let Ok(header) = self.file.header() else { return };
        loop {
            let seen = header.doorbell.load(Ordering::Acquire);
            while let Some(later) = self.take_due(monotonic()) {
                (later.run)();
            }
            self.run_at_ring();
            let wait = self.next_due().map_or(IDLE, |due| due.saturating_sub(monotonic()));
            if !wait.is_zero() {
                futex::wait(&header.doorbell, seen, wait);
            }
        }
    }

    /// Runs the work for each ring without the lock, since work may bring more work.
    fn run_at_ring(&self) {
        let mut all = std::mem::take(&mut *lock(&self.at_ring));
        all.retain_mut(|work| work());
        lock(&self.at_ring).append(&mut all);
    }

    fn take_due(&self, now: Duration) -> Option<Later> {
        let mut later = lock(&self.later);
        if later.peek().is_some_and(|Reverse(first)| first.due <= now) {
            return later.pop().map(|Reverse(first)| first);
        }
        None
    }

    fn next_due(&self) -> Option<Duration> {
        lock(&self.later).peek().map(|Reverse(first)| first.due)
    }
}

/// Rings the doorbell of the process whose file this is.
pub(crate) fn ring(file: &ProcessFile) {
    if let Ok(header) = file.header() {
        header.doorbell.fetch_add(1, Ordering::AcqRel);
        futex::wake(&header.doorbell);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn block_signals() -> libc::sigset_t {
    // SAFETY: both sets are plain memory that the calls fill.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    }
}

fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: the set was filled by `block_signals`.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}
