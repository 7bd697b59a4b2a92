//! Keys of registered memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Chooses the keys of an endpoint's registrations, where the provider leaves that to us.
///
/// The keys are consecutive numbers under a random permutation: a Feistel network of four rounds, whose round function is
/// the keyed hash of the standard library (SipHash with a random key of 128 bits). So no key comes twice, and whoever
/// knows some of them, of this endpoint or of another, can't tell any other.
pub(super) struct Keys {
    count: AtomicU64,
    random: RandomState,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { count: AtomicU64::new(0), random: RandomState::new() }
    }

    /// Returns a key that has not been used before.
    pub(super) fn next(&self) -> u64 {
        let key = self.permute(self.count.fetch_add(1, Ordering::Relaxed));
        // libfabric's `FI_KEY_NOTAVAIL`.
        if key == u64::MAX { self.next() } else { key }
    }

    fn permute(&self, number: u64) -> u64 {
        let halves = ((number >> 32) as u32, number as u32);
        let (left, right) = (0..4u8)
            .fold(halves, |(left, right), round| (right, left ^ self.random.hash_one((round, right)) as u32));
        u64::from(left) << 32 | u64::from(right)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const COUNT: usize = 100_000;

    #[test]
    fn no_key_comes_twice() {
        let keys = Keys::new();
        let all: HashSet<_> = (0..COUNT).map(|_| keys.next()).collect();
        assert_eq!(all.len(), COUNT);
    }

    #[test]
    fn a_key_says_nothing_about_the_next() {
        let keys = [Keys::new(), Keys::new()];
        let drawn = keys.each_ref().map(|keys| (0..COUNT).map(|_| keys.next()).collect::<Vec<_>>());
        // Of 64 bits, 32 change on average; none of 100,000 steps changes fewer than 6 but by a chance of 1 in 10^7.
        let differs = |pair: (&u64, &u64)| (pair.0 ^ pair.1).count_ones() >= 6;
        assert!(drawn[0].iter().zip(&drawn[0][1..]).all(differs));
        assert!(drawn[0].iter().zip(&drawn[1]).all(differs));
        // The distance from one key to the next does not repeat either.
        let steps: HashSet<_> = drawn[0].windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert_eq!(steps.len(), COUNT - 1);
    }
}
