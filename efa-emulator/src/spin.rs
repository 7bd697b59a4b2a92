//! A lock for sections of a few dozen instructions, between threads of one process.
//!
//! Nothing under such a lock waits or calls out, and no other process ever takes it.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

/// Tries before a waiting thread lets others run.
const SPINS: u32 = 64;

/// The bare lock, for sections that begin and end in different calls.
#[derive(Default)]
pub(crate) struct RawSpin(AtomicBool);

impl RawSpin {
    /// Waits for the lock.
    pub(crate) fn lock(&self) {
        let mut spins = 0;
        while self.0.swap(true, Ordering::Acquire) {
            while self.0.load(Ordering::Relaxed) {
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop();
                } else {
                    std::thread::yield_now();
                }
            }
        }
    }

    /// Gives the lock back.
    pub(crate) fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A value behind a spinning lock.
#[derive(Default)]
pub(crate) struct Spin<T> {
    lock: RawSpin,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one thread at a time access to the value.
unsafe impl<T: Send> Sync for Spin<T> {}

impl<T> Spin<T> {
    /// Wraps a value.
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: RawSpin(AtomicBool::new(false)), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock; it is given back when the guard is dropped.
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        self.lock.lock();
        SpinGuard(self)
    }
}

/// Access to a locked value.
pub(crate) struct SpinGuard<'a, T>(&'a Spin<T>);

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard holds the lock.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        self.0.lock.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::Spin;

    #[test]
    fn two_threads_never_hold_it_at_once() {
        let counter = Spin::new(0u32);
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    for _ in 0..50_000 {
                        *counter.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(*counter.lock(), 100_000);
    }
}
