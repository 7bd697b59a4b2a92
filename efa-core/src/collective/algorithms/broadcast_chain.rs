//! Broadcast along a chain, in pieces: each rank passes a piece on while it receives the next.
//!
//! About `(n - 1) (L + segment) + B`: every link carries the data once, and all links work at the same time. For
//! large messages at few ranks.

use super::{MAX_PIECES, contribution, pieces};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call, segment: usize) -> Schedule {
    let &Call { rank, size, root, elements, buffer_mode, .. } = call;
    let mut builder = ScheduleBuilder::new(call, Algorithm::Chain, 0);
    let segment = segment.max(elements.div_ceil(MAX_PIECES));
    let place = (rank + size - root) % size;
    let next = (place + 1 < size).then_some((rank + 1) % size);
    let previous = (rank + size - 1) % size;
    let buffer = if rank == root { contribution(call) } else { BufferId::Output };

    for (slot, piece) in pieces(Span::new(buffer, 0, elements), segment).enumerate() {
        let slot = slot as u32;
        let received = (rank != root).then(|| builder.receive(previous, slot, piece, &[]));
        if let Some(next) = next {
            builder.send(next, slot, piece, received.as_slice());
        }
        if rank == root && buffer_mode == BufferMode::OutOfPlace {
            builder.copy(piece, Span { buffer: BufferId::Output, ..piece }, &[]);
        }
    }
    builder.finish()
}
