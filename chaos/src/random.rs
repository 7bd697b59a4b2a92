//! Seeded random numbers: the same seeds give the same numbers on every machine.

/// A SplitMix64 generator. Its quality is enough to choose faults and payloads.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Returns a generator whose numbers depend on all of `seeds`.
    pub(crate) fn new(seeds: &[u64]) -> Self {
        let mut state = Self(0x9e37_79b9_7f4a_7c15);
        for &seed in seeds {
            state.0 ^= seed;
            state.0 = state.next();
        }
        state
    }

    /// Returns the next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns a number below `limit`, which is at least 1.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Returns a number from `first` to `last`, both included.
    pub(crate) fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// Returns `true` in `percent` of 100 calls.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Returns one of `choices`, which has at least one element.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Puts the elements into a random order.
    pub(crate) fn shuffle<T>(&mut self, elements: &mut [T]) {
        for last in (1..elements.len()).rev() {
            elements.swap(last, self.below(last + 1));
        }
    }

    /// Returns a message size of at most `limit` bytes. Sizes next to the providers' limits for injected and eager
    /// messages are frequent.
    pub(crate) fn size(&mut self, limit: usize) -> usize {
        const EDGES: [usize; 14] =
            [0, 1, 8, 127, 128, 129, 4095, 4096, 4097, 16 << 10, 65_535, 65_537, 1 << 18, 1 << 20];
        let size = match self.below(3) {
            0 => self.pick(&EDGES),
            // As many between 64 and 128 as between 1 MiB and 2 MiB.
            _ => (self.next() & ((1 << self.between(1, 20)) - 1)) as usize,
        };
        let size = if self.chance(3) { size << 3 } else { size };
        size.min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seeds_give_the_same_numbers_and_others_give_others() {
        let numbers = |seeds: &[u64]| {
            let mut random = Random::new(seeds);
            [random.next(), random.next(), random.next()]
        };
        assert_eq!(numbers(&[1, 2]), numbers(&[1, 2]));
        assert_ne!(numbers(&[1, 2]), numbers(&[2, 1]));
        assert_ne!(numbers(&[1]), numbers(&[2]));
    }

    #[test]
    fn numbers_stay_within_their_limits() {
        let mut random = Random::new(&[7]);
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            assert!((5..=6).contains(&random.between(5, 6)));
            assert!(random.size(1000) <= 1000);
        }
    }

    #[test]
    fn shuffling_keeps_every_element() {
        let mut elements: Vec<u32> = (0..50).collect();
        Random::new(&[3]).shuffle(&mut elements);
        assert_ne!(elements, (0..50).collect::<Vec<_>>());
        elements.sort_unstable();
        assert_eq!(elements, (0..50).collect::<Vec<_>>());
    }
}
