//! Gather along a k-nomial tree: every rank passes on the blocks of its whole subtree together. Of radix `n` every rank
//! sends its block to the root directly.
//!
//! `ceil(log2 n) L + (n - 1)/n B` with a binomial tree, and `L + (n - 1)/n B`, with `n - 1` messages at the root, without
//! one.
//!
//! The root receives each block where it belongs. Blocks that go around the end of the ranks take a message of their own
//! for that.

use super::tree::{Tree, elements_of};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call, algorithm: Algorithm) -> Schedule {
    let &Call { rank, size, root, buffer_mode, .. } = call;
    let tree = Tree::new(algorithm, size, root);
    let place = tree.place(rank);
    let (mine, children) = (call.contribution(), tree.children(place));
    let passes_on = rank != root && !children.is_empty();
    let runs = Runs::new(call, &tree, place);
    let mut builder = ScheduleBuilder::new(call, algorithm, if passes_on { runs.len() } else { 0 });

    let mut there = Vec::new();
    let own = match rank == root {
        true => Span::new(BufferId::Output, call.block(rank).start, mine.len),
        false => Span::new(BufferId::Scratch, 0, mine.len),
    };
    if mine.len > 0 && (passes_on || rank == root && buffer_mode == BufferMode::OutOfPlace) {
        there.push(builder.copy(mine, own, &[]));
    }
    for child in children {
        for (slot, ranks) in (0..).zip(tree.ranks(child)) {
            let elements = elements_of(call, &ranks);
            let span = match rank == root {
                true => Span::new(BufferId::Output, elements.start, elements.len()),
                false => Span::new(BufferId::Scratch, runs.offset(elements.start), elements.len()),
            };
            if span.len > 0 {
                there.push(builder.receive(tree.rank(child), slot, span, &[]));
            }
        }
    }
    if let Some(parent) = tree.parent(place) {
        for (slot, span) in (0..).zip(runs.spans()) {
            let span = if passes_on { span } else { mine };
            if span.len > 0 {
                builder.send(tree.rank(parent), slot, span, &there);
            }
        }
    }
    builder.finish()
}

/// The elements of a subtree's blocks, and where they lie in scratch: in the order of the places.
pub(super) struct Runs(Vec<std::ops::Range<usize>>);

impl Runs {
    pub(super) fn new(call: &Call, tree: &Tree, place: usize) -> Self {
        Self(tree.ranks(place).iter().map(|ranks| elements_of(call, ranks)).collect())
    }

    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|run| run.len()).sum()
    }

    /// Where the element with the number `element` lies.
    pub(super) fn offset(&self, element: usize) -> usize {
        let mut before = 0;
        for run in &self.0 {
            if (run.start..=run.end).contains(&element) {
                return before + element - run.start;
            }
            before += run.len();
        }
        before
    }

    /// Each run in scratch.
    pub(super) fn spans(&self) -> Vec<Span> {
        let mut start = 0;
        let span = |run: &std::ops::Range<usize>| {
            start += run.len();
            Span::new(BufferId::Scratch, start - run.len(), run.len())
        };
        self.0.iter().map(span).collect()
    }
}
