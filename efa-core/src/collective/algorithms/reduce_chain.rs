//! Reduce along a chain, in pieces: each rank adds its share to a piece and passes it on while it receives the next.
//!
//! About `(n - 1) (L + segment) + B`: every link carries the data once, and all links work at the same time. For large
//! messages.

use super::{LANDINGS, MAX_PIECES, aligned, pieces};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call, segment: usize) -> Schedule {
    let &Call { rank, size, root, elements, buffer_mode, .. } = call;
    let segment = segment.max(elements.div_ceil(MAX_PIECES)).min(elements.max(1));
    // The chain ends at the root, and each place receives from the next one.
    let place = (rank + size - root) % size;
    let receives = place + 1 < size;
    let through_window = rank != root || buffer_mode == BufferMode::InPlace;
    let window = if receives && through_window { LANDINGS.min(elements.div_ceil(segment)) } else { 0 };
    let mut builder = ScheduleBuilder::new(call, Algorithm::Chain, window * aligned(segment));
    let (next, previous) = ((rank + 1) % size, (rank + size - 1) % size);

    let mut emptied = Vec::new();
    for (k, mine) in pieces(call.contribution(), segment).enumerate() {
        let slot = k as u32;
        let output = Span { buffer: BufferId::Output, ..mine };
        if !receives {
            match rank == root {
                false => _ = builder.send(previous, slot, mine, &[]),
                true if mine != output => _ = builder.copy(mine, output, &[]),
                true => {}
            }
            continue;
        }
        if !through_window {
            let received = builder.receive(next, slot, output, &[]);
            builder.reduce_before(mine, output, &[received]);
            continue;
        }
        let landing = Span { buffer: BufferId::Scratch, start: k % window * aligned(segment), ..mine };
        let free = k.checked_sub(window).map(|oldest| emptied[oldest]);
        let received = builder.receive(next, slot, landing, free.as_slice());
        emptied.push(match rank == root {
            true => builder.reduce(landing, output, &[received]),
            false => {
                let reduced = builder.reduce_before(mine, landing, &[received]);
                builder.send(previous, slot, landing, &[reduced])
            }
        });
    }
    builder.finish()
}
