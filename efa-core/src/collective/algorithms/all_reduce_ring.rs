//! All-reduce around a ring: a reduce-scatter, then an all-gather.
//!
//! `2 (n - 1) L + 2 (n - 1)/n B`: every rank sends and receives the least possible, and adds `(n - 1)/n B` while the
//! links are busy. For large messages.
//!
//! Out of place, partial sums arrive where the result will be and this rank's share is added to them: no copy and no
//! scratch. Each block is summed once and then passed around, so all ranks end with the same bits.

use super::ring::{Partial, Ring};
use super::{block, contribution};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call, segment: usize) -> Schedule {
    let &Call { rank, size, elements, buffer_mode, .. } = call;
    let ring = Ring::new(call, segment);
    let partial = match buffer_mode {
        BufferMode::InPlace => Partial::OutputThroughWindow,
        BufferMode::OutOfPlace => Partial::Output,
    };
    let mut builder = ScheduleBuilder::new(call, Algorithm::Ring, ring.scratch(partial));
    let own = block(BufferId::Output, elements, size, rank);
    if size == 1 && elements > 0 && buffer_mode == BufferMode::OutOfPlace {
        let source = block(contribution(call), elements, size, rank);
        builder.copy(source, own, &[]);
        return builder.finish();
    }
    let mut reduced = ring.reduce_scatter(&mut builder, partial, own.start);
    if buffer_mode == BufferMode::OutOfPlace
        && let Some(first) = reduced.sends.first_mut()
    {
        // The first step passed on the input, so nothing keeps that block of the output.
        first.clear();
    }
    ring.all_gather(&mut builder, reduced.own, &reduced.sends, size - 1);
    builder.finish()
}
