//! What the [lock](super::lock) is made of. The model of the lock (`tests/lock_model/`) puts loom's in place of these.

pub(super) use std::cell::UnsafeCell;
pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, compiler_fence};
pub(super) use std::thread::{sleep, yield_now};

use std::cell::Cell;

/// How many times in a row a thread takes the lock before it becomes the owner of the bias. A revocation costs some 20 us
/// and a biased entry saves some 10 ns, so as many entries again pay for one revocation.
pub(super) const BIAS_AFTER: u32 = 2000;

/// How many threads can become owners of one lock, one after the other. Each keeps its flag for good: a thread that was
/// about to enter may still set its flag long after its bias was revoked, and no other thread may be taken for it.
pub(super) const OWNERS: usize = 8;

thread_local! {
    /// This thread's number, a multiple of `OWNERS`; zero until it has one.
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
    static NEXT: AtomicUsize = AtomicUsize::new(OWNERS);
    if ME.get() == 0 {
        ME.set(NEXT.fetch_add(OWNERS, Ordering::Relaxed));
    }
    ME.get()
}
