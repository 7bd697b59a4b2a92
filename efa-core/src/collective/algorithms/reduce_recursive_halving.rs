//! Reduce by recursive halving, after Rabenseifner: a reduce-scatter, then a gather along the same exchanges.
//!
//! `2 log2 n L + 2 (n - 1)/n B` at a power of two of ranks, and one more message of the whole at any other: less traffic
//! than along a tree. For messages of middle length.

use super::halving::{Halving, Positions, doubling_slot, equal_parts, kept, part};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, root, elements, buffer_mode, .. } = call;
    let positions = Positions::new(size, Some(root));
    let cut = |run| equal_parts(call, &positions, run);
    let (mine, keeper) = (call.contribution(), positions.keeper(rank));
    // The root works in its output, the others in scratch, as they have no output or it is to be left as it is.
    let buffer = if rank == root { BufferId::Output } else { BufferId::Scratch };
    let work = Span::new(buffer, 0, elements);
    let room = if rank == root || keeper.is_some() { 0 } else { super::aligned(elements) };
    let halving = Halving { rank, positions: &positions, mine, work, landing: room, elements: &cut };
    let scratch = room + if keeper.is_none() { halving.landing_len() } else { 0 };
    let mut builder = ScheduleBuilder::new(call, Algorithm::RecursiveHalving, scratch);
    if elements == 0 {
        return builder.finish();
    }
    if size == 1 && buffer_mode == BufferMode::OutOfPlace {
        builder.copy(mine, work, &[]);
    }
    if let Some(keeper) = keeper {
        halving.fold(&mut builder, keeper);
        return builder.finish();
    }
    let halved = halving.reduce_scatter(&mut builder);
    let (position, target) = (positions.of(rank), positions.of(root));
    let mut there = Vec::from_iter(halved.complete);
    for (bit, (sent, theirs)) in (0..).zip(halved.given) {
        let partner = positions.rank(position ^ (1 << bit));
        let slot = doubling_slot(&positions, bit);
        if (position ^ target) >> bit & 1 == 1 {
            let have = cut(kept(position, bit));
            if !have.is_empty() {
                builder.send(partner, slot, part(work, &have), &there);
            }
            break;
        }
        if !theirs.is_empty() {
            there.push(builder.receive(partner, slot, part(work, &theirs), sent.as_slice()));
        }
    }
    builder.finish()
}
