//! Reduce-scatter around a ring.
//!
//! `(n - 1) L + (n - 1)/n B`, where `B` is all blocks together: every rank sends and receives the least possible. Out
//! of place, two blocks of scratch hold the partial sums on their way.

use super::ring::{Partial, Ring};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call, segment: usize) -> Schedule {
    let &Call { rank, size, buffer_mode, .. } = call;
    let ring = Ring::new(call, segment);
    let own = call.block(rank);
    let (partial, start) = match buffer_mode {
        BufferMode::InPlace => (Partial::OutputThroughWindow, own.start),
        BufferMode::OutOfPlace => (Partial::Scratch, 0),
    };
    let mut builder = ScheduleBuilder::new(call, Algorithm::Ring, ring.scratch(partial));
    if size == 1 && !own.is_empty() && buffer_mode == BufferMode::OutOfPlace {
        let whole = Span::new(BufferId::Input, 0, own.len());
        builder.copy(whole, Span { buffer: BufferId::Output, ..whole }, &[]);
    }
    ring.reduce_scatter(&mut builder, partial, start);
    builder.finish()
}
