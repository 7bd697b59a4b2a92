//! A map from runs of indices to values: what is known of each element of a buffer, without an entry per element.

use std::collections::BTreeMap;
use std::ops::Range;

/// Values for disjoint, non-empty ranges of indices; an index may have none.
#[derive(Clone, Debug)]
pub(super) struct RangeMap<V> {
    /// By where a range begins: where it ends, and its value.
    entries: BTreeMap<usize, (usize, V)>,
}

impl<V: Clone> RangeMap<V> {
    /// A map in which no index has a value.
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new() }
    }

    /// Gives all of `range` one value, in place of what it had.
    pub(super) fn insert(&mut self, range: Range<usize>, value: V) {
        if range.is_empty() {
            return;
        }
        self.remove(range.clone());
        self.entries.insert(range.start, (range.end, value));
    }

    /// Takes the values of `range` away and returns them, in order.
    pub(super) fn remove(&mut self, range: Range<usize>) -> Vec<(Range<usize>, V)> {
        self.split(range.start);
        self.split(range.end);
        let starts: Vec<usize> = self.entries.range(range).map(|(&start, _)| start).collect();
        let taken = starts.into_iter().filter_map(|start| {
            let (end, value) = self.entries.remove(&start)?;
            Some((start..end, value))
        });
        taken.collect()
    }

    /// The values of `range`, in order, cut to it; indices without a value are left out.
    pub(super) fn get(&self, range: Range<usize>) -> impl Iterator<Item = (Range<usize>, &V)> {
        let first = self.entries.range(..=range.start).next_back().map_or(range.start, |(&start, _)| start);
        self.entries
            .range(first..range.end.max(first))
            .map(move |(&start, (end, value))| (start.max(range.start)..(*end).min(range.end), value))
            .filter(|(range, _)| !range.is_empty())
    }

    /// Makes `index` the beginning of an entry if it lies inside one.
    fn split(&mut self, index: usize) {
        if let Some((_, (end, value))) = self.entries.range_mut(..index).next_back()
            && *end > index
        {
            let tail = (*end, value.clone());
            *end = index;
            self.entries.insert(index, tail);
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
