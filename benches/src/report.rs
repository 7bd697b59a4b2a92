//! How outcomes are printed: a table for people, a line of JSON for programs.

use serde_json::json;

use crate::rounds::Outcome;

/// Returns the table's head, to match [`row`].
pub fn head() -> String {
    format!(
        "{:<36} {:>12} {:<18} {:>12} {:<12} {:>7}  {:<15} {}",
        "case", "ours", "peer", "theirs", "unit", "ratio", "middle half", "target"
    )
}

/// Returns one outcome as a row of the table.
pub fn row(outcome: &Outcome) -> String {
    let Outcome { case, ours, peer, theirs, unit, ratio, spread: (low, high), target, .. } = outcome;
    let spread = format!("{low:.3} to {high:.3}");
    let aim = target.map_or(String::new(), |target| {
        format!("{target}: {}", if outcome.meets_target() { "met" } else { "missed" })
    });
    let (ours, theirs) = (figure(*ours), figure(*theirs));
    format!("{case:<36} {ours:>12} {peer:<18} {theirs:>12} {unit:<12} {ratio:>7.3}  {spread:<15} {aim}")
        .trim_end()
        .to_owned()
}

/// Returns one outcome as a line of JSON, keys in the documented order.
pub fn json_line(outcome: &Outcome) -> String {
    let Outcome { case, ours, peer, theirs, unit, ratio, better, .. } = outcome;
    format!(
        r#"{{"case":{},"ours":{},"peer":{},"theirs":{},"unit":{},"ratio":{},"better":"{better}"}}"#,
        json!(case),
        json!(ours),
        json!(peer),
        json!(theirs),
        json!(unit),
        json!(ratio)
    )
}

/// Returns a figure with three decimals where they mean something.
fn figure(value: f64) -> String {
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use crate::case::{Better, Target};

    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            case: "latency tcp 64".into(),
            ours: 5.25,
            peer: "fabtests".into(),
            theirs: 5.0,
            unit: "us",
            ratio: 1.05,
            spread: (1.04, 1.0625),
            better: Better::Lower,
            target: Some(Target::AtMost(1.05)),
        }
    }

    #[test]
    fn a_line_of_json_has_the_documented_keys_in_the_documented_order() {
        assert_eq!(
            json_line(&outcome()),
            r#"{"case":"latency tcp 64","ours":5.25,"peer":"fabtests","theirs":5.0,"unit":"us","ratio":1.05,"better":"lower"}"#
        );
    }

    #[test]
    fn a_row_tells_ratio_spread_and_whether_the_target_is_met() {
        let row = row(&outcome());
        assert!(
            row.contains("1.050") && row.contains("1.040 to 1.062") && row.ends_with("<= 1.05: met"),
            "{row}"
        );
    }
}
