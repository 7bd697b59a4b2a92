//! Headers that a peer may not send: each closes the connection that it came over, and harms nothing else.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use efa_core::memory::Access;

use super::common::{config, endpoints};
use super::tcp_wire::{
    ACKNOWLEDGEMENT, CLEAR_TO_SEND, DATA, DELIVERY_COMPLETE, FIXED, Header, MESSAGE, READ_REQUEST,
    READ_RESPONSE, READY_TO_SEND, REMOTE_DATA, TAGGED, WRITE, applies, exchange, handshake, in_time,
    is_closed, place_of, port_of,
};

/// A port that no rank has: connections from there are of nobody.
const NOBODY: u16 = 1;

#[test]
fn a_header_out_of_order_closes_its_connection_and_nothing_else() {
    if !applies() {
        return;
    }
    in_time("headers out of order", || {
        let (ranks, _) = endpoints(2, config());
        let region = ranks[0].allocate::<u8>(64).unwrap().expose(Access::ReadWrite).unwrap();
        let (address, key) = place_of(&region.remote());
        let plain = |op, rest: &[u64], data| Header::new(op, rest, data);
        let piece = [address, 8, key];
        let pieces = |count: u8, op, data| Header { pieces: count, ..plain(op, &piece, data) };
        let headers = [
            ("nothing to acknowledge", Header { op_data: ACKNOWLEDGEMENT, ..plain(MESSAGE, &[], 0) }),
            ("nothing to refuse", Header { op_data: 3, ..plain(MESSAGE, &[], 0) }),
            ("no read to respond to", plain(READ_RESPONSE, &[], 8)),
            ("no read to refuse", Header { op_data: 3, ..plain(READ_RESPONSE, &[], 0) }),
            ("nothing was ready to be sent", plain(CLEAR_TO_SEND, &[], 0)),
            ("nothing was to be sent", Header { op_data: 5, ..plain(DATA, &[], 8) }),
            ("an operation that there is none of", plain(200, &[], 0)),
            ("another version", Header { version: 9, ..plain(MESSAGE, &[], 0) }),
            ("a tag that is missing", plain(TAGGED, &[], 8)),
            ("remote data that are missing", Header { flags: REMOTE_DATA, ..plain(TAGGED, &[1], 8) }),
            ("more header than there is", plain(TAGGED, &[1, 2, 3, 4, 5], 8)),
            ("a header larger than all", Header { header_size: 255, ..plain(TAGGED, &[1], 8) }),
            ("a header smaller than all", Header { header_size: 3, ..plain(TAGGED, &[1], 8) }),
            ("less than its header", Header { size: 5, ..plain(TAGGED, &[1], 8) }),
            ("a rendezvous without a number", plain(READY_TO_SEND, &[1, 100], 0)),
            ("a rendezvous with data", Header { op_data: 1, ..plain(READY_TO_SEND, &[1, 100], 50) }),
            ("many pieces", pieces(255, WRITE, 8)),
            ("no pieces", pieces(0, WRITE, 8)),
            ("more data than pieces", pieces(1, WRITE, 800)),
            ("less data than pieces", pieces(1, WRITE, 4)),
            ("many pieces to read", pieces(255, READ_REQUEST, 0)),
            ("data with a request to read", pieces(1, READ_REQUEST, 8)),
        ];
        for (what, header) in headers {
            let mut stream = handshake(port_of(&ranks[0], 0), NOBODY, &[]).unwrap();
            let mut bytes = header.bytes();
            bytes.resize(bytes.len() + 64, 0xEE);
            let _ = stream.write_all(&bytes);
            assert!(is_closed(&mut stream, &mut Vec::new()), "{what}");
            exchange(&ranks, 1);
        }
        assert!(region.to_vec().iter().all(|&byte| byte == 0));
    });
}

#[test]
fn a_write_whose_length_wraps_around_is_refused() {
    if !applies() {
        return;
    }
    in_time("lengths that wrap around", || {
        let (ranks, _) = endpoints(2, config());
        let region = ranks[0].allocate::<u8>(4096).unwrap().expose(Access::ReadWrite).unwrap();
        let (address, key) = place_of(&region.remote());
        let port = port_of(&ranks[0], 0);
        for (start, len) in
            [(0, u64::MAX), (0, u64::MAX - 63), (64, u64::MAX - 1000), (4096, 1), (u64::MAX, 2)]
        {
            let start = address.wrapping_add(start);
            let mut stream = handshake(port, NOBODY, &[]).unwrap();
            let read = Header { pieces: 1, ..Header::new(READ_REQUEST, &[start, len, key], 0) };
            stream.write_all(&read.bytes()).unwrap();
            let mut refused = [0; FIXED];
            stream.read_exact(&mut refused).unwrap();
            assert_eq!((refused[1], refused[4], &refused[8..]), (READ_RESPONSE, 3, &16u64.to_ne_bytes()[..]));
            let flags = DELIVERY_COMPLETE;
            let write = Header { pieces: 1, flags, ..Header::new(WRITE, &[start, len, key], len) };
            stream.write_all(&write.bytes()).unwrap();
            let _ = stream.write_all(&[0xEE; 4096]);
            drop(stream);
            exchange(&ranks, 1);
        }
        assert!(region.to_vec().iter().all(|&byte| byte == 0));
    });
}

/// Random numbers that a seed determines (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// A header that is nearly right.
fn garbage(random: &mut Random, place: (u64, u64)) -> Vec<u8> {
    let odd = [0, 1, 8, 40, 4096, u64::MAX, u64::MAX - 64, 1 << 63, random.next()];
    let op = random.below(9) as u8;
    let words = random.below(8) as usize;
    let mut rest: Vec<u64> = (0..words).map(|_| random.one_of(&odd)).collect();
    if random.below(2) == 0 {
        rest = vec![place.0, random.one_of(&odd), place.1];
    }
    let data = random.one_of(&odd);
    let mut header = Header::new(op, &rest, data);
    header.pieces = random.one_of(&[0, 1, 1, 1, 2, 4, 5, 255]);
    header.flags = random.one_of(&[0, 0, REMOTE_DATA, DELIVERY_COMPLETE, 8, 0xFFFF]);
    header.op_data = random.one_of(&[0, 0, 1, 2, 3, 4, 254, 255]);
    if random.below(4) == 0 {
        header.header_size = random.next() as u8;
    }
    if random.below(4) == 0 {
        header.size = random.one_of(&odd);
    }
    let mut bytes = header.bytes();
    let payload = random.below(200);
    bytes.extend((0..payload).map(|_| random.next() as u8));
    if random.below(8) == 0 {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] = random.next() as u8;
    }
    bytes
}

/// 300 connections; or as many as fit into the seconds that `EFA_FUZZ_SECONDS` gives. `EFA_FUZZ_SEED` repeats a run.
#[test]
fn fuzz_headers_of_the_tcp_provider() {
    if !applies() {
        return;
    }
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("EFA_FUZZ_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64
    });
    println!("EFA_FUZZ_SEED={seed}");
    let seconds = number("EFA_FUZZ_SECONDS").map(Duration::from_secs);
    let begun = Instant::now();
    let mut random = Random(seed);
    let (ranks, _) = endpoints(2, config());
    let region = ranks[0].allocate::<u8>(4096).unwrap().expose(Access::ReadWrite).unwrap();
    let place = place_of(&region.remote());
    let port = port_of(&ranks[0], 0);
    let (mut connections, mut refused) = (0u64, 0u64);
    while seconds.map_or(connections < 300, |seconds| begun.elapsed() < seconds) {
        connections += 1;
        // Not a rank, whose ports are higher. Somebody whose last message waits for a receive still has a connection,
        // and gets no second one.
        let Ok(mut stream) = handshake(port, 1 + (connections % 30_000) as u16, &[]) else {
            refused += 1;
            continue;
        };
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        for _ in 0..1 + random.below(5) {
            if stream.write_all(&garbage(&mut random, place)).is_err() {
                break;
            }
        }
        drop(stream);
        if connections.is_multiple_of(10) {
            exchange(&ranks, connections as usize);
        }
    }
    exchange(&ranks, 1);
    println!("{connections} connections, {refused} refused");
    assert!(refused < 1 + connections / 10);
}
