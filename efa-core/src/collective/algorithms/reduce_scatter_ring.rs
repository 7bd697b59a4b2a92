//! Reduce-scatter around a ring.
//!
//! `(n - 1) L + (n - 1)/n B`, where `B` is all blocks together: every rank sends and receives the least possible. Out
//! of place, two blocks of scratch hold the partial sums on their way.

use super::ring::{Partial, Ring};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call, segment: usize) -> Schedule {
    let &Call { rank, size, elements, buffer_mode, .. } = call;
    let ring = Ring::new(call, elements * size, segment);
    let (partial, own) = match buffer_mode {
        BufferMode::InPlace => (Partial::OutputThroughWindow, rank * elements),
        BufferMode::OutOfPlace => (Partial::Scratch, 0),
    };
    let mut builder = ScheduleBuilder::new(call, Algorithm::Ring, ring.scratch(partial));
    if size == 1 && elements > 0 && buffer_mode == BufferMode::OutOfPlace {
        builder.copy(Span::new(BufferId::Input, 0, elements), Span::new(BufferId::Output, 0, elements), &[]);
    }
    ring.reduce_scatter(&mut builder, partial, own);
    builder.finish()
}
