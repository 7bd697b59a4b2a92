//! All-reduce by recursive doubling: in round `k`, exchange everything with the rank whose number differs in bit `k`.
//!
//! `ceil(log2 n) (L + B)`, and two more messages when `n` is no power of two: the ranks beyond the largest power of
//! two hand their elements to a neighbour first, and get the result from it. Least latency, for small messages; at
//! two ranks it is a plain exchange.
//!
//! Each round receives into fresh memory and reduces what is there *into what was received*, so that a reduction
//! never waits until a send is done with its buffer. Both partners of a round combine the same two partial results, the
//! one of the lower ranks first, so all ranks end with the same bits.

use super::{aligned, contribution};
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span, StepId};
use crate::collective::{Algorithm, BufferMode, Call};

/// What a rank beyond the power of two hands over.
const FOLD_SLOT: u32 = 0;
/// What it gets back.
const RESULT_SLOT: u32 = 1;
/// The exchange of the first round; the others follow.
const FIRST_ROUND_SLOT: u32 = 2;

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, elements, buffer_mode, .. } = call;
    let rounds = rounds(rank, size);
    let in_place = buffer_mode == BufferMode::InPlace;
    let output = Span::new(BufferId::Output, 0, elements);
    let mine = Span { buffer: contribution(call), ..output };
    // The last round receives into the output, unless the output is what it reduces.
    let in_scratch = if in_place && rounds.len() == 1 { 1 } else { rounds.len().saturating_sub(1) };
    let scratch = |round: usize| Span::new(BufferId::Scratch, round * aligned(elements), elements);
    let mut builder =
        ScheduleBuilder::new(call, Algorithm::RecursiveDoubling, in_scratch * aligned(elements));
    if elements == 0 {
        return builder.finish();
    }
    if folds(rank, size) {
        let sent = builder.send(rank + 1, FOLD_SLOT, mine, &[]);
        let after = if in_place { vec![sent] } else { vec![] };
        builder.receive(rank + 1, RESULT_SLOT, output, &after);
        return builder.finish();
    }
    if rounds.is_empty() && !in_place {
        builder.copy(mine, output, &[]);
    }

    // What is reduced so far, and the step that completed it.
    let (mut current, mut complete): (Span, Option<StepId>) = (mine, None);
    // In place, the steps that read this rank's contribution: the output is not written before them.
    let mut readers: Vec<StepId> = Vec::new();
    for (index, round) in rounds.iter().enumerate() {
        let sent = round.exchange.then(|| builder.send(round.peer, round.slot, current, complete.as_slice()));
        let landing = if index < in_scratch { scratch(index) } else { output };
        let free = if in_place && landing == output { readers.as_slice() } else { &[] };
        let received = builder.receive(round.peer, round.slot, landing, free);
        if in_place && rounds.len() == 1 {
            let after = Vec::from_iter([received].into_iter().chain(sent));
            complete = Some(match round.peer < rank {
                true => builder.reduce_before(landing, output, &after),
                false => builder.reduce(landing, output, &after),
            });
        } else {
            let after = Vec::from_iter([received].into_iter().chain(complete));
            complete = Some(match round.peer < rank {
                true => builder.reduce(current, landing, &after),
                false => builder.reduce_before(current, landing, &after),
            });
            current = landing;
        }
        if index == 0 {
            readers.extend(sent.into_iter().chain(complete));
        }
    }
    if rank > 0 && folds(rank - 1, size) {
        builder.send(rank - 1, RESULT_SLOT, output, complete.as_slice());
    }
    builder.finish()
}

/// One message to receive and reduce, from a peer that gets one back at once if it is an exchange.
struct Round {
    peer: usize,
    slot: u32,
    exchange: bool,
}

/// The largest power of two that `size` reaches, and how many ranks are beyond it.
fn power_and_extra(size: usize) -> (usize, usize) {
    let power = 1 << size.ilog2();
    (power, size - power)
}

/// True for the ranks that hand over to their right neighbour and only wait: the even ones of the first `2 extra`.
fn folds(rank: usize, size: usize) -> bool {
    let (_, extra) = power_and_extra(size);
    rank < 2 * extra && rank.is_multiple_of(2)
}

/// The rounds of a rank that does not fold: what it takes over, then one exchange per bit of its position among
/// those that are left.
fn rounds(rank: usize, size: usize) -> Vec<Round> {
    let (power, extra) = power_and_extra(size);
    if folds(rank, size) {
        return Vec::new();
    }
    let mut rounds = Vec::new();
    if rank < 2 * extra {
        rounds.push(Round { peer: rank - 1, slot: FOLD_SLOT, exchange: false });
    }
    let position = if rank < 2 * extra { rank / 2 } else { rank - extra };
    for bit in 0..power.ilog2() {
        let partner = position ^ (1 << bit);
        let peer = if partner < extra { 2 * partner + 1 } else { partner + extra };
        rounds.push(Round { peer, slot: FIRST_ROUND_SLOT + bit, exchange: true });
    }
    rounds
}
