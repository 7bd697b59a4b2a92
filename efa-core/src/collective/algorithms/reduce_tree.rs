//! Reduce along a k-nomial tree: every rank combines what its subtree brings, and passes it on.
//!
//! `ceil(log2 n) (L + B)` with a binomial tree, for small messages; of radix 4, `ceil(log4 n) (L + 3 B)`.
//!
//! The subtrees of a rank's children follow one another, so contributions are combined in the order of the places. For
//! an operation that does not commute the tree stands on rank 0, where places are ranks, and the result takes one more
//! message to another root.

use super::tree::Tree;
use super::{LANDINGS, aligned};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span, StepId};
use crate::collective::{Algorithm, BufferMode, Call};

/// What a rank's subtree brings.
const PARTIAL_SLOT: u32 = 0;
/// The result, where the tree does not stand on the root.
const RESULT_SLOT: u32 = 1;

pub(super) fn schedule(call: &Call, algorithm: Algorithm) -> Schedule {
    let &Call { rank, size, root, elements, buffer_mode, ordered, .. } = call;
    let top = if ordered { 0 } else { root };
    let tree = Tree::new(algorithm, size, top);
    let place = tree.place(rank);
    let children = if elements > 0 { tree.children(place) } else { Vec::new() };
    let (mine, output) = (call.contribution(), Span::new(BufferId::Output, 0, elements));
    let in_output = rank == root && rank == top;
    let scratch = |index: usize| Span::new(BufferId::Scratch, index * aligned(elements), elements);
    // Partial results gather in the output of the root, and elsewhere in the first place of scratch.
    let kept = usize::from(!in_output && !children.is_empty());
    let landings = children.len().min(LANDINGS);
    let mut builder = ScheduleBuilder::new(call, algorithm, (kept + landings) * aligned(elements));
    if elements == 0 {
        return builder.finish();
    }

    let (mut current, mut complete): (Span, Option<StepId>) = (mine, None);
    if in_output && buffer_mode == BufferMode::OutOfPlace && children.is_empty() {
        builder.copy(mine, output, &[]);
    }
    let accumulator = if in_output { output } else { scratch(0) };
    let mut reductions = Vec::new();
    for (index, &child) in children.iter().enumerate() {
        let first = current != accumulator;
        let landing = if first { accumulator } else { scratch(kept + index % landings) };
        let emptied = index.checked_sub(landings).map(|oldest| reductions[oldest]);
        let received = builder.receive(tree.rank(child), PARTIAL_SLOT, landing, emptied.as_slice());
        let after = Vec::from_iter([received].into_iter().chain(complete));
        let reduced = match first {
            true => builder.reduce_before(current, landing, &after),
            false => builder.reduce(landing, current, &after),
        };
        current = accumulator;
        complete = Some(reduced);
        reductions.push(reduced);
    }
    let mut used = complete;
    if let Some(parent) = tree.parent(place) {
        let sent = builder.send(tree.rank(parent), PARTIAL_SLOT, current, complete.as_slice());
        // In place the contribution lies where the result comes to.
        used = if current == mine { Some(sent) } else { reductions.first().copied() };
    }
    if top != root && rank == top {
        builder.send(root, RESULT_SLOT, current, complete.as_slice());
    }
    if top != root && rank == root {
        let after = if buffer_mode == BufferMode::InPlace { used } else { None };
        builder.receive(top, RESULT_SLOT, output, after.as_slice());
    }
    builder.finish()
}
