//! All-to-all by all pairs: everybody sends each block directly to the rank that it is for, all at once.
//!
//! `L + (n - 1)/n B`, where `B` is all blocks of a rank together, in a single round with `n - 1` messages at each rank. In
//! place, blocks wait in scratch until those that they take the place of are sent.

use super::{aligned, contribution};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

/// There is one message from each rank to each other.
const SLOT: u32 = 0;

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, buffer_mode, .. } = call;
    let in_place = buffer_mode == BufferMode::InPlace;
    let leaving = |to| {
        let block = call.block(to);
        Span::new(contribution(call), block.start, block.len())
    };
    let mut waiting = 0;
    let mut steps = Vec::new();
    for distance in 1..size {
        let (to, from) = ((rank + distance) % size, (rank + size - distance) % size);
        let block = call.result_block(from);
        let arriving = Span::new(BufferId::Output, block.start, block.len());
        let landing =
            if in_place { Span { buffer: BufferId::Scratch, start: waiting, ..arriving } } else { arriving };
        waiting += if in_place { aligned(arriving.len) } else { 0 };
        steps.push((to, from, arriving, landing));
    }
    let mut builder = ScheduleBuilder::new(call, Algorithm::AllPairs, waiting);
    // At each distance everybody has one to send to and one to receive from: nobody waits for a third.
    let (mut sends, mut arrived) = (vec![None; size], Vec::new());
    for (to, from, arriving, landing) in steps {
        if arriving.len > 0 {
            let received = builder.receive(from, SLOT, landing, &[]);
            arrived.push((from, arriving, landing, received));
        }
        if leaving(to).len > 0 {
            sends[to] = Some(builder.send(to, SLOT, leaving(to), &[]));
        }
    }
    if in_place {
        for (from, arriving, landing, received) in arrived {
            let after = Vec::from_iter([received].into_iter().chain(sends[from]));
            builder.copy(landing, arriving, &after);
        }
    } else if leaving(rank).len > 0 {
        let own = call.result_block(rank);
        builder.copy(leaving(rank), Span::new(BufferId::Output, own.start, own.len()), &[]);
    }
    builder.finish()
}
