//! All-to-all after Bruck: in round `k`, send the rank `2^k` further on, in one message, all blocks whose way still has
//! that distance in it.
//!
//! `ceil(log2 n) (L + B/2)`, where `B` is all blocks of a rank together, and copies besides: least latency, for short
//! blocks of equal length. A block travels from rank to rank through scratch, which holds `log2 n` times what the rank
//! brings.

use super::{aligned, contribution};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span, StepId};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, elements, buffer_mode, .. } = call;
    let rounds = size.next_power_of_two().ilog2();
    // The distances that a round covers a part of.
    let travelling = |round: u32| (1..size).filter(move |distance| distance >> round & 1 == 1);
    let most = (0..rounds).map(|round| travelling(round).count()).max().unwrap_or(0);
    let message = aligned(most * elements);
    let mut builder = ScheduleBuilder::new(call, Algorithm::Bruck, 2 * rounds as usize * message);
    if elements == 0 {
        return builder.finish();
    }
    let packed = |round: u32, index: usize, count: usize| {
        Span::new(BufferId::Scratch, 2 * round as usize * message + index * elements, count * elements)
    };
    let arrived = |round: u32, index: usize, count: usize| {
        let span = packed(round, index, count);
        Span { start: span.start + message, ..span }
    };
    let block = |buffer, rank: usize| Span::new(buffer, rank % size * elements, elements);

    // Where the block is that still has to go, or has come, this far; and the step that brought it there.
    let mut places: Vec<(Span, Option<StepId>)> =
        (0..size).map(|distance| (block(contribution(call), rank + distance), None)).collect();
    // First of all the blocks of this rank are packed, each for the round that it leaves in: in place they are gone
    // afterwards.
    let mut packs: Vec<Vec<StepId>> = vec![Vec::new(); rounds as usize];
    let mut left = vec![None; size];
    for round in 0..rounds {
        for (index, distance) in travelling(round).enumerate() {
            if distance.trailing_zeros() == round {
                let step = builder.copy(places[distance].0, packed(round, index, 1), &[]);
                packs[round as usize].push(step);
                left[(rank + distance) % size] = Some(step);
            }
        }
    }
    for round in 0..rounds {
        let mut ready = std::mem::take(&mut packs[round as usize]);
        for (index, distance) in travelling(round).enumerate() {
            let (place, brought) = places[distance];
            if distance.trailing_zeros() != round {
                ready.push(builder.copy(place, packed(round, index, 1), brought.as_slice()));
            }
        }
        let count = travelling(round).count();
        let distance = 1 << round;
        builder.send((rank + distance) % size, round, packed(round, 0, count), &ready);
        let from = (rank + size - distance) % size;
        let received = builder.receive(from, round, arrived(round, 0, count), &[]);
        for (index, distance) in travelling(round).enumerate() {
            places[distance] = (arrived(round, index, 1), Some(received));
            if distance >> round == 1 {
                // It has come all the way.
                let from = (rank + size - distance) % size;
                let emptied = left[from].filter(|_| buffer_mode == BufferMode::InPlace);
                let after = Vec::from_iter([received].into_iter().chain(emptied));
                builder.copy(arrived(round, index, 1), block(BufferId::Output, from), &after);
            }
        }
    }
    if buffer_mode == BufferMode::OutOfPlace {
        builder.copy(block(BufferId::Input, rank), block(BufferId::Output, rank), &[]);
    }
    builder.finish()
}
