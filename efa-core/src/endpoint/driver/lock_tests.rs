//! Tests of the [lock](super::lock). Not part of its file, which its model in `tests/lock_model/` includes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{hint, thread};

use super::fence;
use super::lock::Lock;
use super::primitives::{BIAS_AFTER, OWNERS, me_if_known};

#[test]
fn threads_exclude_one_another() {
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
fn a_waiting_thread_is_counted_and_gets_the_lock() {
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

/// Makes this thread the owner of the bias.
fn earn_bias<T>(lock: &Lock<T>) {
    for _ in 0..BIAS_AFTER {
        drop(lock.lock());
    }
}

fn is_owner<T>(lock: &Lock<T>) -> bool {
    lock.owner.load(Ordering::Relaxed).wrapping_sub(me_if_known()) < OWNERS
}

#[test]
fn a_thread_that_locks_many_times_in_a_row_owns_the_bias_until_another_revokes_it() {
    if !fence::prepare() {
        return println!("NOT TESTED: there is no membarrier here");
    }
    let lock = Lock::new(0);
    earn_bias(&lock);
    assert!(is_owner(&lock));
    *lock.lock() += 1;
    assert!(lock.lock().lock().inside[0].load(Ordering::Relaxed));
    thread::scope(|scope| {
        let guard = lock.lock();
        let another = scope.spawn(|| {
            assert!(lock.try_lock().is_none());
            *lock.lock() += 1;
            earn_bias(&lock);
            assert!(is_owner(&lock));
        });
        while !lock.is_contended() {
            thread::yield_now();
        }
        drop(guard);
        another.join().unwrap();
    });
    assert!(!is_owner(&lock));
    assert_eq!(*lock.lock(), 2);
    earn_bias(&lock);
    assert!(is_owner(&lock));
}

#[test]
fn the_owner_cannot_lock_twice() {
    fence::prepare();
    let lock = Lock::new(());
    earn_bias(&lock);
    let guard = lock.lock();
    assert!(lock.try_lock().is_none());
    drop(guard);
    assert!(lock.try_lock().is_some());
}

#[test]
fn more_threads_than_places_still_exclude_one_another() {
    fence::prepare();
    let lock = Lock::new(0);
    for _ in 0..OWNERS + 2 {
        thread::scope(|scope| {
            scope.spawn(|| {
                earn_bias(&lock);
                *lock.lock() += 1;
            });
        });
    }
    assert_eq!(*lock.lock(), OWNERS + 2);
}

#[test]
fn threads_exclude_one_another_while_the_bias_is_earned_and_revoked() {
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
fn a_panic_releases_the_lock() {
    let lock = Lock::new(());
    let panicking = std::panic::AssertUnwindSafe(|| {
        let _guard = lock.lock();
        std::panic::resume_unwind(Box::new("as intended"));
    });
    assert!(std::panic::catch_unwind(panicking).is_err());
    assert!(lock.try_lock().is_some());
}
