//! What the [lock](super::lock) is made of. The model of the lock (`tests/lock_model/`) puts loom's in place of these.

pub(super) use std::cell::UnsafeCell;
pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, compiler_fence};
pub(super) use std::thread::{sleep, yield_now};

use std::cell::Cell;

/// How many times in a row a thread takes the lock before it is the favourite. As many times again save what it costs to
/// end the favour, at some 10 ns and 20 us.
pub(super) const HABIT: u32 = 2000;

/// How many threads can be favourites of a lock, one after the other. Each keeps its seat for good: a thread that was
/// about to go in may say so long after it was the favourite, and that must not be taken for another's word.
pub(super) const SEATS: usize = 8;

thread_local! {
    /// This thread's number, a multiple of `SEATS`; zero until it has one.
    static ME: Cell<usize> = const { Cell::new(0) };
}

/// Returns this thread's number, or zero if it has none yet.
#[inline]
pub(super) fn me_if_known() -> usize {
    ME.get()
}

/// Returns this thread's number, which no other thread has had.
#[cold]
pub(super) fn me() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(SEATS);
    if ME.get() == 0 {
        ME.set(NEXT.fetch_add(SEATS, Ordering::Relaxed));
    }
    ME.get()
}
