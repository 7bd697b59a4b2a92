//! Broadcast as a scatter along a binomial tree and an all-gather around a ring, after van de Geijn.
//!
//! `(log2 n + n - 1) L + 2 (n - 1)/n B`: the root sends little more than the data once, however many ranks there are.
//! For messages too large for the tree and too short to fill a long chain.
//!
//! Ranks are counted from the root here ("place"), and the data is cut in one block for each place. The subtree of a
//! place is a run of places from it on; the scatter leaves a place with the blocks of its whole subtree, and those
//! are not sent to it again around the ring.

use std::ops::Range;

use super::{block, contribution};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span, StepId};
use crate::collective::{Algorithm, BufferMode, Call};

/// The scatter's only message to a rank; those around the ring follow.
const SCATTER_SLOT: u32 = 0;

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, root, elements, buffer_mode, .. } = call;
    let mut builder = ScheduleBuilder::new(call, Algorithm::ScatterAllGather, 0);
    let place = (rank + size - root) % size;
    let rank_at = |place: usize| (place + root) % size;
    let buffer = if rank == root { contribution(call) } else { BufferId::Output };
    let block = |place: usize| block(buffer, elements, size, place);

    let mine = subtree(place, size);
    let span = blocks(&mine, block);
    let scattered = (rank != root && span.len > 0).then(|| {
        let parent = place - (place & place.wrapping_neg());
        builder.receive(rank_at(parent), SCATTER_SLOT, span, &[])
    });
    let mut distance = (mine.end - place).next_power_of_two();
    while distance > 1 {
        distance /= 2;
        let child = place + distance;
        let span = blocks(&subtree(child, size), block);
        if child < size && span.len > 0 {
            builder.send(rank_at(child), SCATTER_SLOT, span, scattered.as_slice());
        }
    }

    let right = (place + 1) % size;
    let right_has = subtree(right, size);
    // The step that brought the block which the next step passes on.
    let mut brought: Option<StepId> = scattered;
    for step in 0..size - 1 {
        let slot = 1 + step as u32;
        let passed_on = (place + size - step) % size;
        if !right_has.contains(&passed_on) && block(passed_on).len > 0 {
            builder.send(rank_at(right), slot, block(passed_on), brought.as_slice());
        }
        let received = (place + size - 1 - step) % size;
        brought = if mine.contains(&received) || block(received).len == 0 {
            scattered
        } else {
            let left = (place + size - 1) % size;
            Some(builder.receive(rank_at(left), slot, block(received), &[]))
        };
    }
    if rank == root && buffer_mode == BufferMode::OutOfPlace && elements > 0 {
        builder.copy(Span::new(buffer, 0, elements), Span::new(BufferId::Output, 0, elements), &[]);
    }
    builder.finish()
}

/// The places in the subtree of `place`, itself first; nothing for a place outside the group.
fn subtree(place: usize, size: usize) -> Range<usize> {
    let reach = if place == 0 { size } else { place & place.wrapping_neg() };
    place..size.min(place + reach).max(place)
}

/// The blocks of several places as one span.
fn blocks(places: &Range<usize>, block: impl Fn(usize) -> Span) -> Span {
    places
        .clone()
        .map(block)
        .reduce(|all, next| Span { len: all.len + next.len, ..all })
        .unwrap_or(Span::new(BufferId::Output, 0, 0))
}
