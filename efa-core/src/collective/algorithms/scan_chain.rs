//! Scan along the chain of ranks, in pieces: each rank adds its share to a piece and passes it on while it receives the
//! next.
//!
//! About `(n - 1) (L + segment) + B`. For large messages.

use super::{LANDINGS, MAX_PIECES, aligned, pieces};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call, Collective};

pub(super) fn schedule(call: &Call, segment: usize) -> Schedule {
    let &Call { rank, size, elements, buffer_mode, .. } = call;
    let exclusive = call.collective == Collective::ExclusiveScan;
    let in_place = buffer_mode == BufferMode::InPlace;
    let segment = segment.max(elements.div_ceil(MAX_PIECES)).min(elements.max(1));
    let (first, last) = (rank == 0, rank + 1 == size);
    // What arrives is the result already, or the output can take it and have the contribution added.
    let direct = !first && (if exclusive { last } else { !in_place });
    let window = if first || direct { 0 } else { LANDINGS.min(elements.div_ceil(segment)) };
    let mut builder = ScheduleBuilder::new(call, Algorithm::Chain, window * aligned(segment));

    let mut emptied = Vec::new();
    for (k, mine) in pieces(call.contribution(), segment).enumerate() {
        let slot = k as u32;
        let output = Span { buffer: BufferId::Output, ..mine };
        if first {
            if !last {
                builder.send(rank + 1, slot, mine, &[]);
            }
            if !exclusive && !in_place {
                builder.copy(mine, output, &[]);
            }
            continue;
        }
        if direct {
            let received = builder.receive(rank - 1, slot, output, &[]);
            if !exclusive {
                let reduced = builder.reduce(mine, output, &[received]);
                if !last {
                    builder.send(rank + 1, slot, output, &[reduced]);
                }
            }
            continue;
        }
        let landing = Span { buffer: BufferId::Scratch, start: k % window * aligned(segment), ..mine };
        let free = k.checked_sub(window).map(|oldest| emptied[oldest]);
        let received = builder.receive(rank - 1, slot, landing, free.as_slice());
        emptied.push(match (exclusive, in_place) {
            (false, _) => {
                let reduced = builder.reduce_before(landing, output, &[received]);
                if !last {
                    builder.send(rank + 1, slot, output, &[reduced]);
                }
                reduced
            }
            // The sum to pass on is made in the output, and what arrived comes there after it.
            (true, true) => {
                let reduced = builder.reduce_before(landing, output, &[received]);
                let sent = builder.send(rank + 1, slot, output, &[reduced]);
                builder.copy(landing, output, &[sent])
            }
            (true, false) => {
                let copied = builder.copy(landing, output, &[received]);
                let reduced = builder.reduce(mine, landing, &[copied]);
                builder.send(rank + 1, slot, landing, &[reduced])
            }
        });
    }
    builder.finish()
}
