//! Scan by recursive doubling: in round `k`, send what is combined so far to the rank `2^k` further on.
//!
//! `ceil(log2 n) (L + B)`, for small messages. After round `k` a rank has combined the contributions of the `2^(k+1)` ranks
//! up to itself, in the order of the ranks; fewer if there are no more.
//!
//! Each round receives into fresh memory and combines what is there *into what was received*, so that no send is
//! disturbed.

use super::aligned;
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span, StepId};
use crate::collective::{Algorithm, BufferMode, Call, Collective};

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, elements, buffer_mode, .. } = call;
    let exclusive = call.collective == Collective::ExclusiveScan;
    let rounds = size.next_power_of_two().ilog2();
    let place = aligned(elements);
    let scratch = |index: usize| Span::new(BufferId::Scratch, index * place, elements);
    // One place for each round, and one for what an exclusive scan in place must keep.
    let mut builder = ScheduleBuilder::new(call, Algorithm::RecursiveDoubling, (rounds as usize + 1) * place);
    if elements == 0 {
        return builder.finish();
    }
    let (mine, output) = (call.contribution(), Span::new(BufferId::Output, 0, elements));
    let in_place = buffer_mode == BufferMode::InPlace;
    // What is combined up to this rank, and the step that completed it.
    let (mut current, mut complete): (Span, Option<StepId>) = (mine, None);
    // The send of the contribution: in place, the output is not written before it is over.
    let mut sent = None;
    // The step that last changed the output.
    let mut result: Option<StepId> = None;
    if exclusive && in_place && rank > 0 {
        complete = Some(builder.copy(mine, scratch(rounds as usize), &[]));
        current = scratch(rounds as usize);
        result = complete;
    }
    for round in 0..rounds {
        let distance = 1 << round;
        if rank + distance < size {
            let step = builder.send(rank + distance, round, current, complete.as_slice());
            sent = sent.or(Some(step));
        }
        if rank < distance {
            continue;
        }
        let last = rank < 2 * distance;
        let landing = if last && !exclusive && !in_place { output } else { scratch(round as usize) };
        let received = builder.receive(rank - distance, round, landing, &[]);
        let mut after = Vec::from_iter([received].into_iter().chain(complete));
        if exclusive {
            let before = Vec::from_iter([received].into_iter().chain(result));
            let changed = match round {
                0 => builder.copy(landing, output, &before),
                _ => builder.reduce_before(landing, output, &before),
            };
            result = Some(changed);
            after.push(changed);
            // Nobody asks for what is combined any more.
            if rank + 2 * distance >= size {
                continue;
            }
        }
        complete = Some(builder.reduce(current, landing, &after));
        current = landing;
    }
    if !exclusive && current != output {
        let after = Vec::from_iter(complete.into_iter().chain(sent.filter(|_| in_place)));
        builder.copy(current, output, &after);
    }
    builder.finish()
}
