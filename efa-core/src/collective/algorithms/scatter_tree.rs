//! Scatter along a k-nomial tree: every rank receives the blocks of its whole subtree together. Of radix `n` the root sends
//! every rank its block directly.
//!
//! `ceil(log2 n) L + (n - 1)/n B` with a binomial tree, and `L + (n - 1)/n B`, with `n - 1` messages at the root, without
//! one.
//!
//! The root sends each block from where it lies. Blocks that go around the end of the ranks take a message of their own
//! for that.

use super::contribution;
use super::gather_tree::Runs;
use super::tree::{Tree, elements_of};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call, algorithm: Algorithm) -> Schedule {
    let &Call { rank, size, root, buffer_mode, .. } = call;
    let tree = Tree::new(algorithm, size, root);
    let place = tree.place(rank);
    let (own, children) = (call.block(rank), tree.children(place));
    let passes_on = rank != root && !children.is_empty();
    let runs = Runs::new(call, &tree, place);
    let mut builder = ScheduleBuilder::new(call, algorithm, if passes_on { runs.len() } else { 0 });

    let output = Span::new(BufferId::Output, 0, own.len());
    let mut there = Vec::new();
    if let Some(parent) = tree.parent(place) {
        for (slot, span) in (0..).zip(runs.spans()) {
            let span = if passes_on { span } else { output };
            if span.len > 0 {
                there.push(builder.receive(tree.rank(parent), slot, span, &[]));
            }
        }
    }
    // The largest subtree has the longest way to go, so it comes first.
    for child in children.into_iter().rev() {
        for (slot, ranks) in (0..).zip(tree.ranks(child)) {
            let elements = elements_of(call, &ranks);
            let span = match rank == root {
                true => Span::new(contribution(call), elements.start, elements.len()),
                false => Span::new(BufferId::Scratch, runs.offset(elements.start), elements.len()),
            };
            if span.len > 0 {
                builder.send(tree.rank(child), slot, span, &there);
            }
        }
    }
    if output.len > 0 && passes_on {
        builder.copy(Span { buffer: BufferId::Scratch, ..output }, output, &there);
    }
    if output.len > 0 && rank == root && buffer_mode == BufferMode::OutOfPlace {
        builder.copy(Span::new(BufferId::Input, own.start, own.len()), output, &[]);
    }
    builder.finish()
}
