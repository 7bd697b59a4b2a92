//! Messages that are longer than the buffers they meet.

use crate::job::{Outcome, run};

/// Every receive is told, every send is over, and the two go on.
fn is_told(outcome: &Outcome, capacities: &[usize]) {
    assert!(outcome.success, "{}", outcome.all);
    let expected: String = capacities.iter().map(|capacity| format!("truncated at {capacity}\n")).collect();
    assert_eq!(outcome.said[1], expected, "{}", outcome.all);
    assert_eq!(outcome.said[0], "sent whole\n".repeat(capacities.len()), "{}", outcome.all);
}

#[test]
fn a_message_that_is_too_long_is_an_error_of_the_receive_and_harms_nothing_else() {
    is_told(&run(2, "too long", ""), &[200, 10_000]);
}

#[test]
fn a_message_that_is_too_long_by_far_is_an_error_of_the_receive_and_harms_nothing_else() {
    for plan in ["", "seed=1; reorder=0.3"] {
        is_told(&run(2, "too long by far", plan), &[104_857, 1_048_576, 0, 1_000_000]);
    }
}

#[test]
fn memory_that_is_read_only_can_be_sent() {
    let outcome = run(2, "constant", "");
    assert!(outcome.success, "{}", outcome.all);
    assert_eq!(outcome.said, ["all right\n", "all right\n"], "{}", outcome.all);
}
