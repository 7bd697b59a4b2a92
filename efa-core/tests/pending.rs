//! Waiting for operations: `?` on an operation, buffers of operations that failed, and lists of different operations.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{config, endpoints, meet, ranks, ranks_with, until};
use efa_core::endpoint::{AnyBuffer, Pending, wait_all, wait_all_timeout, wait_any, wait_any_timeout};
use efa_core::memory::Access;
use efa_core::{Endpoint, Error, Op, Result};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_question_mark_returns_the_completion_and_the_buffer() {
    fn pass(endpoint: &Endpoint) -> Result<()> {
        let receive = endpoint.recv(0, 1u32, vec![0u32; 100]);
        endpoint.send(0, 1u32, vec![7u32; 100]).wait()?;
        let (completion, values) = receive.wait()?;
        assert_eq!((completion.peer, completion.bytes, &values[..]), (0, 400, &[7u32; 100][..]));
        let mut borrowed = [0u8; 10];
        endpoint.scope(|scope| {
            let receive = scope.recv(0, 2u32, &mut borrowed[..]);
            scope.send(0, 2u32, &[3u8; 10][..]).wait()?;
            let (completion, back) = receive.wait()?;
            assert_eq!((completion.bytes, &back[..]), (10, &[3u8; 10][..]));
            Ok::<_, Error>(())
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let receive = endpoint.recv(0, 3u32, vec![0u8; 10]);
            endpoint.send(0, 3u32, vec![5u8; 10]).await?;
            assert_eq!(receive.await?.1, [5; 10]);
            Ok(())
        })
    }
    ranks(1, |endpoint| pass(&endpoint).unwrap());
}

#[test]
fn a_question_mark_passes_the_error_on() {
    fn fail(endpoint: &Endpoint) -> Result<()> {
        endpoint.send(9, 1u32, vec![1u8; 10]).wait()?;
        unreachable!("the job has one rank")
    }
    fn fail_borrowed(endpoint: &Endpoint) -> Result<()> {
        endpoint.scope(|scope| {
            scope.send(9, 1u32, &[1u8; 10][..]).wait()?;
            unreachable!("the job has one rank")
        })
    }
    // As programs with an error type of their own do.
    fn fail_boxed(endpoint: &Endpoint) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        endpoint.send(9, 1u32, vec![1u8; 10]).wait()?;
        unreachable!("the job has one rank")
    }
    ranks(1, |endpoint| {
        assert!(matches!(fail(&endpoint), Err(Error::Misuse(_))));
        assert!(matches!(fail_borrowed(&endpoint), Err(Error::Misuse(_))));
        let boxed = fail_boxed(&endpoint).unwrap_err();
        assert_eq!(boxed.to_string(), fail(&endpoint).unwrap_err().to_string());
    });
}

#[test]
fn an_operation_that_fails_returns_its_buffer() {
    ranks(1, |endpoint| {
        let failed = endpoint.send(9, 1u32, vec![1u8; 10]).wait().unwrap_err();
        assert_eq!(failed.buffer, [1; 10]);
        assert_eq!(
            (failed.to_string(), format!("{failed:?}")),
            (failed.error.to_string(), format!("{:?}", failed.error))
        );
        let receive = endpoint.recv(0, 1u32, vec![2u8; 10]);
        receive.cancel();
        let failed = receive.wait().unwrap_err();
        assert!(matches!(failed.error, Error::Cancelled(_)), "{failed}");
        assert_eq!(failed.buffer, [2; 10]);
    });
}

/// Starts a receive of floats, a write, a wait for immediate data and a send, on buffers of different types.
fn different(endpoint: &Endpoint, theirs: &efa_core::memory::RemoteRegion) -> Vec<Op<AnyBuffer>> {
    let peer = 1 - endpoint.rank();
    vec![
        endpoint.recv(peer, 1u32, vec![0.0f32; 1000]).into_any(),
        endpoint.write_immediate(theirs, 0, Arc::<[u8]>::from([3; 50]), 6).into_any(),
        endpoint.immediate_data(6, 1).into_any(),
        endpoint.send(peer, 1u32, vec![1.5f32; 1000].into_boxed_slice()).into_any(),
    ]
}

#[test]
fn different_operations_in_one_list_are_waited_for_in_any_order() {
    ranks(2, |endpoint| {
        let region = endpoint.allocate::<u8>(50).unwrap().expose(Access::ReadWrite).unwrap();
        common::tell(&endpoint, &region);
        let theirs = common::learn(&endpoint, 1 - endpoint.rank());
        for _ in 0..20 {
            let mut pending = different(&endpoint, &theirs);
            let mut seen = 0;
            while let Some(place) = wait_any(&pending) {
                assert!(pending[place].is_done());
                let (completion, buffer) = pending.swap_remove(place).wait().unwrap();
                let buffer = match buffer.downcast::<Vec<f32>>() {
                    Ok(received) => {
                        assert_eq!((completion.peer, completion.bytes), (1 - endpoint.rank(), 4000));
                        assert!(received.iter().all(|&value| value == 1.5));
                        seen |= 1;
                        continue;
                    }
                    Err(other) => other,
                };
                match () {
                    () if buffer.is::<Arc<[u8]>>() => seen |= 2,
                    () if buffer.is::<()>() => seen |= 4,
                    () => {
                        assert_eq!(buffer.downcast::<Box<[f32]>>().unwrap().len(), 1000);
                        seen |= 8;
                    }
                }
            }
            assert_eq!(seen, 15);
            // Neither may be a round ahead, whose write would be counted for this one.
            meet(&endpoint);

            let pending = different(&endpoint, &theirs);
            wait_all(&pending);
            assert!(pending.iter().all(Op::is_done));
            for operation in pending {
                operation.wait().unwrap();
            }
            meet(&endpoint);
        }
    });
}

#[test]
fn handles_of_different_types_are_waited_for_together_and_keep_their_types() {
    ranks(1, |endpoint| {
        let mut borrowed = [0u16; 5];
        endpoint.scope(|scope| {
            let owned = endpoint.recv(0, 1u32, vec![0u64; 10]);
            let scoped = scope.recv(0, 2u32, &mut borrowed[..]);
            let both: [&dyn Pending; 2] = [&owned, &scoped];
            assert_eq!(wait_any_timeout(&both, Duration::from_millis(2)), None);
            assert!(!wait_all_timeout(&both, Duration::ZERO));
            endpoint.send_blocking(0, 2u32, &[4u16; 5]).unwrap();
            assert_eq!(wait_any(&both), Some(1));
            assert!(!wait_all_timeout(&both, Duration::from_millis(2)));
            endpoint.send_blocking(0, 1u32, &[8u64; 10]).unwrap();
            assert!(wait_all_timeout(&both, SOON));
            assert_eq!(wait_any(&both), Some(0), "the first of several that are over");
            assert_eq!(owned.wait().unwrap().1, [8; 10]);
            assert_eq!(scoped.wait().unwrap().1, [4; 5]);
        });
        assert_eq!(wait_any::<Op<()>>(&[]), None);
        assert!(wait_all_timeout::<Op<()>>(&[], Duration::ZERO));
    });
}

#[test]
fn scoped_operations_on_different_buffers_are_kept_in_one_list() {
    ranks(1, |endpoint| {
        let (mut bytes, mut words) = ([0u8; 10], [0u32; 10]);
        let owned: Arc<[u8]> = vec![1u8; 10].into();
        endpoint.scope(|scope| {
            let mut pending = vec![
                scope.recv(0, 1u32, &mut bytes[..]).without_buffer(),
                scope.recv(0, 2u32, &mut words[..]).without_buffer(),
                scope.send(0, 1u32, owned.clone()).without_buffer(),
                scope.send(0, 2u32, &[6u32; 10][..]).without_buffer(),
            ];
            assert_eq!(Arc::strong_count(&owned), 2, "the scope keeps what the device may use");
            while let Some(place) = wait_any(&pending) {
                pending.swap_remove(place).wait().unwrap();
            }
        });
        assert_eq!(Arc::strong_count(&owned), 1);
        assert_eq!((bytes, words), ([1; 10], [6; 10]));
    });
}

#[test]
fn operations_of_several_endpoints_are_waited_for_together() {
    let (all, _) = endpoints(2, config());
    let receives = [all[0].recv(1, 1u32, vec![0u8; 1]), all[1].recv(0, 1u32, vec![0u8; 1])];
    assert_eq!(wait_any_timeout(&receives, Duration::from_millis(5)), None);
    all[0].send_blocking(1, 1u32, &[1u8]).unwrap();
    assert_eq!(wait_any(&receives), Some(1));
    all[1].send_blocking(0, 1u32, &[1u8]).unwrap();
    wait_all(&receives);
    for receive in receives {
        receive.wait().unwrap();
    }
}

#[test]
fn a_failed_operation_counts_as_over_and_the_others_go_on() {
    ranks(1, |endpoint| {
        let lasting = endpoint.recv(0, 1u32, vec![0u8; 1]).into_any();
        let refused = endpoint.send(9, 1u32, vec![0u16; 1]).into_any();
        let pending = [lasting, refused];
        assert_eq!(wait_any(&pending), Some(1));
        assert!(!wait_all_timeout(&pending, Duration::from_millis(2)));
        Pending::cancel(&pending[0]);
        wait_all(&pending);
        let [lasting, refused] = pending.map(|operation| operation.wait().unwrap_err());
        assert!(matches!(lasting.error, Error::Cancelled(_)) && matches!(refused.error, Error::Misuse(_)));
        assert_eq!(refused.buffer.downcast::<Vec<u16>>().unwrap(), [0]);
    });
}

#[test]
fn a_list_that_nothing_comes_for_ends_with_the_endpoints_timeout() {
    let limit = Duration::from_millis(300);
    ranks_with(1, config().timeout(limit), |endpoint, _| {
        let pending = [endpoint.recv(0, 1u32, vec![0u8; 1]), endpoint.recv(0, 2u32, vec![0u8; 1])];
        let begun = Instant::now();
        assert!(wait_any(&pending).is_some());
        assert!(begun.elapsed() >= limit / 2);
        wait_all(&pending);
        for receive in pending {
            assert!(matches!(receive.wait().unwrap_err().error, Error::Timeout { .. }));
        }
    });
}

#[test]
fn a_list_is_waited_for_while_other_threads_poll_and_wait() {
    const ROUNDS: u32 = 200;
    ranks(2, |endpoint| {
        let peer = 1 - endpoint.rank();
        std::thread::scope(|threads| {
            for thread in 0..3u32 {
                let endpoint = &endpoint;
                threads.spawn(move || {
                    for round in 0..ROUNDS {
                        let tag = |number: u32| (thread << 16) + 2 * round + number;
                        let mut pending = vec![
                            endpoint.recv(peer, tag(0), vec![0u8; 8]).into_any(),
                            endpoint.recv(peer, tag(1), vec![0u32; 8]).into_any(),
                        ];
                        // Not in the order in which they were asked for.
                        endpoint.send(peer, tag(1), vec![round; 8]).wait().unwrap();
                        endpoint.send(peer, tag(0), vec![round as u8; 8]).wait().unwrap();
                        while let Some(place) = wait_any(&pending) {
                            let (_, buffer) = pending.swap_remove(place).wait().unwrap();
                            match buffer.downcast::<Vec<u8>>() {
                                Ok(bytes) => assert_eq!(bytes, [round as u8; 8]),
                                Err(words) => {
                                    assert_eq!(words.downcast::<Vec<u32>>().unwrap(), [round; 8]);
                                }
                            }
                        }
                    }
                });
            }
        });
        meet(&endpoint);
    });
}

#[test]
fn two_threads_wait_for_the_same_operation() {
    ranks(1, |endpoint| {
        let receive = [endpoint.recv(0, 1u32, vec![0u8; 1])];
        std::thread::scope(|threads| {
            let waiting = [0; 2].map(|_| threads.spawn(|| wait_all_timeout(&receive, SOON)));
            std::thread::sleep(Duration::from_millis(20));
            endpoint.send_blocking(0, 1u32, &[1u8]).unwrap();
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
        });
        for receive in receive {
            receive.wait().unwrap();
        }
    });
}

#[test]
fn an_erased_operation_that_is_dropped_keeps_its_buffer_until_it_is_over() {
    ranks(1, |endpoint| {
        let buffer: Arc<[u8]> = vec![7u8; 1 << 20].into();
        let pending = [endpoint.send(0, 1u32, buffer.clone()).into_any()];
        assert_eq!(Arc::strong_count(&buffer), 2);
        drop(pending);
        let mut got = vec![0u8; 1 << 20];
        endpoint.recv_blocking(0, 1u32, &mut got).unwrap();
        assert!(got == buffer[..]);
        until("the buffer is dropped", || Arc::strong_count(&buffer) == 1);
    });
}

#[test]
fn an_erased_operation_is_a_future() {
    ranks(1, |endpoint| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(endpoint.recv(0, 1u32, vec![0u8; 9]).into_any());
            tasks.spawn(endpoint.send(0, 1u32, Arc::<[u8]>::from([4; 9])).into_any());
            let mut received = None;
            for result in tasks.join_all().await {
                received = received.or(result.unwrap().1.downcast::<Vec<u8>>().ok());
            }
            assert_eq!(received.unwrap(), [4; 9]);
        });
    });
}

#[test]
#[should_panic(expected = "the result of the operation has been taken")]
fn an_operation_that_was_awaited_has_nothing_to_erase() {
    let endpoint = endpoints(1, config()).0.remove(0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut receive = endpoint.recv(0, 1u32, vec![0u8; 1]);
    receive.cancel();
    runtime.block_on(async { (&mut receive).await.unwrap_err() });
    drop(receive.into_any());
}

#[test]
#[should_panic(expected = "the result of the operation has been taken")]
fn an_operation_that_was_awaited_has_nothing_to_wait_for() {
    let endpoint = endpoints(1, config()).0.remove(0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut receive = endpoint.recv(0, 1u32, vec![0u8; 1]);
    receive.cancel();
    runtime.block_on(async { (&mut receive).await.unwrap_err() });
    let _ = receive.wait();
}
