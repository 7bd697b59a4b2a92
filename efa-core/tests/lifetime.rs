//! Memory stays alive for as long as the device may touch it, and always comes back. ci/valgrind runs this program
//! under memcheck, which sees a device that writes to memory that was given back too early.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use common::{both, config, endpoints, is_patched, meet, pattern, provider, ranks, ranks_with, until};
use efa_core::fabric::Provider;
use efa_core::memory::{Access, Buf, BufMut};
use efa_core::{Endpoint, Error, OpError};

/// Long enough for every provider's way of sending long messages, short enough for valgrind.
const LARGE: usize = 1 << 18;

/// A heap block of its own that tells when it is freed.
struct Watched {
    bytes: Box<[AtomicU8]>,
    freed: Arc<AtomicBool>,
}

impl Watched {
    fn new(len: usize) -> (Self, Arc<AtomicBool>) {
        let freed = Arc::new(AtomicBool::new(false));
        let bytes = (0..len).map(|_| AtomicU8::new(0)).collect();
        (Self { bytes, freed: freed.clone() }, freed)
    }

    fn filled(contents: &[u8]) -> (Self, Arc<AtomicBool>) {
        let freed = Arc::new(AtomicBool::new(false));
        let bytes = contents.iter().map(|&byte| AtomicU8::new(byte)).collect();
        (Self { bytes, freed: freed.clone() }, freed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Whoever still reads it gets rubbish.
        self.bytes.iter().for_each(|byte| byte.store(0xDD, Ordering::Relaxed));
        self.freed.store(true, Ordering::Release);
    }
}

// SAFETY: a box's heap block stays put, and nothing but the device changes it until it is dropped.
unsafe impl Buf for Watched {
    fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr().cast()
    }

    fn byte_len(&self) -> usize {
        self.bytes.len()
    }
}

// SAFETY: as above; atomics may be changed through a shared reference, and accept every bit pattern.
unsafe impl BufMut for Watched {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_ptr().cast_mut().cast()
    }
}

/// Memory shared with the test, which looks into it after the operation is over.
struct Shared(Arc<[AtomicU8]>);

impl Shared {
    fn new(len: usize) -> Self {
        Self((0..len).map(|_| AtomicU8::new(0)).collect())
    }

    fn contents(&self) -> Vec<u8> {
        self.0.iter().map(|byte| byte.load(Ordering::Relaxed)).collect()
    }

    fn another(&self) -> Self {
        Self(self.0.clone())
    }

    /// Whether nobody else has it any more.
    fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

// SAFETY: the shared block stays put; the test reads it through atomics only.
unsafe impl Buf for Shared {
    fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }

    fn byte_len(&self) -> usize {
        self.0.len()
    }
}

// SAFETY: as above; the test does not look while the operation is under way.
unsafe impl BufMut for Shared {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_ptr().cast_mut().cast()
    }
}

/// Uses the heap, so that memory freed too early is given to somebody else.
fn churn() {
    for size in [64, 1000, 5000, LARGE] {
        drop(vec![0xAAu8; size]);
    }
}

#[test]
fn a_dropped_receive_keeps_its_buffer_until_the_message_is_in_it() {
    for len in [100, LARGE] {
        ranks(2, |endpoint| {
            if endpoint.rank() == 0 {
                let (buffer, freed) = Watched::new(len);
                drop(endpoint.recv(1, 1u32, buffer));
                let seen = Shared::new(len);
                drop(endpoint.recv(1, 2u32, seen.another()));
                churn();
                assert!(!freed.load(Ordering::Acquire) && !seen.is_alone());
                meet(&endpoint);
                // The progress thread completes them.
                until("the buffers are freed", || freed.load(Ordering::Acquire) && seen.is_alone());
                assert!(seen.contents() == pattern(len, 2));
            } else {
                meet(&endpoint);
                endpoint.send_blocking(0, 1u32, &pattern(len, 1)).unwrap();
                endpoint.send_blocking(0, 2u32, &pattern(len, 2)).unwrap();
            }
        });
    }
}

#[test]
fn a_dropped_send_still_sends_what_its_buffer_held() {
    ranks(2, |endpoint| {
        const COUNT: usize = 10;
        if endpoint.rank() == 0 {
            let freed: Vec<_> = (0..COUNT)
                .map(|number| {
                    let (buffer, freed) = Watched::filled(&pattern(LARGE, number));
                    drop(endpoint.send(1, number as u32, buffer));
                    churn();
                    freed
                })
                .collect();
            until("all are sent", || freed.iter().all(|freed| freed.load(Ordering::Acquire)));
        } else {
            for number in (0..COUNT).rev() {
                let mut got = vec![0u8; LARGE];
                endpoint.recv_blocking(0, number as u32, &mut got).unwrap();
                assert!(got == pattern(LARGE, number), "message {number}");
            }
        }
    });
}

#[test]
fn dropped_remote_reads_and_writes_go_on() {
    ranks(2, |endpoint| {
        let mine = endpoint.allocate::<u8>(LARGE).unwrap().expose(Access::ReadWrite).unwrap();
        mine.copy_in(0, &pattern(LARGE, 1)).unwrap();
        common::tell(&endpoint, &mine);
        let theirs = common::learn(&endpoint, 1 - endpoint.rank());
        let (into, read) = (Shared::new(LARGE / 2), LARGE / 2);
        drop(endpoint.read(&theirs, read, into.another()));
        let (from, written) = Watched::filled(&pattern(LARGE / 2, 2));
        drop(endpoint.write_immediate(&theirs, 0, from, 1));
        churn();
        endpoint.wait_for_immediate_data(1, 1).unwrap();
        until("both are over", || into.is_alone() && written.load(Ordering::Acquire));
        assert!(into.contents() == pattern(LARGE, 1)[read..]);
        assert!(mine.to_vec()[..read] == pattern(LARGE / 2, 2));
        meet(&endpoint);
    });
}

#[test]
fn closing_the_endpoint_gives_every_buffer_back() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 1 {
            return meet(&endpoint);
        }
        let held = endpoint.recv(1, 1u32, vec![3u8; 100]);
        let (buffer, freed) = Watched::new(100);
        drop(endpoint.recv(1, 2u32, buffer));
        let immediates = endpoint.immediate_data(1, 1);
        meet(&endpoint);
        endpoint.close();
        assert!(freed.load(Ordering::Acquire), "a dropped receive's buffer goes with the endpoint");
        assert!(held.is_done());
        let (result, buffer) = both(held.wait());
        assert_eq!(buffer, [3; 100]);
        assert!(matches!(result, Err(Error::Closed(_))), "{result:?}");
        assert!(matches!(immediates.wait(), Err(OpError { error: Error::Closed(_), .. })));
    });
}

#[test]
fn closing_the_endpoint_wakes_those_who_wait() {
    ranks(1, |endpoint| {
        let receives: Vec<_> = (0..4u32).map(|tag| endpoint.recv(0, tag, vec![0u8; 10])).collect();
        std::thread::scope(|scope| {
            for receive in receives {
                scope.spawn(move || {
                    let (result, buffer) = both(receive.wait());
                    assert!(matches!(result, Err(Error::Closed(_))), "{result:?}");
                    assert_eq!(buffer.len(), 10);
                });
            }
            std::thread::sleep(Duration::from_millis(50));
            endpoint.close();
        });
    });
}

#[test]
fn leaked_operations_keep_their_memory_for_ever_and_harm_nobody() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let (buffer, freed) = Watched::new(LARGE);
            std::mem::forget(endpoint.recv(1, 1u32, buffer));
            let (buffer, unmatched) = Watched::new(100);
            std::mem::forget(endpoint.recv(1, 9u32, buffer));
            meet(&endpoint);
            let mut got = [0u8; 4];
            endpoint.recv_blocking(1, 2u32, &mut got).unwrap();
            assert_eq!(got, [2; 4]);
            churn();
            meet(&endpoint);
            endpoint.close();
            assert!(!freed.load(Ordering::Acquire) && !unmatched.load(Ordering::Acquire));
        } else {
            let (buffer, freed) = Watched::filled(&pattern(LARGE, 1));
            meet(&endpoint);
            std::mem::forget(endpoint.send(0, 1u32, buffer));
            endpoint.send_blocking(0, 2u32, &[2u8; 4]).unwrap();
            churn();
            // libfabric's shm touches a closed endpoint of the same process when it takes that one's messages.
            meet(&endpoint);
            endpoint.close();
            assert!(!freed.load(Ordering::Acquire));
        }
    });
}

#[test]
fn a_scope_waits_for_all_of_its_operations_even_when_it_panics() {
    let panicking = AtomicBool::new(false);
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let mut got = vec![0u8; LARGE];
            let run = std::panic::AssertUnwindSafe(|| {
                endpoint.scope(|scope| {
                    // A message has come for it, so it can't be cancelled any more.
                    let _receive = scope.recv(1, 1u32, &mut got[..]);
                    scope.recv(1, 3u32, vec![0u8]).wait().unwrap();
                    std::mem::forget(scope.send(1, 2u32, &[1u8; 10][..]));
                    panicking.store(true, Ordering::Release);
                    // Without a message of its own: this panic is part of the test.
                    std::panic::resume_unwind(Box::new("as intended"));
                })
            });
            let panic = std::panic::catch_unwind(run).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"as intended"));
            assert!(got == pattern(LARGE, 1), "the scope was left before its receive was over");
        } else {
            let message = pattern(LARGE, 1);
            let send = endpoint.send(0, 1u32, message);
            endpoint.send_blocking(0, 3u32, &[0u8]).unwrap();
            until("the other panics", || panicking.load(Ordering::Acquire));
            send.wait().unwrap();
            endpoint.recv_blocking(0, 2u32, &mut [0u8; 10]).unwrap();
        }
    });
}

#[test]
fn a_scope_waits_for_operations_whose_handles_were_leaked_or_dropped_or_are_over() {
    ranks(2, |endpoint| {
        let (mut leaked, mut dropped, mut over) = (vec![0u8; LARGE], vec![0u8; LARGE], vec![0u8; 8]);
        if endpoint.rank() == 0 {
            endpoint.scope(|scope| {
                std::mem::forget(scope.recv(1, 1u32, &mut leaked[..]));
                drop(scope.recv(1, 2u32, &mut dropped[..]));
                let receive = scope.recv(1, 3u32, &mut over[..]);
                meet(&endpoint);
                while !receive.is_done() {}
                drop(receive);
            });
            assert!(leaked == pattern(LARGE, 1) && dropped == pattern(LARGE, 2) && over == pattern(8, 3));
        } else {
            meet(&endpoint);
            endpoint.send_blocking(0, 3u32, &pattern(8, 3)).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            endpoint.send_blocking(0, 2u32, &pattern(LARGE, 2)).unwrap();
            endpoint.send_blocking(0, 1u32, &pattern(LARGE, 1)).unwrap();
        }
    });
}

#[test]
fn a_scope_whose_dropped_send_nobody_receives_is_left_when_its_time_is_over() {
    let left = AtomicBool::new(false);
    ranks_with(2, config().timeout(Duration::from_millis(300)), |endpoint, _| {
        if endpoint.rank() == 0 {
            // More than any provider takes before the peer asks for it.
            let message = vec![1u8; 64 << 20];
            endpoint.scope(|scope| drop(scope.send(1, 1u32, &message[..])));
            left.store(true, Ordering::Release);
        } else {
            until("the other is still in its scope", || left.load(Ordering::Acquire));
            // libfabric's tcp frees a message twice that was broken off and that nobody had asked for: when its
            // connection ends, and when the endpoint closes.
            std::mem::forget(endpoint);
        }
    });
}

#[test]
fn an_operation_of_a_scope_can_be_cancelled() {
    ranks(1, |endpoint| {
        let mut buffer = [7u8; 8];
        let result = endpoint.scope(|scope| {
            let receive = scope.recv(0, 1u32, &mut buffer[..]);
            receive.cancel();
            both(receive.wait()).0
        });
        assert!(matches!(result, Err(Error::Cancelled(_))), "{result:?}");
        assert_eq!(buffer, [7; 8]);
    });
}

#[test]
fn a_scope_keeps_the_owned_buffers_of_operations_that_were_dropped() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let (buffer, freed) = Watched::new(LARGE);
            let seen = Shared::new(LARGE);
            endpoint.scope(|scope| {
                drop(scope.recv(1, 1u32, buffer));
                drop(scope.recv(1, 2u32, seen.another()));
                churn();
                assert!(!freed.load(Ordering::Acquire) && !seen.is_alone());
                meet(&endpoint);
            });
            assert!(freed.load(Ordering::Acquire) && seen.is_alone());
            assert!(seen.contents() == pattern(LARGE, 2));
        } else {
            meet(&endpoint);
            endpoint.send_blocking(0, 1u32, &pattern(LARGE, 1)).unwrap();
            endpoint.send_blocking(0, 2u32, &pattern(LARGE, 2)).unwrap();
        }
    });
}

#[test]
fn a_cancelled_receive_gives_its_buffer_back_and_takes_no_message() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let receive = endpoint.recv(1, 1u32, vec![9u8; 50]);
            receive.cancel();
            receive.cancel();
            let (result, buffer) = both(receive.wait());
            assert!(matches!(result, Err(Error::Cancelled(_))), "{result:?}");
            assert_eq!(buffer, [9; 50]);
            meet(&endpoint);
            let mut got = [0u8; 50];
            endpoint.recv_blocking(1, 1u32, &mut got).unwrap();
            assert_eq!(got, [1; 50]);
        } else {
            meet(&endpoint);
            endpoint.send_blocking(0, 1u32, &[1u8; 50]).unwrap();
        }
    });
}

#[test]
fn a_receive_that_is_cancelled_too_late_completes() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let receive = endpoint.recv(1, 1u32, vec![0u8; 50]);
            meet(&endpoint);
            // The sender's messages come in order, so the first is here when the second is.
            endpoint.recv_blocking(1, 2u32, &mut [0u8]).unwrap();
            receive.cancel();
            let (completion, buffer) = receive.wait().unwrap();
            assert_eq!(completion.bytes, 50);
            assert_eq!(buffer, [1; 50]);
        } else {
            meet(&endpoint);
            endpoint.send_blocking(0, 1u32, &[1u8; 50]).unwrap();
            endpoint.send_blocking(0, 2u32, &[2u8]).unwrap();
        }
    });
}

#[test]
fn cancelling_a_send_changes_nothing() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let send = endpoint.send(1, 1u32, pattern(LARGE, 4));
            send.cancel();
            send.wait().unwrap();
        } else {
            let mut got = vec![0u8; LARGE];
            endpoint.recv_blocking(0, 1u32, &mut got).unwrap();
            assert!(got == pattern(LARGE, 4));
        }
    });
}

#[test]
fn a_wait_with_a_deadline_gives_the_operation_back_unharmed() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let receive = endpoint.recv(1, 1u32, vec![0u8; 50]);
            assert!(!receive.wait_timeout(Duration::from_millis(5)));
            assert!(!receive.wait_timeout(Duration::ZERO));
            meet(&endpoint);
            assert!(receive.wait_timeout(Duration::from_secs(30)));
            let (_, buffer) = receive.wait().unwrap();
            assert_eq!(buffer, [1; 50]);
        } else {
            meet(&endpoint);
            endpoint.send_blocking(0, 1u32, &[1u8; 50]).unwrap();
        }
    });
}

#[test]
fn an_overdue_receive_ends_with_a_timeout_and_the_endpoint_goes_on() {
    let limit = Duration::from_secs(2);
    let over = AtomicBool::new(false);
    ranks_with(2, config().timeout(limit), |endpoint, _| {
        if endpoint.rank() == 0 {
            let begun = Instant::now();
            let (result, buffer) = both(endpoint.recv(1, 1u32, vec![9u8; 50]).wait());
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Timeout { .. }), "{error}");
            assert!(error.to_string().contains("rank 1"), "{error}");
            assert!(begun.elapsed() >= limit / 2);
            assert_eq!(buffer, [9; 50]);
            assert!(endpoint.is_open());
            over.store(true, Ordering::Release);
        } else {
            until("the receive is overdue", || over.load(Ordering::Acquire));
        }
        meet(&endpoint);
    });
}

/// Checks that an error is the loss of rank 1, and that it says why.
fn names_rank_one(error: &Error) {
    assert!(matches!(error, Error::PeerLost { .. }), "{error}");
    assert_eq!(error.peer().unwrap().rank, 1);
    assert!(error.to_string().contains("its power went out"), "{error}");
}

#[test]
fn receives_from_a_rank_that_dies_end_with_its_name_and_others_go_on() {
    let (mut all, liveness) = endpoints(3, config());
    let (two, _one, zero) = (all.pop().unwrap(), all.pop().unwrap(), all.pop().unwrap());
    let held = zero.recv(1, 1u32, vec![9u8; 50]);
    let (buffer, freed) = Watched::new(50);
    drop(zero.recv(1, 2u32, buffer));
    let other = zero.recv(2, 1u32, vec![0u8; 50]);
    let waiting = std::thread::spawn(move || held.wait());
    std::thread::sleep(Duration::from_millis(20));
    liveness.mark_dead(1, "its power went out");
    let (result, buffer) = both(waiting.join().unwrap());
    names_rank_one(&result.unwrap_err());
    assert_eq!(buffer, [9; 50]);
    until("the dropped receive's buffer is freed", || freed.load(Ordering::Acquire));
    two.send_blocking(0, 1u32, &[2u8; 50]).unwrap();
    let (_, buffer) = other.wait().unwrap();
    assert_eq!(buffer, [2; 50]);
    assert!(zero.is_open());
    names_rank_one(&zero.recv(1, 3u32, vec![0u8; 1]).wait().unwrap_err().error);
}

#[test]
fn sends_that_a_dead_rank_never_takes_end_by_closing_the_endpoint() {
    if provider() == Provider::Shm
        && !is_patched("shm keeps any number of messages that nobody has asked for")
    {
        return;
    }
    // More than any provider sets aside for a rank that does not receive: the built-in tcp 256 MiB, others far less.
    let count = if provider() == Provider::Tcp { 1400 } else { 200 };
    let (mut all, liveness) = endpoints(2, config());
    let (one, zero) = (all.pop().unwrap(), all.pop().unwrap());
    let mut sends: Vec<_> = (0..count).map(|_| zero.send(1, 1u32, vec![5u8; LARGE])).collect();
    let (buffer, freed) = Watched::new(LARGE);
    drop(zero.send(1, 1u32, buffer));
    let last = sends.pop().unwrap();
    assert!(!last.wait_timeout(Duration::from_millis(20)));
    // Until no more of them are set aside, however slow the machine is.
    let mut done = usize::MAX;
    while done != sends.iter().filter(|send| send.is_done()).count() {
        done = sends.iter().filter(|send| send.is_done()).count();
        std::thread::sleep(Duration::from_secs(1));
    }
    liveness.mark_dead(1, "its power went out");
    let (result, buffer) = both(last.wait());
    assert!(buffer == vec![5; LARGE]);
    names_rank_one(&result.unwrap_err());
    for send in sends {
        let (result, buffer) = both(send.wait());
        assert_eq!(buffer.len(), LARGE);
        if let Err(error) = result {
            names_rank_one(&error);
        }
    }
    until("the dropped send's buffer is freed", || freed.load(Ordering::Acquire));
    until("the endpoint has closed itself", || !zero.is_open());
    let error = zero.send_blocking(0, 1u32, &[0u8]).unwrap_err();
    assert!(matches!(error, Error::Closed(_)), "{error}");
    assert!(error.to_string().contains("its peer is gone"), "{error}");
    drop(one);
}

#[test]
fn a_cancelled_operation_of_a_dead_rank_ends_too() {
    let (mut all, liveness) = endpoints(2, config());
    let (_one, zero): (Endpoint, Endpoint) = (all.pop().unwrap(), all.pop().unwrap());
    let receive = zero.recv(1, 1u32, vec![0u8; 10]);
    receive.cancel();
    liveness.mark_dead(1, "its power went out");
    assert!(matches!(both(receive.wait()).0, Err(Error::Cancelled(_) | Error::PeerLost { .. })));
}
