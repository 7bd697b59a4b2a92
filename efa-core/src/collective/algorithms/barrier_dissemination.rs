//! Barrier by dissemination: in round `k`, tell the rank `2^k` further on all that was heard so far.
//!
//! `ceil(log2 n)` rounds of one empty message each, for any `n`. After round `k` a rank has heard, directly or not,
//! from the `2^(k+1) - 1` ranks before it.

use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, Call};

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, .. } = call;
    let mut builder = ScheduleBuilder::new(call, Algorithm::Dissemination, 0);
    let nothing = Span::new(BufferId::Output, 0, 0);
    let mut heard = Vec::new();
    let rounds = size.next_power_of_two().ilog2();
    for round in 0..rounds {
        let distance = 1 << round;
        // Earlier messages may arrive later, so each round waits for all before it.
        builder.send((rank + distance) % size, round, nothing, &heard);
        heard.push(builder.receive((rank + size - distance) % size, round, nothing, &[]));
    }
    builder.finish()
}
