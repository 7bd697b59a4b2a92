//! All-to-all by pairwise exchange: in round `k`, exchange blocks with the rank whose number and this one's add up to `k`.
//!
//! `(n - 1) L + (n - 1)/n B`, where `B` is all blocks of a rank together: each rank deals with one other at a time, so that
//! no link and no receiver is asked too much. For long blocks at many ranks. In place, a block waits in scratch until the
//! one that it takes the place of is sent.

use super::{aligned, contribution};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

/// Each rank meets each other once.
const SLOT: u32 = 0;

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, buffer_mode, .. } = call;
    let in_place = buffer_mode == BufferMode::InPlace;
    let leaving = |to| {
        let block = call.block(to);
        Span::new(contribution(call), block.start, block.len())
    };
    let arriving = |from| {
        let block = call.result_block(from);
        Span::new(BufferId::Output, block.start, block.len())
    };
    let longest = (0..size).filter(|&from| from != rank).map(|from| arriving(from).len).max();
    let room = if in_place { aligned(longest.unwrap_or(0)) } else { 0 };
    let mut builder = ScheduleBuilder::new(call, Algorithm::Pairwise, room);
    // What the round before did.
    let mut before = Vec::new();
    for round in 0..size {
        let other = (round + size - rank) % size;
        if other == rank {
            if !in_place && leaving(rank).len > 0 {
                builder.copy(leaving(rank), arriving(rank), &[]);
            }
            continue;
        }
        let landing =
            if in_place { Span::new(BufferId::Scratch, 0, arriving(other).len) } else { arriving(other) };
        let received = (landing.len > 0).then(|| builder.receive(other, SLOT, landing, &before));
        let sent = (leaving(other).len > 0).then(|| builder.send(other, SLOT, leaving(other), &before));
        let mut done = Vec::from_iter(received.into_iter().chain(sent));
        if in_place && landing.len > 0 {
            done = vec![builder.copy(landing, arriving(other), &done)];
        }
        // Nothing at all may pass between two ranks; the next round then waits for the one before.
        if !done.is_empty() {
            before = done;
        }
    }
    builder.finish()
}
