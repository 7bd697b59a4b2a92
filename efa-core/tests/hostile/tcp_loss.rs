//! Connections of the tcp provider that break: what was on its way is lost, and nobody goes on as if it were not.
//!
//! A libfabric that is not patched makes a new connection in silence; there, messages carry numbers.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use efa_core::bootstrap::Liveness;
use efa_core::collective::ReduceOp;
use efa_core::fabric::Provider;
use efa_core::memory::Access;
use efa_core::{Endpoint, Error, OpError, Source, Tag, TagMatch};

use super::common::{
    both, config, endpoints, is_patched, learn, meet, pattern, provider, ranks, tell, until,
};
use super::tcp_wire::{
    Header, LIMIT, TAGGED, applies, connections_at, handshake, in_time, port_of, reset, shrink,
};

/// Breaks all connections between the endpoints' ports, from outside.
fn break_connections(ports: &[u16]) {
    for &port in ports {
        // Listed anew each time, as the first reset closes the other end, whose number is then somebody else's.
        while let Some(descriptor) = connections_at(port).pop() {
            reset(descriptor);
        }
    }
}

fn names_both(error: &Error) -> bool {
    let text = error.to_string();
    text.contains("rank 0") && text.contains("rank 1")
}

#[test]
fn a_connection_that_breaks_ends_both_ends_and_loses_nothing_in_silence() {
    if !applies() {
        return;
    }
    in_time("a job whose connection broke", || {
        const COUNT: u64 = 200_000;
        let (mut open, liveness) = endpoints(2, config().timeout(Duration::from_secs(60)));
        let ports = [port_of(&open[0], 0), port_of(&open[0], 1)];
        let (receiver, sender) = (open.pop().unwrap(), open.pop().unwrap());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let sent = (0..COUNT).try_for_each(|number| sender.send_blocking(1, 1u32, &[number]));
                // Those of the last that were taken before may be lost: the endpoint says so.
                until("the sender's endpoint is closed", || !sender.is_open());
                (sent, sender.send_blocking(1, 1u32, &[0u64]).unwrap_err())
            });
            let receiving = scope.spawn(|| {
                for due in 0..COUNT {
                    let mut got = [0u64];
                    if let Err(error) = receiver.recv_blocking(0, 1u32, &mut got) {
                        return (due, error);
                    }
                    assert_eq!(got[0], due, "a message came in place of another");
                    if due == 1000 {
                        break_connections(&ports);
                    }
                }
                panic!("nothing was lost");
            });
            let (due, error) = receiving.join().unwrap();
            assert!(due >= 1000 && names_both(&error), "{due}: {error}");
            let (_, after) = sending.join().unwrap();
            assert!(names_both(&after), "{after}");
            assert!(begun.elapsed() < LIMIT);
        });
        let (peer, why) = liveness.first_dead().unwrap();
        assert!(why.contains("rank 0") && why.contains("rank 1"), "{peer}: {why}");
    });
}

#[test]
fn a_receiver_gets_no_message_in_place_of_one_that_was_lost() {
    if provider() != Provider::Tcp {
        return;
    }
    in_time("messages of which some are lost", || {
        let (open, _) = endpoints(2, config().timeout(Duration::from_secs(4)));
        let stopped = || Error::misuse("the sender stops", "the receiver has its error", "look at that");
        let ports = [port_of(&open[0], 0), port_of(&open[0], 1)];
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut sends = (0u64..).map(|number| open[0].send_blocking(1, 1u32, &[number]));
                sends.find_map(|sent| sent.err().or_else(|| over.load(Ordering::Relaxed).then(stopped)))
            });
            let mut received = (0u64..).map(|due| {
                let mut got = [0u64];
                open[1].recv_blocking(0, 1u32, &mut got)?;
                assert_eq!(got[0], due, "a message came in place of another");
                if due % 1000 == 999 {
                    break_connections(&ports);
                }
                Ok(())
            });
            let received = received.find_map(|received: Result<(), Error>| received.err()).unwrap();
            over.store(true, Ordering::Relaxed);
            // Where no other message comes, the receiver can't know more than that.
            let told = [received, sending.join().unwrap().unwrap()];
            let is_told = |error: &Error| names_both(error) || matches!(error, Error::Timeout { .. });
            assert!(told.iter().any(is_told), "{told:?}");
        });
    });
}

#[test]
fn a_job_that_lost_messages_does_not_finish_in_good_order() {
    if provider() != Provider::Tcp {
        return;
    }
    in_time("the end of a job that lost messages", || {
        super::job::run(2, |world| {
            let endpoint = world.endpoint();
            let ports: Vec<_> = (0..2).map(|rank| port_of(endpoint, rank)).collect();
            meet(endpoint);
            if endpoint.rank() == 0 {
                // Nobody receives these. Far more than is kept for a receiver.
                for number in 0..20_000u64 {
                    drop(endpoint.send(1, 1u32, vec![number; 64]));
                    if number == 10_000 {
                        break_connections(&ports);
                    }
                }
            }
            let error = world.finish().expect_err("messages are lost");
            let text = error.to_string();
            assert!(text.contains("data connection"), "{text}");
            assert!(text.contains("rank 0") && text.contains("rank 1"), "{text}");
        });
    });
}

/// Whatever a program may do with messages, nobody takes any for lost.
#[test]
fn a_job_that_lost_nothing_finishes_in_good_order() {
    let truncates =
        provider() != Provider::Shm || is_patched("a message that is too long for its receive, on shm");
    for leaves in [false, true] {
        super::job::run(3, |world| {
            let endpoint = world.endpoint();
            let (me, others) = (endpoint.rank(), (0..3).filter(|&rank| rank != endpoint.rank()));
            // Cancelled, and never to be met.
            let cancelled = endpoint.recv(Source::Any, 99u32, vec![0u8; 8]);
            cancelled.cancel();
            assert!(matches!(cancelled.wait(), Err(OpError { error: Error::Cancelled(_), .. })));
            let never = endpoint.recv(Source::Any, 98u32, vec![0u8; 8]);
            std::thread::scope(|scope| {
                for thread in 0..3u32 {
                    let others = others.clone();
                    scope.spawn(move || {
                        for number in 0..50u64 {
                            for rank in others.clone() {
                                let tag = 16 * (thread + 1) + (number % 5) as u32;
                                endpoint.send_blocking(rank, tag, &[number; 4]).unwrap();
                            }
                        }
                    });
                    scope.spawn(move || {
                        let any = TagMatch::masked(Tag::from(16 * (thread + 1)), 15);
                        for _ in 0..100 {
                            endpoint.recv_blocking(Source::Any, any, &mut [0u64; 4]).unwrap();
                        }
                    });
                }
            });
            // Too long for the receiver, from long to short, and to itself.
            let send = |rank, len| endpoint.send(rank, 1u32, pattern(len, me));
            let sends: Vec<_> = (0..3).flat_map(|rank| [send(rank, 100_000), send(rank, 100)]).collect();
            for rank in 0..3 {
                let mut room = vec![0u8; if truncates { 10 } else { 100_000 }];
                let result = endpoint.recv_blocking(rank, 1u32, &mut room);
                match truncates {
                    true => assert!(matches!(result, Err(Error::Truncated { .. })), "{result:?}"),
                    false => assert!(result.is_ok_and(|message| message.bytes == room.len())),
                }
                endpoint.recv_blocking(rank, TagMatch::ANY, &mut [0u8; 100]).unwrap();
            }
            // Whether a sender learns that its message was too long depends on the provider.
            sends.into_iter().for_each(|send| drop(send.wait()));
            if leaves {
                // Nobody receives these.
                for rank in 0..3 {
                    for number in 0..20u32 {
                        endpoint.send_blocking(rank, 200 + number % 3, &[number]).unwrap();
                    }
                }
            }
            world.all_reduce_in_place(&mut vec![1.0f32; 10_000], ReduceOp::Sum).unwrap();
            world.barrier().unwrap();
            world.finish().unwrap();
            drop(never);
        });
    }
}

#[test]
fn a_job_whose_connection_broke_does_not_finish_in_good_order() {
    if !applies() {
        return;
    }
    in_time("the end of a job whose connection broke", || {
        for waits in [true, false] {
            super::job::run(3, |world| {
                let endpoint = world.endpoint();
                let ports: Vec<_> = (0..2).map(|rank| port_of(endpoint, rank)).collect();
                meet(endpoint);
                world.control().barrier("all have met", LIMIT).unwrap();
                if endpoint.rank() == 0 {
                    break_connections(&ports);
                    // Whoever goes on at once fares no better.
                    if waits {
                        until("the endpoint is closed", || !endpoint.is_open());
                    }
                }
                let error = world.finish().expect_err("messages may be lost");
                assert!(error.to_string().contains("data connection"), "{error}");
            });
        }
    });
}

#[test]
fn a_receive_from_any_rank_learns_of_a_broken_connection() {
    if !applies() {
        return;
    }
    in_time("a receive from any rank", || {
        let (ranks, _) = endpoints(3, config());
        let ports: Vec<_> = (0..2).map(|rank| port_of(&ranks[0], rank)).collect();
        ranks[1].send_blocking(0, 1u32, &[1u8]).unwrap();
        ranks[0].recv_blocking(1, 1u32, &mut [0u8]).unwrap();
        let anything = ranks[0].recv(Source::Any, TagMatch::ANY, vec![0u8; 8]);
        break_connections(&ports);
        let error = anything.wait().unwrap_err().error;
        assert!(names_both(&error), "{error}");
        assert!(!ranks[0].is_open());
    });
}

#[test]
fn a_refused_write_or_read_fails_alone() {
    if !applies() {
        return;
    }
    ranks(2, |endpoint| {
        const LARGE: usize = 1 << 20;
        if endpoint.rank() == 0 {
            let closed = learn(&endpoint, 1);
            let open = learn(&endpoint, 1);
            meet(&endpoint);
            for len in [8, LARGE] {
                let before = endpoint.send(1, 1u32, pattern(LARGE, len));
                let write = endpoint.write(&closed, 0, pattern(len, 1));
                // These are on their way when the write is refused.
                (0..100u64).for_each(|number| endpoint.send_blocking(1, 4u32, &[number]).unwrap());
                let read = endpoint.read(&closed, 0, vec![7u8; len]);
                let after = endpoint.send(1, 2u32, pattern(LARGE, len + 1));
                let other = endpoint.write(&open, 0, pattern(len, 2));
                for error in [write.wait().unwrap_err().error, read.wait().unwrap_err().error] {
                    assert!(matches!(error, Error::Operation { .. }), "{error:?}");
                    assert!(error.to_string().contains("rank 1"), "{error}");
                }
                before.wait().unwrap();
                after.wait().unwrap();
                other.wait().unwrap();
                let mut got = vec![0u8; len];
                endpoint.read_blocking(&open, 0, &mut got).unwrap();
                assert!(got == pattern(len, 2));
            }
            // An immediate of a refused write does not count.
            let (result, _) = both(endpoint.write_immediate(&closed, 0, vec![1u8; 8], 5).wait());
            assert!(matches!(result, Err(Error::Operation { .. })), "{result:?}");
            meet(&endpoint);
        } else {
            let closed = endpoint.allocate::<u8>(LARGE).unwrap().expose(Access::ReadWrite).unwrap();
            let open = endpoint.allocate::<u8>(LARGE).unwrap().expose(Access::ReadWrite).unwrap();
            tell(&endpoint, &closed);
            tell(&endpoint, &open);
            closed.close();
            meet(&endpoint);
            for len in [8, LARGE] {
                for due in 0..100u64 {
                    let mut number = [0u64];
                    endpoint.recv_blocking(0, 4u32, &mut number).unwrap();
                    assert_eq!(number, [due]);
                }
                let mut got = vec![0u8; LARGE];
                for (tag, seed) in [(1u32, len), (2, len + 1)] {
                    endpoint.recv_blocking(0, tag, &mut got).unwrap();
                    assert!(got == pattern(LARGE, seed));
                }
            }
            meet(&endpoint);
            let immediate = endpoint.immediate_data(5, 1);
            assert!(!immediate.is_done());
        }
    });
}

#[test]
fn an_unexpected_message_that_breaks_off_is_freed_once() {
    if !applies() {
        return;
    }
    in_time("messages that break off", || {
        const LEN: u64 = 1 << 20;
        let (ranks, _) = endpoints(2, config());
        // Rank 1 has not connected yet, so that whoever says to be rank 1 is believed.
        let mut stream = handshake(port_of(&ranks[0], 0), port_of(&ranks[0], 1), &[]).unwrap();
        stream.write_all(&Header::new(TAGGED, &[1 << 40 | 1], 4).bytes()).unwrap();
        stream.write_all(b"all.").unwrap();
        stream.write_all(&Header::new(TAGGED, &[1 << 40 | 2], LEN).bytes()).unwrap();
        stream.write_all(&vec![7; LEN as usize / 2]).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        drop(stream);
        std::thread::sleep(Duration::from_millis(100));
        // What came whole can be received; what did not never is.
        let half = ranks[0].recv(1, 2u32, vec![0u8; LEN as usize]);
        let mut whole = [0u8; 4];
        ranks[0].recv_blocking(1, 1u32, &mut whole).unwrap();
        assert_eq!(&whole, b"all.");
        let (result, buffer) = both(half.wait());
        result.unwrap_err();
        assert!(buffer.iter().all(|&byte| byte == 0));
        drop(ranks);
    });
}

#[test]
fn closing_an_endpoint_loses_nothing_and_is_no_broken_connection() {
    if !applies() {
        return;
    }
    in_time("an endpoint that closes", || {
        let (mut open, liveness) = endpoints(2, config());
        let (receiver, sender) = (open.pop().unwrap(), open.pop().unwrap());
        // More than the system takes: the rest waits in the provider, which has copied it.
        const COUNT: u64 = 5_000;
        sender.send_blocking(1, 2u32, &[0u8]).unwrap();
        receiver.recv_blocking(0, 2u32, &mut [0u8]).unwrap();
        connections_at(port_of(&receiver, 0)).into_iter().for_each(shrink);
        connections_at(port_of(&receiver, 1)).into_iter().for_each(shrink);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..COUNT {
                    sender.send_blocking(1, 1u32, &[number; 8]).unwrap();
                }
                drop(sender);
            });
            std::thread::sleep(Duration::from_millis(200));
            for due in 0..COUNT {
                let mut got = [0u64; 8];
                receiver.recv_blocking(0, 1u32, &mut got).unwrap();
                assert_eq!(got, [due; 8]);
            }
        });
        std::thread::sleep(Duration::from_secs(1));
        assert!(receiver.is_open());
        assert!(liveness.first_dead().is_none());
    });
}

#[test]
fn what_came_before_a_reset_is_received() {
    if !applies() {
        return;
    }
    in_time("messages before a reset", || {
        for round in 0..20u64 {
            let (ranks, _) = endpoints(2, config());
            let port = port_of(&ranks[0], 0);
            let mut stream = handshake(port, port_of(&ranks[0], 1), &[]).unwrap();
            const COUNT: u64 = 50;
            let mut all = Vec::new();
            for number in 0..COUNT {
                all.extend(Header::new(TAGGED, &[1 << 40 | 1], 8).bytes());
                all.extend((round + number).to_ne_bytes());
            }
            stream.write_all(&all).unwrap();
            reset(std::os::fd::AsRawFd::as_raw_fd(&stream));
            for number in 0..COUNT {
                let mut got = [0u64];
                ranks[0].recv_blocking(1, 1u32, &mut got).unwrap();
                assert_eq!(got[0], round + number);
            }
        }
    });
}

/// Several ranks end at the same time, as processes do: no survivor takes that for a broken connection.
#[test]
fn endpoints_that_close_at_once_part_in_good_order() {
    if !applies() {
        return;
    }
    in_time("three endpoints that close", || {
        let (open, liveness) = endpoints(3, config());
        let liveness: Arc<Liveness> = liveness;
        std::thread::scope(|scope| {
            for endpoint in open {
                scope.spawn(move || {
                    let endpoint: Endpoint = endpoint;
                    for number in 0..100u64 {
                        let peers = (0..3).filter(|&rank| rank != endpoint.rank());
                        let receives: Vec<_> =
                            peers.clone().map(|rank| endpoint.recv(rank, 1u32, vec![0u64; 1])).collect();
                        peers.for_each(|rank| endpoint.send_blocking(rank, 1u32, &[number]).unwrap());
                        for receive in receives {
                            let (_, got) = receive.wait().unwrap();
                            assert_eq!(got, [number]);
                        }
                    }
                });
            }
        });
        assert!(liveness.first_dead().is_none());
    });
}
