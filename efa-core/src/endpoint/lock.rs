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

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, compiler_fence};
use std::time::Duration;
use std::{hint, thread};

use super::fence;

/// Looks before the processor is given away.
const SPINS: u32 = 100;
/// Turns of the scheduler before sleeping.
const YIELDS: u32 = 50;
const NAP: Duration = Duration::from_micros(50);
/// How many times in a row a thread takes the lock before it is the favourite. As many times again save what it costs to
/// end the favour, at some 10 ns and 20 us.
const HABIT: u32 = 2000;

/// How many threads can be favourites of a lock, one after the other. Each keeps its seat for good: a thread that was
/// about to go in may say so long after it was the favourite, and that must not be taken for another's word.
const SEATS: usize = 8;
/// Not a favourite's.
const NOBODY: usize = usize::MAX;

thread_local! {
    /// This thread's number, a multiple of `SEATS`; zero until it has one.
    static ME: Cell<usize> = const { Cell::new(0) };
}

/// Gives access to a value to one thread at a time.
pub(crate) struct Lock<T> {
    taken: AtomicBool,
    /// The thread that need not take it, by its number and seat. Changed only by whoever has taken it.
    favourite: AtomicUsize,
    /// Whether the thread of each seat is inside as the favourite, or about to see that it is not.
    inside: [AtomicBool; SEATS],
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
            inside: [const { AtomicBool::new(false) }; SEATS],
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
        let seat = favourite.wrapping_sub(ME.get());
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
        if habit.thread != ME.get() {
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

/// This thread's number, which no other thread has had.
#[cold]
fn me() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(SEATS);
    if ME.get() == 0 {
        ME.set(NEXT.fetch_add(SEATS, Ordering::Relaxed));
    }
    ME.get()
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

    /// Makes this thread the favourite.
    fn earn_favour<T>(lock: &Lock<T>) {
        for _ in 0..HABIT {
            drop(lock.lock());
        }
    }

    fn is_favourite<T>(lock: &Lock<T>) -> bool {
        lock.favourite.load(Ordering::Relaxed).wrapping_sub(ME.get()) < SEATS
    }

    #[test]
    fn who_takes_it_many_times_in_a_row_is_the_favourite_until_another_wants_it() {
        if !fence::prepare() {
            return println!("NOT TESTED: there is no membarrier here");
        }
        let lock = Lock::new(0);
        earn_favour(&lock);
        assert!(is_favourite(&lock));
        *lock.lock() += 1;
        assert!(lock.lock().lock().inside[0].load(Ordering::Relaxed));
        thread::scope(|scope| {
            let guard = lock.lock();
            let another = scope.spawn(|| {
                assert!(lock.try_lock().is_none());
                *lock.lock() += 1;
                earn_favour(&lock);
                assert!(is_favourite(&lock));
            });
            while !lock.is_contended() {
                thread::yield_now();
            }
            drop(guard);
            another.join().unwrap();
        });
        assert!(!is_favourite(&lock));
        assert_eq!(*lock.lock(), 2);
        earn_favour(&lock);
        assert!(is_favourite(&lock));
    }

    #[test]
    fn the_favourite_has_it_once() {
        fence::prepare();
        let lock = Lock::new(());
        earn_favour(&lock);
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(guard);
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn when_all_seats_are_taken_the_lock_still_is_one() {
        fence::prepare();
        let lock = Lock::new(0);
        for _ in 0..SEATS + 2 {
            thread::scope(|scope| {
                scope.spawn(|| {
                    earn_favour(&lock);
                    *lock.lock() += 1;
                });
            });
        }
        assert_eq!(*lock.lock(), SEATS + 2);
    }

    #[test]
    fn favours_come_and_go_and_one_thread_at_a_time_has_the_value() {
        fence::prepare();
        let lock = Lock::new((0u64, 0u64));
        let add = || {
            let mut both = lock.lock();
            assert_eq!(both.0, both.1);
            both.0 += 1;
            hint::spin_loop();
            both.1 += 1;
        };
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let busy: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for turn in 0..400_000 {
                            add();
                            // So that each of them has it to itself for a while.
                            if turn % 50_000 == 0 {
                                thread::sleep(Duration::from_millis(3));
                            }
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    add();
                    thread::sleep(Duration::from_micros(200));
                }
            });
            busy.into_iter().for_each(|thread| thread.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        let both = *lock.lock();
        assert!(both.0 == both.1 && both.0 >= 800_000);
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
