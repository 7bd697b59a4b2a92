//! loom's primitives, in the shape of the library's `endpoint/driver/primitives.rs`.

use std::cell::Cell;
use std::time::Duration;

pub(super) use loom::hint::spin_loop;
pub(super) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
pub(super) use loom::thread::yield_now;

/// So few, or there are too many orders to go through.
pub(super) const BIAS_AFTER: u32 = 2;
pub(super) const OWNERS: usize = 2;

/// loom's, with a swap that does not write when there is nothing to change. loom does not know that what a swap writes
/// comes right after what it read; after one that changed nothing it might see the lock taken for ever.
pub(super) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(super) fn new(value: bool) -> Self {
        Self(loom::sync::atomic::AtomicBool::new(value))
    }

    pub(super) fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    pub(super) fn store(&self, value: bool, order: Ordering) {
        self.0.store(value, order);
    }

    pub(super) fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.compare_exchange(!value, value, order, Ordering::Relaxed).is_err() == value
    }
}

/// A cell whose address may be used by one thread at a time only, which loom checks whenever the address is taken.
pub(super) struct UnsafeCell<T> {
    used: loom::cell::UnsafeCell<()>,
    value: std::cell::UnsafeCell<T>,
}

impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> Self {
        Self { used: loom::cell::UnsafeCell::new(()), value: std::cell::UnsafeCell::new(value) }
    }

    pub(super) fn get(&self) -> *mut T {
        self.used.with_mut(|_| self.value.get())
    }
}

/// A full fence, as the other thread's `membarrier` makes one of it.
pub(super) fn compiler_fence(order: Ordering) {
    loom::sync::atomic::fence(order);
}

/// Lets the others go on, as a nap does.
pub(super) fn sleep(_: Duration) {
    yield_now();
}

loom::thread_local! {
    static ME: Cell<usize> = Cell::new(0);
}

pub(super) fn me_if_known() -> usize {
    ME.with(Cell::get)
}

pub(super) fn me() -> usize {
    use std::sync::atomic::AtomicUsize;
    // Not loom's: which number a thread has makes no difference.
    static NEXT: AtomicUsize = AtomicUsize::new(OWNERS);
    ME.with(|me| {
        if me.get() == 0 {
            me.set(NEXT.fetch_add(OWNERS, Ordering::Relaxed));
        }
        me.get()
    })
}
