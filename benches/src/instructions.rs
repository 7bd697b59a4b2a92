//! Counts the instructions that a message costs on our side of libfabric's interface.

use efa_core::{Error, Result};

use crate::artifacts::Artifacts;
use crate::callgrind::count;
use crate::case::{Better, Target};
use crate::rounds::Outcome;

/// Operations that are counted, after some to warm up: the average of a thousand no longer changes.
const OPERATIONS: usize = 1000;

/// The bounds that `ci/instructions` holds every change to: a line has an operation, a colon and a number.
const BOUNDS: &str = include_str!("../instruction-bounds.txt");

/// The counted functions of `src/bin/instructions.rs`, and what they do.
const FUNCTIONS: [(&str, &str); 4] = [
    ("owned_send", "send"),
    ("borrowed_send", "send, borrowed"),
    ("owned_receive", "receive"),
    ("borrowed_receive", "receive, borrowed"),
];

/// Returns the names of the cases on a provider.
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
            target: Some(Target::OursAtMost(bound(operation)?)),
        });
    }
    Ok(outcomes)
}

/// Returns the bound of an operation.
fn bound(operation: &str) -> Result<f64> {
    let lines = BOUNDS.lines().filter(|line| !line.starts_with('#'));
    let bound = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == operation);
    bound.and_then(|(_, number)| number.trim().parse().ok()).ok_or_else(|| {
        Error::setting(
            format!("cannot judge the instructions of '{operation}'"),
            "benches/instruction-bounds.txt has no number for that operation",
            format!("add a line such as `{operation}: 200`"),
        )
    })
}

fn name(provider: &str, operation: &str) -> String {
    format!("instructions {provider} {operation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counted_operation_has_a_bound() {
        for (_, operation) in FUNCTIONS {
            assert!(bound(operation).is_ok_and(|bound| bound > 0.0), "{operation}");
        }
    }
}
