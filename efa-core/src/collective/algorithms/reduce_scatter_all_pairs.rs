//! Reduce-scatter by all pairs: everybody sends each block directly to the rank that it is for.
//!
//! `L + (n - 1)/n B`, where `B` is all blocks together, in a single round with `n - 1` messages at each rank. For a few
//! ranks and short blocks.
//!
//! All contributions to a block are combined in the order of the ranks.

use super::{aligned, contribution};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span, StepId};
use crate::collective::{Algorithm, BufferMode, Call};

/// There is one message from each rank to each other.
const SLOT: u32 = 0;

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, buffer_mode, .. } = call;
    let own = call.block(rank);
    let in_place = buffer_mode == BufferMode::InPlace;
    let from = contribution(call);
    let mine = Span::new(from, own.start, own.len());
    let output = Span::new(BufferId::Output, if in_place { own.start } else { 0 }, own.len());
    // Out of place the first contribution lands in the output, if it comes from another rank.
    let landing = |other: usize| match other {
        0 if !in_place => output,
        _ => Span::new(BufferId::Scratch, other * aligned(own.len()), own.len()),
    };
    let scratch = if size > 1 { size * aligned(own.len()) } else { 0 };
    let mut builder = ScheduleBuilder::new(call, Algorithm::AllPairs, scratch);
    // At each distance everybody has one to send to and one to receive from: nobody waits for a third.
    let mut arrived: Vec<Option<StepId>> = vec![None; size];
    for distance in 1..size {
        let other = (rank + size - distance) % size;
        if !own.is_empty() {
            arrived[other] = Some(builder.receive(other, SLOT, landing(other), &[]));
        }
        let to = (rank + distance) % size;
        let theirs = call.block(to);
        if !theirs.is_empty() {
            builder.send(to, SLOT, Span::new(from, theirs.start, theirs.len()), &[]);
        }
    }
    if own.is_empty() {
        return builder.finish();
    }
    // The contributions of the ranks before this one gather where the first landed.
    let (first, mut complete) = (landing(0), arrived[0]);
    for (other, arrived) in arrived.iter().enumerate().take(rank).skip(1) {
        let after = Vec::from_iter(arrived.iter().copied().chain(complete));
        complete = Some(builder.reduce(landing(other), first, &after));
    }
    complete = match (in_place, rank) {
        (true, 0) => None,
        (true, _) => Some(builder.reduce_before(first, output, complete.as_slice())),
        (false, 0) => Some(builder.copy(mine, output, &[])),
        (false, _) => Some(builder.reduce(mine, output, complete.as_slice())),
    };
    for (other, arrived) in arrived.iter().enumerate().skip(rank + 1) {
        let after = Vec::from_iter(arrived.iter().copied().chain(complete));
        complete = Some(builder.reduce(landing(other), output, &after));
    }
    builder.finish()
}
