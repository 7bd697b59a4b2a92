//! What a message costs on our side of libfabric's interface, in instructions.

use efa_core::Result;

use crate::artifacts::Artifacts;
use crate::callgrind::count;
use crate::case::{Better, Target};
use crate::rounds::Outcome;

/// Operations that are counted, after some to warm up: the average of a thousand no longer changes.
const OPERATIONS: usize = 1000;

/// At most so many instructions of ours for a send or a receive with its completion.
const TARGET: Target = Target::OursAtMost(250.0);

/// The counted functions of `src/bin/instructions.rs`, and what they do.
const FUNCTIONS: [(&str, &str); 4] = [
    ("owned_send", "send"),
    ("borrowed_send", "send, borrowed"),
    ("owned_receive", "receive"),
    ("borrowed_receive", "receive, borrowed"),
];

/// The names of the cases on a provider.
pub fn names(provider: &str) -> Vec<String> {
    FUNCTIONS.iter().map(|(_, operation)| name(provider, operation)).collect()
}

/// Counts the cases on a provider whose name contains `chosen`. "Theirs" is what libfabric executes meanwhile.
///
/// # Errors
/// When valgrind isn't there, or the program fails under it.
pub fn outcomes(artifacts: &Artifacts, provider: &str, chosen: &str) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for (function, operation) in FUNCTIONS {
        let case = name(provider, operation);
        if !case.contains(chosen) {
            continue;
        }
        let count = count(&artifacts.instructions, &[provider], function, OPERATIONS, &artifacts.folder)?;
        let ratio = count.ours / count.libfabric;
        outcomes.push(Outcome {
            case,
            ours: count.ours,
            peer: "libfabric itself".into(),
            theirs: count.libfabric,
            unit: "instructions",
            ratio,
            spread: (ratio, ratio),
            better: Better::Lower,
            target: Some(TARGET),
        });
    }
    Ok(outcomes)
}

fn name(provider: &str, operation: &str) -> String {
    format!("instructions {provider} {operation}")
}
