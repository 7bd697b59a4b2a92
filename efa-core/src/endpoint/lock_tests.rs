//! Tests of the [lock](super::lock). Not part of its file, which its model in `tests/lock_model/` includes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{hint, thread};

use super::fence;
use super::lock::Lock;
use super::primitives::{HABIT, SEATS, me_if_known};

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
    lock.favourite.load(Ordering::Relaxed).wrapping_sub(me_if_known()) < SEATS
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
