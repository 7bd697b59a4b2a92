//! Reduce-scatter by recursive halving: exchange ever smaller halves with ever closer ranks.
//!
//! `log2 n L + (n - 1)/n B` at a power of two of ranks, where `B` is all blocks together, and a message of all blocks and
//! one of one block more at any other. For short blocks.

use super::halving::{Halving, Positions, RESULT_SLOT, part};
use super::{aligned, contribution};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, buffer_mode, .. } = call;
    let positions = Positions::new(size, None);
    // Positions are in the order of the ranks, so the blocks of a run of positions follow one another.
    let cut = |run: std::ops::Range<usize>| {
        let (first, last) = (positions.ranks(run.start).start, positions.ranks(run.end - 1).end - 1);
        call.block(first).start..call.block(last).end
    };
    let (in_place, keeper) = (buffer_mode == BufferMode::InPlace, positions.keeper(rank));
    let mine = Span::new(contribution(call), 0, call.total());
    let work = Span { buffer: if in_place { BufferId::Output } else { BufferId::Scratch }, ..mine };
    let room = if in_place || keeper.is_some() || size == 1 { 0 } else { aligned(work.len) };
    let halving = Halving { rank, positions: &positions, mine, work, landing: room, elements: &cut };
    let scratch = room + if keeper.is_none() { halving.landing_len() } else { 0 };
    let mut builder = ScheduleBuilder::new(call, Algorithm::RecursiveHalving, scratch);

    let own = call.block(rank);
    let output = Span::new(BufferId::Output, if in_place { own.start } else { 0 }, own.len());
    if let Some(keeper) = keeper {
        let sent = halving.fold(&mut builder, keeper).filter(|_| in_place);
        if output.len > 0 {
            builder.receive(keeper, RESULT_SLOT, output, sent.as_slice());
        }
        return builder.finish();
    }
    let complete = halving.reduce_scatter(&mut builder).complete;
    if let Some(folded) = positions.folded_to(rank) {
        let theirs = call.block(folded);
        if !theirs.is_empty() {
            builder.send(folded, RESULT_SLOT, part(work, &theirs), complete.as_slice());
        }
    }
    if !in_place && output.len > 0 {
        let from = if size == 1 { mine } else { work };
        builder.copy(part(from, &own), output, complete.as_slice());
    }
    builder.finish()
}
