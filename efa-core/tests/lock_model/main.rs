//! The endpoint's lock under loom, which goes through every order in which threads can see one another's writes.
//!
//! It is the very file of the library, made of loom's primitives in place of the standard library's. The owner's
//! compiler fence and the fence that another thread executes for all (`membarrier`) are both full fences here: that is
//! what such a pair of fences amounts to (see P1202 of the C++ committee, and membarrier(2)).

use loom::sync::Arc;
use loom::thread;

mod fence;
mod primitives;

#[path = "../../src/endpoint/driver/lock.rs"]
#[expect(dead_code, reason = "the model uses a part of it")]
mod lock;

use lock::Lock;

/// A value whose use by two threads at a time, or without one having seen the other's writes, is noticed by loom.
type Watched = loom::cell::UnsafeCell<u32>;

fn add(value: &Watched) {
    // SAFETY: the lock gives it to one thread at a time; loom checks.
    value.with_mut(|value| unsafe { *value += 1 });
}

fn read(value: &Watched) -> u32 {
    // SAFETY: as above.
    value.with(|value| unsafe { *value })
}

/// Goes through all orders with at most so many preemptions, which is what makes it end: each further one costs a
/// multiple of the time, and nearly all defects of such algorithms show with two.
fn explore(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(body);
}

/// Takes the lock until this thread owns the bias.
fn earn_bias(lock: &Lock<Watched>) {
    for _ in 0..primitives::BIAS_AFTER {
        add(&lock.lock());
    }
}

/// Tries a few times, and counts how many times the lock was taken.
fn try_some(lock: &Lock<Watched>, times: u32) -> u32 {
    (0..times).filter(|_| lock.try_lock().map(|value| add(&value)).is_some()).count() as u32
}

#[test]
fn two_threads_exclude_each_other_and_see_each_others_writes() {
    explore(4, || {
        let lock = Arc::new(Lock::new(Watched::new(0)));
        let other = thread::spawn({
            let lock = lock.clone();
            move || try_some(&lock, 2)
        });
        let mine = try_some(&lock, 2);
        let theirs = other.join().unwrap();
        assert_eq!(read(&lock.lock()), mine + theirs);
    });
}

#[test]
fn the_owner_and_another_thread_exclude_each_other() {
    explore(4, || {
        let lock = Arc::new(Lock::new(Watched::new(0)));
        earn_bias(&lock);
        let other = thread::spawn({
            let lock = lock.clone();
            move || try_some(&lock, 2)
        });
        let mine = try_some(&lock, 3);
        let theirs = other.join().unwrap();
        assert_eq!(read(&lock.lock()), primitives::BIAS_AFTER + mine + theirs);
    });
}

#[test]
fn a_thread_that_revokes_and_earns_the_bias_excludes_the_last_owner() {
    explore(3, || {
        let lock = Arc::new(Lock::new(Watched::new(0)));
        earn_bias(&lock);
        let other = thread::spawn({
            let lock = lock.clone();
            move || try_some(&lock, primitives::BIAS_AFTER + 2)
        });
        let mine = try_some(&lock, primitives::BIAS_AFTER + 1);
        let theirs = other.join().unwrap();
        assert_eq!(read(&lock.lock()), primitives::BIAS_AFTER + mine + theirs);
    });
}

#[test]
fn a_third_thread_is_excluded_too() {
    explore(3, || {
        let lock = Arc::new(Lock::new(Watched::new(0)));
        earn_bias(&lock);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let lock = lock.clone();
                thread::spawn(move || try_some(&lock, 1))
            })
            .collect();
        let mine = try_some(&lock, 1);
        let theirs: u32 = others.into_iter().map(|other| other.join().unwrap()).sum();
        assert_eq!(read(&lock.lock()), primitives::BIAS_AFTER + mine + theirs);
    });
}

#[test]
fn a_waiting_thread_gets_the_lock() {
    explore(3, || {
        let lock = Arc::new(Lock::new(Watched::new(0)));
        earn_bias(&lock);
        let other = thread::spawn({
            let lock = lock.clone();
            move || add(&lock.lock())
        });
        add(&lock.lock());
        other.join().unwrap();
        assert_eq!(read(&lock.lock()), primitives::BIAS_AFTER + 2);
        assert!(!lock.is_contended());
    });
}
