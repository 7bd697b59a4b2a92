//! Processes that are not of the job and reach the port of an endpoint on tcp.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use efa_core::bootstrap::{ControlConfig, Job, JobSecret, Liveness};
use efa_core::memory::{Access, RemoteRegion};
use efa_core::{Endpoint, EndpointConfig, Error, Source, TagMatch};

use super::common::{admit, config, endpoints, members, pattern};
use super::tcp_wire::{
    DELIVERY_COMPLETE, Header, LIMIT, READ_REQUEST, TAGGED, WRITE, applies, connections_at, control, dial,
    exchange, handshake, in_time, is_closed, place_of, port_of, request,
};

/// A random secret of a job.
fn secret() -> JobSecret {
    let control = Job::alone().connect(&ControlConfig::default(), Duration::from_secs(1)).unwrap();
    let secret = control.secret().clone();
    control.leave();
    secret
}

fn guarded(secret: &JobSecret) -> EndpointConfig {
    let mut config = config();
    config.secret = Some(secret.clone());
    config
}

#[test]
fn half_a_request_does_not_stop_the_endpoint() {
    if !applies() {
        return;
    }
    in_time("an exchange next to half a request", || {
        let (ranks, _) = endpoints(2, config());
        let port = port_of(&ranks[0], 0);
        let strangers: Vec<_> = (0..3)
            .map(|kind| {
                let mut stream = dial(port);
                let all = control(0, 200, &[]);
                stream.write_all(&all[..[1, all.len(), all.len() - 1][kind]]).unwrap();
                stream
            })
            .collect();
        std::thread::sleep(Duration::from_millis(50));
        exchange(&ranks, 1);
        drop(strangers);
    });
}

#[test]
fn connections_that_come_and_go_leave_no_descriptors() {
    if !applies() {
        return;
    }
    in_time("connections that come and go", || {
        const ROUNDS: u8 = 6;
        const STRANGERS: usize = 60;
        const LEN: usize = 100;
        let (ranks, _) = endpoints(2, config());
        let port = port_of(&ranks[0], 0);
        let mut peer = handshake(port, port_of(&ranks[0], 1), &[]).unwrap();
        let before = connections_at(port).len();
        for round in 0..ROUNDS {
            let strangers: Vec<_> = (0..STRANGERS).map(|_| dial(port)).collect();
            // A wait polls without a pause, and lets all of them in.
            let nothing = ranks[0].recv(1, 9u32, vec![0u8; 1]);
            let begun = Instant::now();
            while connections_at(port).len() < before + 2 * STRANGERS {
                assert!(begun.elapsed() < LIMIT / 2, "{} are let in", connections_at(port).len() - before);
                nothing.wait_timeout(Duration::from_millis(5));
            }
            drop(nothing);
            // When the endpoint is polled next, it first finds half of a message, so that a read ends with "nothing
            // there now", and then all these connections closed.
            peer.write_all(&Header::new(TAGGED, &[1 << 40 | 5], LEN as u64).bytes()).unwrap();
            peer.write_all(&[round; LEN / 2]).unwrap();
            drop(strangers);
            let begun = Instant::now();
            while connections_at(port).len() > before {
                let left = connections_at(port).len() - before;
                assert!(begun.elapsed() < LIMIT / 4, "{left} descriptors are left in round {round}");
                std::thread::sleep(Duration::from_millis(10));
            }
            peer.write_all(&[round; LEN - LEN / 2]).unwrap();
            let mut got = [0; LEN];
            ranks[0].recv_blocking(1, 5u32, &mut got).unwrap();
            assert_eq!(got, [round; LEN]);
        }
    });
}

#[test]
fn silent_connections_do_not_use_up_the_descriptors() {
    if !applies() {
        return;
    }
    in_time("an exchange next to silent connections", || {
        const COUNT: usize = 400;
        let (ranks, _) = endpoints(2, config());
        let port = port_of(&ranks[0], 0);
        let strangers: Vec<_> = (0..COUNT).map(|_| dial(port)).collect();
        exchange(&ranks, 1);
        let begun = Instant::now();
        // Both ends of each are in this process.
        while connections_at(port).len() > COUNT + 140 {
            assert!(begun.elapsed() < LIMIT / 2, "{} are open", connections_at(port).len() - COUNT);
            std::thread::sleep(Duration::from_millis(10));
        }
        exchange(&ranks, 2);
        drop(ranks);
        assert_eq!(connections_at(port).len(), COUNT, "closing the endpoint closes all its connections");
        drop(strangers);
    });
}

#[test]
fn a_request_without_data_is_refused() {
    if !applies() {
        return;
    }
    in_time("requests without data", || {
        let (ranks, _) = endpoints(2, guarded(&secret()));
        for data in [&[][..], &[1], &[1, 0, 0x12, 0x34, 0, 0, 0, 1]] {
            let mut stream = dial(port_of(&ranks[0], 0));
            stream.write_all(&control(0, data.len() as u16, data)).unwrap();
            let mut got = Vec::new();
            assert!(is_closed(&mut stream, &mut got), "{data:?}");
            assert!(got.get(1).is_none_or(|&kind| kind == 6), "{got:?}");
        }
        exchange(&ranks, 1);
    });
}

/// What a stranger who knows everything but the secret sends: messages with all kinds of tags, a remote write and a
/// remote read, with the right key.
fn everything(region: &RemoteRegion) -> Vec<u8> {
    let (address, key) = place_of(region);
    let mut bytes = Vec::new();
    for tag in [0, 3, 1 << 40, (1 << 40) | 3, 1 << 60, u64::MAX] {
        bytes.extend(Header::new(TAGGED, &[tag], 4).bytes());
        bytes.extend(b"evil");
    }
    let mut write = Header::new(WRITE, &[address, 4, key], 4);
    (write.pieces, write.flags) = (1, DELIVERY_COMPLETE);
    bytes.extend(write.bytes());
    bytes.extend(b"evil");
    let mut read = Header::new(READ_REQUEST, &[address, 8, key], 0);
    read.pieces = 1;
    bytes.extend(read.bytes());
    bytes
}

#[test]
fn nobody_without_the_key_gets_a_byte_in_or_out() {
    if !applies() {
        return;
    }
    in_time("a stranger's attempts", || {
        let (ranks, _) = endpoints(2, guarded(&secret()));
        let anything = ranks[0].recv(Source::Any, TagMatch::ANY, vec![0u8; 100]);
        let region = ranks[0].allocate::<u8>(64).unwrap().expose(Access::ReadWrite).unwrap();
        region.copy_in(0, &pattern(64, 7)).unwrap();
        let remote = region.remote();
        let port = port_of(&ranks[0], 0);
        let proofs = [vec![], vec![0; 16], vec![0xFF; 16], pattern(16, 3), vec![0; 240]];
        for proof in &proofs {
            for claimed in [port_of(&ranks[0], 1), port, 1] {
                handshake(port, claimed, proof).unwrap_err();
                // Whoever doesn't wait for the answer fares no better.
                let mut stream = dial(port);
                let mut all = request(claimed, proof);
                all.extend(everything(&remote));
                let _ = stream.write_all(&all);
                let mut got = Vec::new();
                assert!(is_closed(&mut stream, &mut got));
                let secret = pattern(64, 7);
                assert!(!got.windows(8).any(|window| secret.windows(8).any(|other| other == window)));
            }
        }
        assert!(!anything.is_done(), "a stranger's message was received");
        assert!(region.to_vec() == pattern(64, 7), "a stranger wrote");
        ranks[1].send_blocking(0, 5u32, b"from a rank").unwrap();
        let (completion, buffer) = anything.wait().unwrap();
        assert_eq!((completion.peer, &buffer[..11]), (1, &b"from a rank"[..]));
    });
}

#[test]
fn a_message_of_no_rank_of_the_job_is_an_error() {
    if !applies() {
        return;
    }
    in_time("a message of rank 3 of 3", || {
        let (ranks, _) = endpoints(3, config());
        let mut stream = handshake(port_of(&ranks[0], 0), port_of(&ranks[0], 1), &[]).unwrap();
        for rank in [3, 1] {
            stream.write_all(&Header::new(TAGGED, &[rank << 40 | 5], 4).bytes()).unwrap();
            stream.write_all(b"evil").unwrap();
        }
        let received = ranks[0].recv(Source::Any, 5u32, vec![0u8; 4]);
        let error = received.wait().unwrap_err().error;
        assert!(matches!(error, Error::Operation { .. }) && error.to_string().contains("rank 3"), "{error}");
        assert_eq!(ranks[0].recv_blocking(Source::Any, 5u32, &mut [0u8; 4]).unwrap().peer, 1);
    });
}

#[test]
fn ranks_of_another_secret_are_strangers() {
    if !applies() {
        return;
    }
    in_time("two jobs that are mixed", || {
        let members = members(2);
        let admission = admit(&members);
        let open = [secret(), secret()].map(|secret| {
            let config = guarded(&secret).timeout(Duration::from_secs(2));
            Endpoint::open(&admission, config).unwrap()
        });
        let peer_addresses: Vec<_> =
            open.iter().zip(&members).map(|(open, facts)| open.peer_address(facts)).collect();
        let liveness = std::sync::Arc::new(Liveness::alone(2));
        let mut rank = 0..;
        let ranks = open.map(|open| {
            open.connect(rank.next().unwrap(), peer_addresses.clone(), liveness.clone()).unwrap()
        });
        let receiving = ranks[0].recv(1, 1u32, vec![0u8; 4]);
        ranks[1].send_blocking(0, 1u32, &[1u8; 4]).unwrap_err();
        receiving.wait().unwrap_err();
    });
}

#[test]
fn whoever_takes_over_a_ranks_port_gets_no_message() {
    if !applies() {
        return;
    }
    in_time("a message to a stranger", || {
        let members = members(2);
        let admission = admit(&members);
        let config = guarded(&secret()).timeout(Duration::from_secs(5));
        let mine = Endpoint::open(&admission, config.clone()).unwrap();
        let theirs = Endpoint::open(&admission, config).unwrap();
        let peer_addresses = vec![mine.peer_address(&members[0]), theirs.peer_address(&members[1])];
        drop(theirs);
        let rank = mine.connect(0, peer_addresses, std::sync::Arc::new(Liveness::alone(2))).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", port_of(&rank, 1))).unwrap();
        let sending =
            rank.send(1, 1u32, b"for rank 1 only, in a message that is no secret to a rank".to_vec());
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 32 + 24];
        stream.read_exact(&mut asked).unwrap();
        // As if it accepted: with no proof, and with the one that it was shown.
        let mut response = control(1, 24, &asked[32..]);
        response[32] = 0x81;
        stream.write_all(&response).unwrap();
        let mut got = Vec::new();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        assert!(is_closed(&mut stream, &mut got));
        assert!(got.is_empty(), "{got:?}");
        drop(listener);
        sending.wait().unwrap_err();
    });
}
