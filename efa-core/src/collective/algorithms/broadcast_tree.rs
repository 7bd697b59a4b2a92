//! Broadcast along a k-nomial tree: every rank that has the data passes it on, so their number doubles in each round of a
//! binomial tree.
//!
//! `ceil(log2 n) (L + B)` with a binomial tree: least traffic at each rank, for small messages. Of radix 4 the tree has
//! half as many rounds, in each of which a rank sends three messages: `ceil(log4 n) (L + 3 B)`.

use super::contribution;
use super::tree::Tree;
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call, algorithm: Algorithm) -> Schedule {
    let &Call { rank, size, root, elements, buffer_mode, .. } = call;
    let mut builder = ScheduleBuilder::new(call, algorithm, 0);
    if elements == 0 {
        return builder.finish();
    }
    let output = Span::new(BufferId::Output, 0, elements);
    let tree = Tree::new(algorithm, size, root);
    let place = tree.place(rank);
    let received = tree.parent(place).map(|parent| builder.receive(tree.rank(parent), 0, output, &[]));
    let data = if rank == root { Span { buffer: contribution(call), ..output } } else { output };
    // The largest subtree has the longest way to go, so it comes first.
    for child in tree.children(place).into_iter().rev() {
        builder.send(tree.rank(child), 0, data, received.as_slice());
    }
    if rank == root && buffer_mode == BufferMode::OutOfPlace {
        builder.copy(data, output, &[]);
    }
    builder.finish()
}
