//! The lock in front of every operation.
//!
//! Taking it costs one locked instruction, giving it back a plain store. With a locked instruction there, as every lock
//! has that wakes those who wait for it, the processor waits until all that was written under the lock has arrived;
//! on shared memory that is the message itself, on its way into lines that the peer's processor holds. The price is
//! that whoever finds the lock taken is not woken, and looks again and again. That is seldom and soon over: a thread that
//! gives the lock back also gives way when it sees that the lock [is contended](Lock::is_contended). It is not for signal
//! handlers, nor for the child of a fork that happened while another thread had it.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use std::{hint, thread};

/// Looks before the processor is given away.
const SPINS: u32 = 100;
/// Turns of the scheduler before sleeping.
const YIELDS: u32 = 50;
const NAP: Duration = Duration::from_micros(50);

/// Gives access to a value to one thread at a time.
pub(crate) struct Lock<T> {
    taken: AtomicBool,
    /// How many threads want it and haven't got it.
    queued: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is handed out to one thread at a time, wherever that runs.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), queued: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits for its turn.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        match self.try_lock() {
            Some(guard) => guard,
            None => self.lock_slowly(),
        }
    }

    /// None while another thread has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        match self.taken.swap(true, Ordering::Acquire) {
            true => None,
            // Made only here: dropping one releases the lock.
            false => Some(Guard { lock: self, of_this_thread: PhantomData }),
        }
    }

    #[cold]
    fn lock_slowly(&self) -> Guard<'_, T> {
        self.queued.fetch_add(1, Ordering::Relaxed);
        let mut looks = 0;
        let guard = loop {
            // Only a look, until it is free: the line stays with the thread that has the lock.
            if !self.taken.load(Ordering::Relaxed)
                && let Some(guard) = self.try_lock()
            {
                break guard;
            }
            looks += 1;
            match looks {
                ..=SPINS => hint::spin_loop(),
                _ if looks <= SPINS + YIELDS => thread::yield_now(),
                _ => {
                    thread::sleep(NAP);
                    looks = 0;
                }
            }
        };
        self.queued.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// Whether another thread waits for it.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0
    }
}

/// The right to the value; it ends when this is dropped.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
    /// Not to be sent to another thread: what is done under the lock may depend on the thread.
    of_this_thread: PhantomData<*const ()>,
}

impl<'a, T> Guard<'a, T> {
    /// The lock that it is of.
    pub(crate) fn lock(&self) -> &'a Lock<T> {
        self.lock
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: as long as the guard exists, no other thread has one.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time_has_the_value() {
        let lock = Lock::new((0u64, 0u64));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut both = lock.lock();
                        assert_eq!(both.0, both.1);
                        both.0 += 1;
                        both.1 += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (80_000, 80_000));
    }

    #[test]
    fn whoever_waits_is_seen_and_gets_it_in_the_end() {
        let lock = Lock::new(());
        thread::scope(|scope| {
            let guard = lock.lock();
            assert!(lock.try_lock().is_none() && !lock.is_contended());
            let waiting = scope.spawn(|| drop(lock.lock()));
            while !lock.is_contended() {
                thread::yield_now();
            }
            // Long enough for it to have gone to sleep.
            thread::sleep(Duration::from_millis(5));
            drop(guard);
            waiting.join().unwrap();
        });
        assert!(!lock.is_contended() && lock.try_lock().is_some());
    }

    #[test]
    fn a_panic_gives_it_back() {
        let lock = Lock::new(());
        let panicking = std::panic::AssertUnwindSafe(|| {
            let _guard = lock.lock();
            std::panic::resume_unwind(Box::new("as intended"));
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert!(lock.try_lock().is_some());
    }
}
