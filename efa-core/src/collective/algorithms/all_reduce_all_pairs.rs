//! All-reduce by all pairs: everybody sends everything to everybody, and combines what it gets.
//!
//! `L + (n - 1) B`, in a single round: of a few ranks and a few bytes it is the fastest, as no rank waits for one that
//! waits for another. That counts twice where ranks share cores, and each wait costs a turn of the scheduler.
//!
//! All ranks combine the contributions in the order of the ranks, and so end with the same bits.

use super::{aligned, contribution};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

/// There is one message from each rank to each other.
const SLOT: u32 = 0;

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, elements, buffer_mode, .. } = call;
    let in_scratch = |other: usize| Span::new(BufferId::Scratch, other * aligned(elements), elements);
    let mut builder = ScheduleBuilder::new(call, Algorithm::AllPairs, size * aligned(elements));
    if elements == 0 {
        return builder.finish();
    }
    let output = Span::new(BufferId::Output, 0, elements);
    let (mut mine, mut kept) = (Span { buffer: contribution(call), ..output }, None);
    if buffer_mode == BufferMode::InPlace && size > 1 {
        // The output is going to be overwritten while it is still being sent.
        kept = Some(builder.copy(mine, in_scratch(rank), &[]));
        mine = in_scratch(rank);
    }
    // At each distance everybody has one to send to and one to receive from: nobody waits for a third.
    let mut arrived = vec![None; size];
    for distance in 1..size {
        let from = (rank + size - distance) % size;
        arrived[from] = Some(builder.receive(from, SLOT, in_scratch(from), &[]));
        builder.send((rank + distance) % size, SLOT, mine, kept.as_slice());
    }
    let mut combined = kept;
    for (from, arrived) in arrived.into_iter().enumerate() {
        let source = if from == rank { mine } else { in_scratch(from) };
        if source == output {
            continue;
        }
        let after = Vec::from_iter(combined.into_iter().chain(arrived));
        combined = Some(match from {
            0 => builder.copy(source, output, &after),
            _ => builder.reduce(source, output, &after),
        });
    }
    builder.finish()
}
