//! The helper: one thread, started when something has to happen later or without the program's doing.
//!
//! It retries sends whose receiver wasn't ready, carries out requests that the fault plan holds back, tells sleeping
//! programs of arrivals, and answers letters. It sleeps on the process's doorbell, which other processes ring too.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::completion::Completions;
use crate::letters;
use crate::log::monotonic;
use crate::process::Process;
use crate::queue::Queue;
use crate::status::Status;
use crate::transmit::{self, Outcome};
use crate::wire::Address;
use crate::work::Work;

/// Sleep without a reason to wake: nothing is due, and everyone who wants something rings.
const IDLE: Duration = Duration::from_secs(10);

/// How far a request has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Tries left when the receiver isn't ready.
    pub(crate) retries: u32,
    /// Wait before the next of these.
    pub(crate) wait: Duration,
    /// How long it has waited for the peer to answer letters.
    pub(crate) waited: Duration,
    /// Fail like this instead of trying.
    pub(crate) fail: Option<Status>,
    /// Pretend this many times that no receive was there.
    pub(crate) not_ready: u32,
}

/// A request held back.
pub(crate) struct Held {
    due: Duration,
    order: u64,
    queue: Arc<Queue>,
    work: Work,
    attempt: Attempt,
}

impl Held {
    /// Hands a request to the helper, to be tried after a wait.
    pub(crate) fn hold(queue: &Arc<Queue>, work: Work, wait: Duration, attempt: Attempt) {
        let process = queue.parts.process.clone();
        let helper = &process.helper;
        let order = helper.order.fetch_add(1, Ordering::Relaxed);
        let held = Self { due: monotonic() + wait, order, queue: queue.clone(), work, attempt };
        lock(&helper.held).push(Reverse(held));
        helper.start(&process);
        wake(&process);
    }

    fn go_on(self) {
        let queue = self.queue.clone();
        queue.work_aside(|| self.go_on_now());
    }

    fn go_on_now(self) {
        let Self { queue, work, mut attempt, .. } = self;
        let outcome = if let Some(status) = attempt.fail {
            Outcome::Done(status)
        } else if attempt.not_ready > 0 {
            attempt.not_ready -= 1;
            Outcome::NotReady
        } else {
            transmit::attempt(&queue, &work)
        };
        transmit::settle(&queue, work, outcome, attempt);
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// The helper of a process, whether its thread runs or not.
#[derive(Default)]
pub(crate) struct Helper {
    held: Mutex<BinaryHeap<Reverse<Held>>>,
    watched: Mutex<Vec<Weak<Completions>>>,
    started: AtomicBool,
    order: AtomicU64,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Helper({} held)", lock(&self.held).len())
    }
}

impl Helper {
    /// Starts the thread unless it runs.
    pub(crate) fn start(&self, process: &Arc<Process>) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let own = process.clone();
        // The program's signals are for the program's threads.
        let before = block_signals();
        let spawned = std::thread::Builder::new().name("efa-emulator".to_owned()).spawn(move || run(&own));
        restore_signals(&before);
        if spawned.is_err() {
            self.started.store(false, Ordering::Release);
        }
    }

    /// Keeps an eye on a completion queue that someone sleeps on.
    pub(crate) fn watch(&self, process: &Arc<Process>, completions: &Arc<Completions>) {
        let mut watched = lock(&self.watched);
        watched.retain(|other| other.strong_count() > 0);
        if !watched.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(completions))) {
            watched.push(Arc::downgrade(completions));
        }
        drop(watched);
        self.start(process);
    }

    fn take_due(&self, now: Duration) -> Option<Held> {
        let mut held = lock(&self.held);
        if held.peek().is_some_and(|Reverse(first)| first.due <= now) {
            return held.pop().map(|Reverse(first)| first);
        }
        None
    }

    fn next_due(&self) -> Option<Duration> {
        lock(&self.held).peek().map(|Reverse(first)| first.due)
    }
}

/// Rings the doorbell of another process, or of this one.
pub(crate) fn ring(process: &Process, whose: Address) {
    if whose.slot == process.job.slot() {
        return wake(process);
    }
    if let Ok(peer) = process.peers.process(process, whose)
        && let Ok(header) = peer.header()
    {
        header.doorbell.fetch_add(1, Ordering::AcqRel);
        futex_wake(&header.doorbell);
    }
}

fn wake(process: &Process) {
    if let Ok(header) = process.regions.file().header() {
        header.doorbell.fetch_add(1, Ordering::AcqRel);
        futex_wake(&header.doorbell);
    }
}

fn run(process: &Arc<Process>) {
    let Ok(header) = process.regions.file().header() else { return };
    loop {
        let seen = header.doorbell.load(Ordering::Acquire);
        while let Some(held) = process.helper.take_due(monotonic()) {
            held.go_on();
        }
        letters::answer(process);
        let watched: Vec<_> = lock(&process.helper.watched).iter().filter_map(Weak::upgrade).collect();
        watched.iter().for_each(|completions| completions.tell_of_receives());
        drop(watched);
        let wait = process.helper.next_due().map_or(IDLE, |due| due.saturating_sub(monotonic()));
        if !wait.is_zero() {
            futex_wait(&header.doorbell, seen, wait);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Sleeps while a word in shared memory keeps its value, at most for `wait`.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, wait: Duration) {
    let wait = libc::timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
    // SAFETY: the word and the time live through the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &wait) };
}

/// Wakes whoever sleeps on a word in shared memory.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the kernel only uses the address to find the sleepers.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
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
