//! Operations as futures: under tokio, under an executor of ten lines, across tasks, and dropped half-way.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use common::{both, config, endpoints, meet, pattern, ranks, until};
use efa_core::memory::Access;
use efa_core::{Endpoint, Error};
use tokio::runtime::{Builder, Runtime};

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Unparks the thread that runs the future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        std::thread::park();
    }
}

/// Messages back and forth between two ranks, with a tag that nobody else uses.
async fn converse(endpoint: &Endpoint, tag: u32, rounds: usize) {
    let peer = 1 - endpoint.rank();
    for round in 0..rounds {
        let len = 1 + (round * 7919 + tag as usize) % 20_000;
        let receive = endpoint.recv(peer, tag, vec![0u8; len]);
        endpoint.send(peer, tag, pattern(len, round)).await.unwrap();
        let (completion, got) = receive.await.unwrap();
        assert_eq!(completion.bytes, len);
        assert!(got == pattern(len, round));
    }
}

/// Runs many conversations at once, each in a task of its own.
fn many_tasks(runtime: &Runtime, endpoint: Endpoint) {
    let endpoint = Arc::new(endpoint);
    runtime.block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|tag| {
                let endpoint = endpoint.clone();
                tokio::spawn(async move { converse(&endpoint, tag, 20).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    meet(&endpoint);
}

#[test]
fn many_tasks_share_an_endpoint_under_tokio_with_several_threads() {
    ranks(2, |endpoint| many_tasks(&multi_thread(), endpoint));
}

#[test]
fn many_tasks_share_an_endpoint_under_tokio_with_one_thread() {
    ranks(2, |endpoint| many_tasks(&current_thread(), endpoint));
}

#[test]
fn an_operation_needs_no_runtime_at_all() {
    ranks(2, |endpoint| {
        block_on(converse(&endpoint, 1, 50));
        meet(&endpoint);
    });
}

#[test]
fn futures_and_blocking_calls_mix() {
    ranks(2, |endpoint| {
        let peer = 1 - endpoint.rank();
        std::thread::scope(|scope| {
            scope.spawn(|| block_on(converse(&endpoint, 1, 50)));
            scope.spawn(|| current_thread().block_on(converse(&endpoint, 2, 50)));
            for round in 0..50u64 {
                let receive = endpoint.recv(peer, 3u32, vec![0u64; 4]);
                endpoint.send_blocking(peer, 3u32, &[round; 4]).unwrap();
                let (_, got) = receive.wait().unwrap();
                assert_eq!(got, [round; 4]);
            }
        });
        meet(&endpoint);
    });
}

#[test]
fn remote_memory_and_immediates_are_futures_too() {
    ranks(2, |endpoint| {
        let region = endpoint.allocate::<u8>(100_000).unwrap().expose(Access::ReadWrite).unwrap();
        common::tell(&endpoint, &region);
        let theirs = common::learn(&endpoint, 1 - endpoint.rank());
        current_thread().block_on(async {
            let bytes = pattern(100_000, endpoint.rank());
            endpoint.write_immediate(&theirs, 0, bytes.clone(), 4).await.unwrap();
            endpoint.immediate_data(4, 1).await.unwrap();
            let (_, back) = endpoint.read(&theirs, 0, vec![0u8; 100_000]).await.unwrap();
            assert!(back == bytes);
        });
        assert!(region.to_vec() == pattern(100_000, 1 - endpoint.rank()));
        meet(&endpoint);
    });
}

#[test]
fn an_operation_that_a_timeout_drops_still_takes_its_message() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            multi_thread().block_on(async {
                let receive = endpoint.recv(1, 1u32, vec![0u32; 5000]);
                let late = tokio::time::timeout(Duration::from_millis(10), receive).await;
                assert!(late.is_err());
                meet(&endpoint);
                // The dropped one was posted first, so the first message is its.
                let (_, got) = endpoint.recv(1, 1u32, vec![0u32; 5000]).await.unwrap();
                assert_eq!(got, [2; 5000]);
            });
        } else {
            meet(&endpoint);
            endpoint.send_blocking(0, 1u32, &[1u32; 5000]).unwrap();
            endpoint.send_blocking(0, 1u32, &[2u32; 5000]).unwrap();
        }
    });
}

#[test]
fn an_operation_that_loses_a_select_can_be_waited_for_later() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            current_thread().block_on(async {
                let mut slow = endpoint.recv(1, 1u32, vec![0u8; 10]);
                let mut quick = endpoint.recv(1, 2u32, vec![0u8; 10]);
                let first = tokio::select! {
                    _ = &mut slow => 1,
                    result = &mut quick => { result.unwrap(); 2 }
                };
                assert_eq!(first, 2);
                endpoint.send(1, 3u32, vec![0u8]).await.unwrap();
                slow.await.unwrap();
            });
        } else {
            endpoint.send_blocking(0, 2u32, &[2u8; 10]).unwrap();
            endpoint.recv_blocking(0, 3u32, &mut [0u8]).unwrap();
            endpoint.send_blocking(0, 1u32, &[1u8; 10]).unwrap();
        }
    });
}

#[test]
fn an_operation_polled_by_one_task_wakes_the_one_that_has_it_now() {
    let polled = AtomicBool::new(false);
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let mut receive = endpoint.recv(1, 1u32, vec![0u8; 10]);
            let idle = Waker::noop();
            assert!(pin!(&mut receive).poll(&mut Context::from_waker(idle)).is_pending());
            let runtime = multi_thread();
            let task = runtime.spawn(async move { receive.await.unwrap().0.bytes });
            polled.store(true, Ordering::Release);
            assert_eq!(runtime.block_on(task).unwrap(), 10);
            // One that was polled can be waited for without an executor.
            let mut receive = endpoint.recv(1, 2u32, vec![0u8; 10]);
            assert!(pin!(&mut receive).poll(&mut Context::from_waker(idle)).is_pending());
            endpoint.send_blocking(1, 3u32, &[0u8]).unwrap();
            receive.wait().unwrap();
        } else {
            until("the other has polled", || polled.load(Ordering::Acquire));
            endpoint.send_blocking(0, 1u32, &[1u8; 10]).unwrap();
            endpoint.recv_blocking(0, 3u32, &mut [0u8]).unwrap();
            endpoint.send_blocking(0, 2u32, &[1u8; 10]).unwrap();
        }
    });
}

#[test]
fn a_waiting_task_learns_of_a_dead_rank_and_of_a_closed_endpoint() {
    let (mut all, liveness) = endpoints(2, config());
    let (one, zero) = (all.pop().unwrap(), all.pop().unwrap());
    let runtime = multi_thread();
    let from_one = runtime.spawn(zero.recv(1, 1u32, vec![0u8; 10]));
    let closing = runtime.spawn(one.recv(0, 1u32, vec![7u8; 10]));
    std::thread::sleep(Duration::from_millis(20));
    one.close();
    let (result, buffer) = both(runtime.block_on(closing).unwrap());
    assert!(matches!(result, Err(Error::Closed(_))), "{result:?}");
    assert_eq!(buffer, [7; 10]);
    liveness.mark_dead(1, "it is out of memory");
    let (result, _) = both(runtime.block_on(from_one).unwrap());
    let error = result.unwrap_err();
    assert_eq!(error.peer().map(|peer| peer.rank), Some(1), "{error}");
}
