//! All-gather by recursive doubling: in round `k`, exchange all blocks so far with the rank whose number differs in bit
//! `k`. For a power of two of ranks.
//!
//! `log2 n L + (n - 1)/n B`, where `B` is all blocks together: least latency, and the least traffic too, but most of it
//! goes to distant ranks. Every block is received where it belongs.

use super::tree::elements_of;
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, buffer_mode, .. } = call;
    let mut builder = ScheduleBuilder::new(call, Algorithm::RecursiveDoubling, 0);
    let mine = call.contribution();
    let own = Span::new(BufferId::Output, call.block(rank).start, mine.len);
    let mut there = Vec::new();
    for round in 0..size.ilog2() {
        let partner = rank ^ (1 << round);
        let blocks = |rank: usize| {
            let first = rank >> round << round;
            let elements = elements_of(call, &(first..first + (1 << round)));
            Span::new(BufferId::Output, elements.start, elements.len())
        };
        // The own block is sent from where it lies, while it is copied.
        let have = if round == 0 { mine } else { blocks(rank) };
        if have.len > 0 {
            builder.send(partner, round, have, &there);
        }
        if blocks(partner).len > 0 {
            there.push(builder.receive(partner, round, blocks(partner), &[]));
        }
        if round == 0 && buffer_mode == BufferMode::OutOfPlace && mine.len > 0 {
            there.push(builder.copy(mine, own, &[]));
        }
    }
    if size == 1 && buffer_mode == BufferMode::OutOfPlace && mine.len > 0 {
        builder.copy(mine, own, &[]);
    }
    builder.finish()
}
