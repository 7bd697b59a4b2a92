//! All-gather around a ring.
//!
//! `(n - 1) L + (n - 1)/n B`, where `B` is all blocks together: every rank sends and receives the least possible, and
//! every block is received where it belongs.

use super::ring::{Ring, unconditional};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call, segment: usize) -> Schedule {
    let &Call { rank, buffer_mode, .. } = call;
    let ring = Ring::new(call, segment);
    let mut builder = ScheduleBuilder::new(call, Algorithm::Ring, 0);
    let output = ring.pieces_of(BufferId::Output, rank);
    match buffer_mode {
        BufferMode::InPlace => ring.all_gather(&mut builder, unconditional(output), &[], 0),
        BufferMode::OutOfPlace => {
            let input = ring.pieces_at(call.contribution());
            ring.all_gather(&mut builder, unconditional(input.clone()), &[], 0);
            // Last, so that the sends are under way while this copies.
            for (source, into) in input.into_iter().zip(output) {
                builder.copy(source, into, &[]);
            }
        }
    }
    builder.finish()
}
