//! All-reduce by recursive halving and doubling, after Rabenseifner: a reduce-scatter, then an all-gather.
//!
//! `2 log2 n L + 2 (n - 1)/n B` at a power of two of ranks, and two more messages of the whole at any other: as little
//! traffic as around a ring, in fewer rounds. For messages of middle length.
//!
//! Each part is combined at one rank and then passed on, so all ranks end with the same bits.

use super::contribution;
use super::halving::{Halving, Positions, RESULT_SLOT, doubling_slot, equal_parts, kept, part};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, elements, buffer_mode, .. } = call;
    let positions = Positions::new(size, None);
    let cut = |run| equal_parts(call, &positions, run);
    let work = Span::new(BufferId::Output, 0, elements);
    let mine = Span { buffer: contribution(call), ..work };
    let halving = Halving { rank, positions: &positions, mine, work, landing: 0, elements: &cut };
    let keeper = positions.keeper(rank);
    let scratch = if keeper.is_none() { halving.landing_len() } else { 0 };
    let mut builder = ScheduleBuilder::new(call, Algorithm::RecursiveHalving, scratch);
    if elements == 0 {
        return builder.finish();
    }
    if size == 1 && buffer_mode == BufferMode::OutOfPlace {
        builder.copy(mine, work, &[]);
    }
    if let Some(keeper) = keeper {
        let sent = halving.fold(&mut builder, keeper);
        let after = sent.filter(|_| buffer_mode == BufferMode::InPlace);
        builder.receive(keeper, RESULT_SLOT, work, after.as_slice());
        return builder.finish();
    }
    let halved = halving.reduce_scatter(&mut builder);
    let position = positions.of(rank);
    let mut there = Vec::from_iter(halved.complete);
    for (bit, (sent, theirs)) in (0..).zip(halved.given) {
        let partner = positions.rank(position ^ (1 << bit));
        let slot = doubling_slot(&positions, bit);
        let have = cut(kept(position, bit));
        if !have.is_empty() {
            builder.send(partner, slot, part(work, &have), &there);
        }
        if !theirs.is_empty() {
            there.push(builder.receive(partner, slot, part(work, &theirs), sent.as_slice()));
        }
    }
    if let Some(folded) = positions.folded_to(rank) {
        builder.send(folded, RESULT_SLOT, work, &there);
    }
    builder.finish()
}
