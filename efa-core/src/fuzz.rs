//! Seeded input for the tests of what reads bytes from outside.
//!
//! `EFA_FUZZ_SECONDS` makes each of these tests run for so long, each time from another seed; `EFA_FUZZ_SEED` gives the
//! seed, which a test prints when it fails.

use std::time::{Duration, Instant, SystemTime};

/// Runs `body` with input after input: `count` times, or for as long as the environment says.
pub(crate) fn rounds(name: &str, count: u64, mut body: impl FnMut(&mut Random)) {
    let number = |variable| std::env::var(variable).ok().map(|text| text.parse().expect("a number"));
    let seconds: Option<u64> = number("EFA_FUZZ_SECONDS");
    let now = || {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    };
    let first = number("EFA_FUZZ_SEED").unwrap_or_else(|| if seconds.is_some() { now() } else { 1 });
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seed = Failing { name, seed: first };
    let mut done = 0;
    while until.map_or(done < count, |until| Instant::now() < until) {
        body(&mut Random(seed.seed));
        seed.seed = seed.seed.wrapping_add(1);
        done += 1;
    }
    println!("{name}: {done} inputs from seed {first} on");
}

/// Says with which seed a test fails.
struct Failing<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} fails with EFA_FUZZ_SEED={}", self.name, self.seed);
        }
    }
}

/// Numbers that follow from a seed (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// Returns any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.any() % limit as u64) as usize
    }

    /// Returns a byte; those that mean something in many formats are frequent.
    pub(crate) fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\x00\x01\x02\x7f\x80\xff\"\\,:[]{}0 9-";
        match self.below(3) {
            0 => TELLING[self.below(TELLING.len())],
            _ => self.any() as u8,
        }
    }

    /// Returns a number of any magnitude; limits of types are frequent.
    pub(crate) fn number(&mut self) -> u64 {
        let small = self.any() & 7;
        match self.below(4) {
            0 => small,
            1 => u64::MAX - small,
            2 => (1 << self.below(64)) - small.min(1),
            _ => self.any() >> self.below(64),
        }
    }

    /// Returns the bytes with a few changes: bytes replaced, inserted or left out, parts repeated, the end cut off.
    pub(crate) fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..self.below(4) {
            let (place, byte) = (self.below(bytes.len() + 1), self.byte());
            match self.below(6) {
                0 if place < bytes.len() => bytes[place] ^= 1 << self.below(8),
                1 if place < bytes.len() => bytes[place] = byte,
                2 if place < bytes.len() => {
                    bytes.remove(place);
                }
                3 => bytes.insert(place, byte),
                4 => bytes.truncate(place),
                _ => {
                    let end = place + self.below(bytes.len() - place + 1);
                    let part = bytes[place..end].to_vec();
                    bytes.splice(place..place, part);
                }
            }
        }
        bytes
    }
}
