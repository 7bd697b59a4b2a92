//! A program that misuses the library with safe code.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use efa_core::collective::ReduceOp;
use efa_core::{Communicator, Error, Source};

use super::{common, job};

#[test]
fn a_message_longer_than_the_buffer_for_it_is_an_error_on_tcp() {
    if common::provider() != efa_core::fabric::Provider::Tcp {
        return;
    }
    common::ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            // The sender learns of it or not, as the provider likes; it must not hang.
            let _ = endpoint.send_blocking(1, 1u32, &[7u8; 100][..]);
        } else {
            let mut buffer = [0u8; 10];
            let error = endpoint.recv_blocking(0, 1u32, &mut buffer[..]).unwrap_err();
            assert!(matches!(error, Error::Truncated { .. }), "{error:?}");
        }
    });
}

#[test]
fn a_probe_does_not_wait_when_the_receive_queue_is_full() {
    let mut config = common::config();
    config.depth = 4;
    let (posted, probed) = (AtomicBool::new(false), AtomicBool::new(false));
    common::ranks_with(2, config, |endpoint, _| {
        const TAGS: std::ops::Range<u32> = 90..100;
        if endpoint.rank() == 0 {
            // More than the provider may hold, so that the last ones wait for room.
            let receives: Vec<_> = TAGS.map(|tag| endpoint.recv(1, tag, vec![0u8; 8])).collect();
            posted.store(true, Ordering::Release);
            let begun = Instant::now();
            let found = loop {
                if let Some(found) = endpoint.probe(1, 7u32).unwrap() {
                    break found;
                }
                assert!(begun.elapsed() < Duration::from_secs(20), "the message was not found");
            };
            assert_eq!((found.peer, found.bytes), (1, 5));
            assert_eq!(
                endpoint.probe(1, 99u32).unwrap(),
                None,
                "a receive that waits for room takes this one"
            );
            assert_eq!(endpoint.probe(Source::Any, 8u32).unwrap(), None);
            probed.store(true, Ordering::Release);
            for receive in receives {
                receive.wait().unwrap();
            }
            endpoint.recv_blocking(1, 7u32, &mut [0u8; 5]).unwrap();
        } else {
            common::until("the receives are posted", || posted.load(Ordering::Acquire));
            endpoint.send_blocking(0, 99u32, &[9u8; 8]).unwrap();
            endpoint.send_blocking(0, 7u32, &[7u8; 5]).unwrap();
            common::until("the other has probed", || probed.load(Ordering::Acquire));
            for tag in TAGS.start..TAGS.end - 1 {
                endpoint.send_blocking(0, tag, &[1u8; 8]).unwrap();
            }
        }
    });
}

#[test]
fn a_job_may_be_given_all_the_time_there_is() {
    let mut members = job::members(2);
    for init in &mut members {
        (init.arrival, init.path, init.endpoint.timeout) = (Duration::MAX, Duration::MAX, Duration::MAX);
    }
    job::join(members, |_, world| world.unwrap().barrier().unwrap());
}

#[test]
fn ranks_that_called_different_collectives_are_told_when_they_finish() {
    // On efa a send ends when somebody receives it, and of two roots neither does.
    let has_two_roots = common::provider() != efa_core::fabric::Provider::Efa;
    type Call = fn(&Communicator);
    // What is called, and what the error says of it at rank 0 and at rank 1, if it is wrong.
    let calls: [(Option<[&str; 2]>, Call); 4] = [
        (None, |world| world.all_reduce_in_place(&mut [1.0f32; 4], ReduceOp::Sum).unwrap()),
        (Some(["all-reduce of 4 f32 with sum", "all-reduce of 4 f32 with max"]), |world| {
            let op = if world.rank() == 0 { ReduceOp::Sum } else { ReduceOp::Max };
            world.all_reduce_in_place(&mut [1.0f32; 4], op).unwrap();
        }),
        (Some(["all-reduce of 4 f32 with sum", "all-reduce of 4 i32 with sum"]), |world| {
            match world.rank() {
                0 => world.all_reduce_in_place(&mut [1.0f32; 4], ReduceOp::Sum).unwrap(),
                _ => world.all_reduce_in_place(&mut [1i32; 4], ReduceOp::Sum).unwrap(),
            }
        }),
        (Some(["broadcast of 4 f32 from rank 0", "broadcast of 4 f32 from rank 1"]), |world| {
            world.broadcast(&mut [1.0f32; 4], world.rank()).unwrap();
        }),
    ];
    for (wrong, call) in calls.into_iter().take(if has_two_roots { 4 } else { 3 }) {
        job::run(2, |world| {
            world.barrier().unwrap();
            call(&world);
            match (world.finish(), wrong) {
                (Err(error), Some(words)) => {
                    let is_told = matches!(error, Error::Rendezvous(_) | Error::Aborted { .. });
                    assert!(is_told, "{error:?}");
                    let text = error.to_string();
                    assert!(text.contains("do not make the same calls"), "{text}");
                    assert!(words.iter().all(|words| text.contains(words)), "{text}");
                }
                (ended, wrong) => assert!(ended.is_ok() && wrong.is_none(), "{ended:?}"),
            }
        });
    }
}
