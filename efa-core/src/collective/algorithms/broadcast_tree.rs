//! Broadcast along a binomial tree: every rank that has the data passes it on, so their number doubles.
//!
//! `ceil(log2 n) (L + B)`: least latency, for small messages.

use super::contribution;
use crate::collective::schedule::{BufferId, Schedule, ScheduleBuilder, Span};
use crate::collective::{Algorithm, BufferMode, Call};

pub(super) fn schedule(call: &Call) -> Schedule {
    let &Call { rank, size, root, elements, buffer_mode, .. } = call;
    let mut builder = ScheduleBuilder::new(call, Algorithm::Tree, 0);
    if elements == 0 {
        return builder.finish();
    }
    let output = Span::new(BufferId::Output, 0, elements);
    let place = (rank + size - root) % size;
    let rank_at = |place: usize| (place + root) % size;

    let (data, received, mut distance) = if rank == root {
        (Span { buffer: contribution(call), ..output }, None, size.next_power_of_two())
    } else {
        // The parent's place is this one without its lowest bit; the places below that bit are the subtree.
        let lowest = place & place.wrapping_neg();
        (output, Some(builder.receive(rank_at(place - lowest), 0, output, &[])), lowest)
    };
    // The largest subtree has the longest way to go, so it comes first.
    while distance > 1 {
        distance /= 2;
        if place + distance < size {
            builder.send(rank_at(place + distance), 0, data, received.as_slice());
        }
    }
    if rank == root && buffer_mode == BufferMode::OutOfPlace {
        builder.copy(data, output, &[]);
    }
    builder.finish()
}
