//! The lock in front of every operation.
//!
//! Locked instructions are what an uncontended lock costs, and here they cost more than elsewhere: the processor waits
//! until all that was written before has arrived; on shared memory that is the message itself, on its way into lines
//! that the peer's processor holds. So there are two ways in.
//!
//! The common one takes one locked instruction, and a plain store on the way out.
//!
//! A thread that has taken the lock many times in a row is its favourite, which does without any: by a plain store to
//! a place of its own it says that it is inside, and then looks whether it is still the favourite. Whoever else wants the
//! lock takes it the common way, ends the favour, has all threads execute a [fence], and only then looks whether the
//! favourite is inside: it either said so before the fence and is seen, or sees after it that it is not the favourite any
//! more. That costs some microseconds, which is why a thread has to earn the favour anew. Where the fence is not
//! permitted, there are no favourites.
//!
//! The price of the plain stores is that whoever finds the lock taken is not woken, and looks again and again. That is
//! seldom and soon over: a thread that gives the lock back also gives way when it sees that the lock
//! [is contended](Lock::is_contended). It is not for signal handlers, nor for the child of a fork that happened while
//! another thread had it.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::fence;
use super::primitives::{
    AtomicBool, AtomicU32, AtomicUsize, HABIT, Ordering, SEATS, UnsafeCell, compiler_fence, me, me_if_known,
    sleep, spin_loop, yield_now,
};

/// Looks before the processor is given away.
const SPINS: u32 = 100;
/// Turns of the scheduler before sleeping.
const YIELDS: u32 = 50;
const NAP: Duration = Duration::from_micros(50);
/// Not a favourite's.
const NOBODY: usize = usize::MAX;

/// Gives access to a value to one thread at a time.
pub(crate) struct Lock<T> {
    taken: AtomicBool,
    /// The thread that need not take it, by its number and seat. Changed only by whoever has taken it.
    pub(super) favourite: AtomicUsize,
    /// Whether the thread of each seat is inside as the favourite, or about to see that it is not.
    pub(super) inside: [AtomicBool; SEATS],
    /// How many threads want it and haven't got it.
    queued: AtomicU32,
    /// Of whoever has taken it.
    habit: UnsafeCell<Habit>,
    value: UnsafeCell<T>,
}

/// What favours are given by.
struct Habit {
    /// Who took the lock last, and how many more times in a row make it the favourite.
    thread: usize,
    left: u32,
    /// There is a favourite, or the last one may still be inside.
    beware: bool,
    /// Whose seats they are, and that of the last favourite.
    seats: [usize; SEATS],
    last: usize,
}

// SAFETY: the value is handed out to one thread at a time, wherever that runs.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            favourite: AtomicUsize::new(NOBODY),
            inside: std::array::from_fn(|_| AtomicBool::new(false)),
            queued: AtomicU32::new(0),
            habit: UnsafeCell::new(Habit {
                thread: NOBODY,
                left: HABIT,
                beware: false,
                seats: [NOBODY; SEATS],
                last: 0,
            }),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for its turn.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        match self.try_lock() {
            Some(guard) => guard,
            None => self.lock_slowly(),
        }
    }

    /// None while another thread has it, or this one.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let favourite = self.favourite.load(Ordering::Relaxed);
        let seat = favourite.wrapping_sub(me_if_known());
        if let Some(inside) = self.inside.get(seat)
            && !inside.load(Ordering::Relaxed)
        {
            inside.store(true, Ordering::Relaxed);
            // The processor may still exchange the store and the load; for that there is the other thread's fence.
            compiler_fence(Ordering::SeqCst);
            if self.favourite.load(Ordering::Acquire) == favourite {
                return Some(Guard { lock: self, seat, of_this_thread: PhantomData });
            }
            inside.store(false, Ordering::Release);
        }
        self.take()
    }

    /// The common way in.
    #[inline]
    fn take(&self) -> Option<Guard<'_, T>> {
        if self.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: the lock is taken, by this thread.
        let habit = unsafe { &mut *self.habit.get() };
        if habit.beware && !self.end_favour(habit) {
            self.taken.store(false, Ordering::Release);
            return None;
        }
        Some(Guard { lock: self, seat: NOBODY, of_this_thread: PhantomData })
    }

    /// False while the favourite of before is inside.
    #[cold]
    fn end_favour(&self, habit: &mut Habit) -> bool {
        if self.favourite.load(Ordering::Relaxed) != NOBODY {
            self.favourite.store(NOBODY, Ordering::Relaxed);
            fence::for_all_threads();
        }
        habit.beware = self.inside[habit.last].load(Ordering::Acquire);
        !habit.beware
    }

    /// The common way out.
    #[inline]
    fn give_back(&self) {
        // SAFETY: the lock is taken, by this thread.
        let habit = unsafe { &mut *self.habit.get() };
        if habit.thread != me_if_known() {
            (habit.thread, habit.left) = (me(), HABIT);
        }
        habit.left -= 1;
        if habit.left == 0 {
            self.favour(habit);
        }
        self.taken.store(false, Ordering::Release);
    }

    #[cold]
    fn favour(&self, habit: &mut Habit) {
        habit.left = HABIT;
        let seat = habit.seats.iter().position(|&thread| thread == habit.thread || thread == NOBODY);
        if let Some(seat) = seat.filter(|_| fence::is_there()) {
            habit.seats[seat] = habit.thread;
            habit.last = seat;
            habit.beware = true;
            self.favourite.store(habit.thread + seat, Ordering::Relaxed);
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

    /// Whether some thread has it, as seen without taking it; out of date at once.
    pub(crate) fn is_held(&self) -> bool {
        self.taken.load(Ordering::Relaxed) || self.inside.iter().any(|inside| inside.load(Ordering::Relaxed))
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
    /// The favourite's, if this is the favourite's.
    seat: usize,
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
        match self.lock.inside.get(self.seat) {
            Some(inside) => inside.store(false, Ordering::Release),
            None => self.lock.give_back(),
        }
    }
}
