//! What the tree algorithms share: k-nomial trees.
//!
//! Ranks are counted from the root here ("place"). Written in base `radix`, the parent's place is the place without its
//! lowest digit that is not zero; the places that differ in the digits below that one are the subtree, a run of places
//! from the place itself on. A tree of radix 2 is the binomial one; in one of radix `n` all are the root's children.

use std::ops::Range;

use crate::collective::{Algorithm, Call};

/// The tree of a group.
#[derive(Clone, Copy)]
pub(super) struct Tree {
    size: usize,
    root: usize,
    radix: usize,
}

impl Tree {
    /// The tree in which `algorithm` goes from or to `root`.
    pub(super) fn new(algorithm: Algorithm, size: usize, root: usize) -> Self {
        let radix = match algorithm {
            Algorithm::KNomial => 4,
            Algorithm::Linear => size.max(2),
            _ => 2,
        };
        Self { size, root, radix }
    }

    /// The place of a rank.
    pub(super) fn place(&self, rank: usize) -> usize {
        (rank + self.size - self.root) % self.size
    }

    /// The rank at a place.
    pub(super) fn rank(&self, place: usize) -> usize {
        (place + self.root) % self.size
    }

    /// The place that `place` hangs below; none for the root.
    pub(super) fn parent(&self, place: usize) -> Option<usize> {
        (place > 0).then(|| {
            let above = self.reach(place) * self.radix;
            place / above * above
        })
    }

    /// The places of the subtree of `place`, itself first.
    pub(super) fn subtree(&self, place: usize) -> Range<usize> {
        place..self.size.min(place + self.reach(place))
    }

    /// The places that hang below `place`, the nearest first. Their subtrees follow one another, and each is at least as
    /// large as those before it, but for the last.
    pub(super) fn children(&self, place: usize) -> Vec<usize> {
        let mut children = Vec::new();
        let (reach, mut weight) = (self.reach(place), 1);
        while weight < reach {
            let digits = (1..self.radix).map(|digit| place + digit * weight);
            children.extend(digits.take_while(|&child| child < self.size));
            weight *= self.radix;
        }
        children
    }

    /// The ranks in the subtree of `place`, as runs without a gap: two where they go around the end.
    pub(super) fn ranks(&self, place: usize) -> Vec<Range<usize>> {
        let Range { start, end } = self.subtree(place);
        wrapped(start + self.root, end - start, self.size)
    }

    /// How many places the subtree of `place` would have in a group large enough.
    fn reach(&self, place: usize) -> usize {
        let mut weight = 1;
        while weight < self.size && place.is_multiple_of(weight * self.radix) {
            weight *= self.radix;
        }
        weight
    }
}

/// `count` ranks from `first` on, around the end of the group, as runs without a gap: one or two.
pub(super) fn wrapped(first: usize, count: usize, size: usize) -> Vec<Range<usize>> {
    let first = first % size;
    let end = first + count;
    let runs = [first..end.min(size), 0..end.saturating_sub(size)];
    runs.into_iter().filter(|run| !run.is_empty()).collect()
}

/// The elements of the blocks of a run of ranks.
pub(super) fn elements_of(call: &Call, ranks: &Range<usize>) -> Range<usize> {
    match ranks.is_empty() {
        true => 0..0,
        false => call.block(ranks.start).start..call.block(ranks.end - 1).end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtrees_tile_the_group_and_know_their_parents() {
        for algorithm in [Algorithm::Tree, Algorithm::KNomial, Algorithm::Linear] {
            for size in 1..=70 {
                let tree = Tree::new(algorithm, size, size / 3);
                assert_eq!((tree.subtree(0), tree.parent(0)), (0..size, None));
                for place in 0..size {
                    let mut next = place + 1;
                    for child in tree.children(place) {
                        assert_eq!(tree.parent(child), Some(place), "{algorithm} of {size}, {child}");
                        assert_eq!(tree.subtree(child).start, next);
                        next = tree.subtree(child).end;
                    }
                    assert_eq!(next, tree.subtree(place).end, "{algorithm} of {size}, {place}");
                    assert_eq!(tree.place(tree.rank(place)), place);
                    let ranks = tree.ranks(place).into_iter().flatten();
                    assert!(ranks.eq(tree.subtree(place).map(|place| tree.rank(place))));
                }
            }
        }
    }
}
