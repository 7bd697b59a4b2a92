//! The lock in front of every operation: a biased lock.
//!
//! An uncontended lock costs its atomic read-modify-write instructions. Here they cost more than elsewhere: the processor
//! waits until all earlier stores are visible, and on shared memory these stores are the message, to cache lines
//! that the peer's core holds. So the lock has two ways in.
//!
//! - The unbiased way takes one atomic swap; the release is a plain store.
//! - A thread that took the lock [`BIAS_AFTER`] times in a row becomes the owner of the bias. The owner enters without an
//!   atomic read-modify-write: it stores `true` to a flag of its own, then checks that it still is the owner.
//!
//! Another thread that wants a biased lock takes it the unbiased way and revokes the bias: it clears the owner, makes
//! all threads of the process execute a [fence], and only then reads the owner's flag. The owner stored its flag either
//! before the fence, so that the revoking thread sees the flag, or after the fence, so that the owner sees that the
//! bias is gone. A revocation takes some microseconds, so a thread must earn the bias again. Without permission for the
//! fence (`membarrier`), no thread is ever the owner.
//!
//! Threads that find the lock taken are not woken; they poll. Such waits are rare and short: a thread that releases the
//! lock also yields its core if the lock [is contended](Lock::is_contended). The lock must not be used in signal handlers, nor
//! in the child of a fork that happened while another thread held the lock.
//!
//! `tests/lock_model/` checks both ways in with loom.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::fence;
use super::primitives::{
    AtomicBool, AtomicU32, AtomicUsize, BIAS_AFTER, OWNERS, Ordering, UnsafeCell, compiler_fence, me,
    me_if_known, sleep, spin_loop, yield_now,
};

/// Looks before the processor is given away.
const SPINS: u32 = 100;
/// Turns of the scheduler before sleeping.
const YIELDS: u32 = 50;
const NAP: Duration = Duration::from_micros(50);
/// In place of a thread: there is none.
const NOBODY: usize = usize::MAX;

/// Gives one thread at a time access to a value.
pub(crate) struct Lock<T> {
    taken: AtomicBool,
    /// The owner of the bias: the thread's number plus its place in `inside`. Written only while `taken` is held.
    pub(super) owner: AtomicUsize,
    /// One flag per thread that ever was the owner: set while that thread holds the lock as the owner, and for a moment
    /// before it finds that it no longer is.
    pub(super) inside: [AtomicBool; OWNERS],
    /// How many threads wait for the lock.
    queued: AtomicU32,
    /// Accessed only while `taken` is held.
    bias: UnsafeCell<Bias>,
    value: UnsafeCell<T>,
}

/// Decides who becomes the owner.
struct Bias {
    /// The thread that took the lock last the unbiased way.
    last_thread: usize,
    /// How many more times in a row make that thread the owner.
    until_biased: u32,
    /// There is an owner, or the last one may still hold the lock.
    may_be_inside: bool,
    /// The threads that the flags in `inside` belong to.
    owners: [usize; OWNERS],
    /// The last owner's place.
    last_owner: usize,
}

// SAFETY: the value is handed out to one thread at a time, wherever that runs.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            owner: AtomicUsize::new(NOBODY),
            inside: std::array::from_fn(|_| AtomicBool::new(false)),
            queued: AtomicU32::new(0),
            bias: UnsafeCell::new(Bias {
                last_thread: NOBODY,
                until_biased: BIAS_AFTER,
                may_be_inside: false,
                owners: [NOBODY; OWNERS],
                last_owner: 0,
            }),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the lock.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        match self.try_lock() {
            Some(guard) => guard,
            None => self.lock_slowly(),
        }
    }

    /// Returns `None` while another thread, or this one, holds the lock.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let owner = self.owner.load(Ordering::Relaxed);
        let place = owner.wrapping_sub(me_if_known());
        if let Some(inside) = self.inside.get(place)
            && !inside.load(Ordering::Relaxed)
        {
            inside.store(true, Ordering::Relaxed);
            // The processor may still reorder the store and the load; the revoking thread's fence prevents that.
            compiler_fence(Ordering::SeqCst);
            if self.owner.load(Ordering::Acquire) == owner {
                return Some(Guard { lock: self, place, of_this_thread: PhantomData });
            }
            inside.store(false, Ordering::Release);
        }
        self.take()
    }

    /// The unbiased way in.
    #[inline]
    fn take(&self) -> Option<Guard<'_, T>> {
        if self.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: the lock is taken, by this thread.
        let bias = unsafe { &mut *self.bias.get() };
        if bias.may_be_inside && !self.revoke(bias) {
            self.taken.store(false, Ordering::Release);
            return None;
        }
        Some(Guard { lock: self, place: NOBODY, of_this_thread: PhantomData })
    }

    /// Ends the bias. Returns `false` while the last owner still holds the lock.
    #[cold]
    fn revoke(&self, bias: &mut Bias) -> bool {
        if self.owner.load(Ordering::Relaxed) != NOBODY {
            self.owner.store(NOBODY, Ordering::Relaxed);
            fence::for_all_threads();
        }
        bias.may_be_inside = self.inside[bias.last_owner].load(Ordering::Acquire);
        !bias.may_be_inside
    }

    /// Releases a lock that was taken the unbiased way.
    #[inline]
    fn give_back(&self) {
        // SAFETY: the lock is taken, by this thread.
        let bias = unsafe { &mut *self.bias.get() };
        if bias.last_thread != me_if_known() {
            (bias.last_thread, bias.until_biased) = (me(), BIAS_AFTER);
        }
        bias.until_biased -= 1;
        if bias.until_biased == 0 {
            self.bias_towards_last(bias);
        }
        self.taken.store(false, Ordering::Release);
    }

    /// Makes the thread that took the lock last the owner, if it has a place or one is free.
    #[cold]
    fn bias_towards_last(&self, bias: &mut Bias) {
        bias.until_biased = BIAS_AFTER;
        let place = bias.owners.iter().position(|&thread| thread == bias.last_thread || thread == NOBODY);
        if let Some(place) = place.filter(|_| fence::is_there()) {
            bias.owners[place] = bias.last_thread;
            bias.last_owner = place;
            bias.may_be_inside = true;
            self.owner.store(bias.last_thread + place, Ordering::Relaxed);
        }
    }

    #[cold]
    fn lock_slowly(&self) -> Guard<'_, T> {
        self.queued.fetch_add(1, Ordering::Relaxed);
        let mut looks = 0;
        let guard = loop {
            // Only a load until the lock is free: the cache line stays with the holder.
            if !self.taken.load(Ordering::Relaxed)
                && let Some(guard) = self.try_lock()
            {
                break guard;
            }
            looks += 1;
            match looks {
                ..=SPINS => spin_loop(),
                _ if looks <= SPINS + YIELDS => yield_now(),
                _ => {
                    sleep(NAP);
                    looks = 0;
                }
            }
        };
        self.queued.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// Returns whether some thread holds the lock; out of date at once.
    pub(crate) fn is_held(&self) -> bool {
        self.taken.load(Ordering::Relaxed) || self.inside.iter().any(|inside| inside.load(Ordering::Relaxed))
    }

    /// Returns whether a thread waits for the lock.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0
    }
}

/// Access to the value; dropping it releases the lock.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
    /// The owner's place in `inside`, or `NOBODY` for a lock taken the unbiased way.
    place: usize,
    /// Not to be sent to another thread: what is done under the lock may depend on the thread.
    of_this_thread: PhantomData<*const ()>,
}

impl<'a, T> Guard<'a, T> {
    /// Returns the lock.
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
        match self.lock.inside.get(self.place) {
            Some(inside) => inside.store(false, Ordering::Release),
            None => self.lock.give_back(),
        }
    }
}
