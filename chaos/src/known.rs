//! Defects that are known and not mended yet: combinations that a run leaves out, or whose violations don't fail it.

use crate::plan::{Carrier, Fault, Phase, Plan};
use crate::verdict::Violation;

/// A combination, with its defect; `None` stands for any.
#[allow(dead_code, reason = "the list is empty at times")]
struct Known {
    carrier: Option<Carrier>,
    phase: Option<Phase>,
    fault: Option<Fault>,
    /// What is tolerated; without it the combination is left out, because it ends in a hang or a crash.
    tolerated: Option<Violation>,
    defect: &'static str,
}

/// The list; empty when everything is mended.
const KNOWN: &[Known] = &[];

/// Returns the defect because of which a round is left out.
pub(crate) fn left_out(plan: &Plan) -> Option<&'static str> {
    matching(plan).find(|known| known.tolerated.is_none()).map(|known| known.defect)
}

/// Returns the defect because of which a violation does not fail the run.
pub(crate) fn tolerated(plan: &Plan, violation: Violation) -> Option<&'static str> {
    matching(plan).find(|known| known.tolerated == Some(violation)).map(|known| known.defect)
}

fn matching(plan: &Plan) -> impl Iterator<Item = &'static Known> {
    KNOWN.iter().filter(|known| {
        known.carrier.is_none_or(|carrier| carrier == plan.carrier)
            && known.phase.is_none_or(|phase| phase == plan.phase)
            && known.fault.is_none_or(|fault| fault == plan.fault)
    })
}
