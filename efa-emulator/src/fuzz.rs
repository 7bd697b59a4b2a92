//! Garbage for everything that is decoded: plans, and files that other processes share with us.
//!
//! Each test makes a fixed number of tries, or goes on for `EFA_FUZZ_SECONDS`. A failure names its seed, which `EFA_FUZZ_SEED`
//! sets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::abi::queue::ibv_sge;
use crate::faults::Plan;
use crate::receive::{Receive, Receives};
use crate::wire::Address;
use crate::wire::process::ProcessFile;
use crate::wire::queue::{QueueFile, Which};
use crate::wire::ring::Label;

/// Longer than any one try may take: more would be a loop that garbage keeps going.
const PATIENCE: Duration = Duration::from_secs(10);

/// Random numbers, by xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Runs `attempt` again and again.
fn fuzz(tries: u64, mut attempt: impl FnMut(&mut Random)) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = variable("EFA_FUZZ_SEED").unwrap_or(0x5eed);
    let long = variable("EFA_FUZZ_SECONDS").map(Duration::from_secs);
    let begun = Instant::now();
    for seed in first.. {
        let is_over = match long {
            Some(long) => begun.elapsed() >= long,
            None => seed - first >= tries,
        };
        if is_over {
            return;
        }
        let start = Instant::now();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let result = catch_unwind(AssertUnwindSafe(|| attempt(&mut random)));
        assert!(result.is_ok(), "EFA_FUZZ_SEED={seed} panics");
        assert!(start.elapsed() < PATIENCE, "EFA_FUZZ_SEED={seed} takes {:?}", start.elapsed());
    }
}

/// Overwrites random words of a file's memory with numbers that are likely to hurt.
fn spoil(random: &mut Random, memory: *mut u8, len: usize) {
    for _ in 0..1 + random.below(200) {
        let at = if random.below(2) == 0 { random.below(64) } else { random.below(len / 8) } * 8;
        let value = match random.below(5) {
            0 => 0,
            1 => u64::MAX,
            2 => random.next() & 0xffff,
            3 => 1 << random.below(64),
            _ => random.next(),
        };
        // SAFETY: within the mapping, whose contents may be anything.
        unsafe { memory.add(at.min(len - 8)).cast::<u64>().write_unaligned(value) };
    }
}

#[test]
fn a_plan_of_garbage_is_refused_or_understood() {
    const PIECES: [&str; 26] = [
        "seed",
        "reorder",
        "delay",
        "rnr",
        "badkey",
        "unreachable",
        "unresponsive",
        "timeout",
        "kill",
        "device-gone",
        "=",
        ";",
        ",",
        ">",
        "@",
        "/",
        "*",
        "0",
        "1",
        "0.5",
        "-1",
        "1e400",
        "NaN",
        "18446744073709551616",
        "#",
        "\u{0}\u{1F980}",
    ];
    fuzz(20_000, |random| {
        let text: String = (0..random.below(30)).map(|_| random.pick(&PIECES)).collect();
        match Plan::parse(&text) {
            Ok(plan) => drop(plan.is_empty()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

#[test]
fn a_queue_of_garbage_neither_panics_nor_loops() {
    let dir = tempfile::tempdir().unwrap();
    fuzz(300, |random| {
        let path = dir.path().join("q");
        let own = QueueFile::create(&path, 16).unwrap();
        let mut receives = Receives::new(&own, 16, 0);
        let other = QueueFile::open(&path).unwrap();
        let memory = own.mapping().bytes(0, own.mapping().len()).unwrap();
        for _ in 0..20 {
            let pieces = [ibv_sge { addr: 0, length: 100, lkey: 0 }, ibv_sge::default()];
            receives.post(&own, Receive { wr_id: random.next(), pieces, count: 1 });
            spoil(random, memory, own.mapping().len());
            let label = Label { len: random.below(9000) as u32, ..Label::default() };
            let which = if random.below(2) == 0 { Which::Posted } else { Which::Unsolicited };
            let _ = other.ring(which).place(other.mapping(), random.next() as u16, label, |_| {});
            receives.is_ready(&own);
            let dead = random.next();
            if let Some(arrival) = receives.front(&own, true, |slot| dead >> (slot % 64) & 1 == 0) {
                let len = arrival.label.len as usize;
                let _ = own.ring(arrival.which).data(own.mapping(), arrival.ticket, len);
                receives.take_out(&own, &arrival);
            }
        }
        drop(QueueFile::open(&path));
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_process_file_of_garbage_neither_panics_nor_loops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    let (own, _file) = ProcessFile::create(&path).unwrap();
    let (memory, len) = own.memory();
    fuzz(300, |random| {
        spoil(random, memory, len);
        for _ in 0..20 {
            let peer = Address {
                slot: random.next() as u16,
                generation: random.next() as u32,
                device: random.next() as u8,
            };
            own.set_known(random.next() as u8, peer, random.below(2) == 0);
            own.knows(random.next() as u8, peer);
            if let Some(region) = own.lookup(random.next() as u32) {
                region.allows(random.next(), random.next(), random.next() as u32);
            }
            own.letter(random.below(20));
        }
        drop(ProcessFile::open(&path));
    });
}
