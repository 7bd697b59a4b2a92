//! A map from runs of indices to values: what is known of each element of a buffer, without an entry per element.

use std::ops::Range;

/// Values for disjoint, non-empty ranges of indices; an index may have none.
#[derive(Clone, Debug)]
pub(super) struct RangeMap<V> {
    /// In order. Maps here have few entries, so that a shift of those behind costs less than a tree.
    entries: Vec<(Range<usize>, V)>,
}

impl<V: Clone> RangeMap<V> {
    /// A map in which no index has a value.
    pub(super) fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Gives all of `range` one value, in place of what it had.
    pub(super) fn insert(&mut self, range: Range<usize>, value: V) {
        if range.is_empty() {
            return;
        }
        let mut at = self.first_ending_after(range.start);
        match self.entries.get_mut(at) {
            Some((same, old)) if *same == range => {
                *old = value;
                return;
            }
            Some((next, _)) if next.start < range.end => {
                self.remove(range.clone());
                at = self.first_ending_after(range.start);
            }
            _ => {}
        }
        self.entries.insert(at, (range, value));
    }

    /// Takes the values of `range` away and returns them, in order.
    pub(super) fn remove(&mut self, range: Range<usize>) -> Vec<(Range<usize>, V)> {
        self.split(range.start);
        self.split(range.end);
        let first = self.first_ending_after(range.start);
        let count = self.entries[first..].iter().take_while(|(entry, _)| entry.start < range.end).count();
        self.entries.drain(first..first + count).collect()
    }

    /// The values of `range`, in order, cut to it; indices without a value are left out.
    pub(super) fn get(&self, range: Range<usize>) -> impl Iterator<Item = (Range<usize>, &V)> {
        self.entries[self.first_ending_after(range.start)..]
            .iter()
            .take_while(move |(entry, _)| entry.start < range.end)
            .map(move |(entry, value)| (entry.start.max(range.start)..entry.end.min(range.end), value))
            .filter(|(part, _)| !part.is_empty())
    }

    fn first_ending_after(&self, index: usize) -> usize {
        self.entries.partition_point(|(entry, _)| entry.end <= index)
    }

    /// Makes `index` the beginning of an entry if it lies inside one.
    fn split(&mut self, index: usize) {
        let at = self.first_ending_after(index);
        if let Some((entry, value)) = self.entries.get_mut(at)
            && entry.start < index
        {
            let tail = (index..entry.end, value.clone());
            entry.end = index;
            self.entries.insert(at + 1, tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_map_agrees_with_a_value_per_index(
            changes in prop::collection::vec((0usize..30, 0usize..12, prop::option::of(0u8..5)), 0..40),
            start in 0usize..30, len in 0usize..20,
        ) {
            let mut map = RangeMap::new();
            let mut plain = [None; 64];
            for (start, len, value) in changes {
                plain[start..start + len].fill(value);
                match value {
                    Some(value) => map.insert(start..start + len, value),
                    None => drop(map.remove(start..start + len)),
                }
            }
            let mut seen = [None; 64];
            let mut end_before = 0;
            for (range, value) in map.get(start..start + len) {
                prop_assert!(range.start >= end_before && range.end > range.start);
                end_before = range.end;
                seen[range].fill(Some(*value));
            }
            prop_assert_eq!(&seen[start..start + len], &plain[start..start + len]);
            prop_assert!(seen[..start].iter().chain(&seen[start + len..]).all(Option::is_none));
        }
    }
}
