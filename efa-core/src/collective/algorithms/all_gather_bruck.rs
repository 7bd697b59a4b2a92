//! All-gather after Bruck: in round `k`, send all blocks so far to the rank `2^k` before, and receive as many from the rank
//! `2^k` after. For any number of ranks.
//!
//! `ceil(log2 n) L + (n - 1)/n B`, where `B` is all blocks together. Every block is received where it belongs; blocks that
//! go around the end of the ranks take a message of their own for that.

use super::tree::{elements_of, wrapped};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, buffer_mode, .. } = call;
    let mut builder = ScheduleBuilder::new(call, Algorithm::Bruck, 0);
    let mine = call.contribution();
    let own = Span::new(BufferId::Output, call.block(rank).start, mine.len);
    let mut there = Vec::new();
    if buffer_mode == BufferMode::OutOfPlace && mine.len > 0 {
        there.push(builder.copy(mine, own, &[]));
    }
    // Blocks from this rank's on that are here.
    let (mut have, mut slot) = (1, 0);
    while have < size {
        let (distance, count) = (have, have.min(size - have));
        let arriving = wrapped(rank + distance, count, size);
        let leaving = wrapped(rank, count, size);
        let span = |ranks| {
            let elements = elements_of(call, ranks);
            Span::new(BufferId::Output, elements.start, elements.len())
        };
        let before = there.len();
        for (slot, ranks) in (slot..).zip(&arriving) {
            if span(ranks).len > 0 {
                there.push(builder.receive((rank + distance) % size, slot, span(ranks), &[]));
            }
        }
        for (slot, ranks) in (slot..).zip(&leaving) {
            let first = span(ranks);
            let (data, after) = if distance == 1 { (mine, &[][..]) } else { (first, &there[..before]) };
            if data.len > 0 {
                builder.send((rank + size - distance) % size, slot, data, after);
            }
        }
        have += count;
        slot += 2;
    }
    builder.finish()
}
