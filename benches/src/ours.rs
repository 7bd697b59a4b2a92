//! Our own figures: `efa bench`, run as anybody would run it, and its JSON.

use efa_core::{Error, Result};
use serde_json::Value;

use crate::artifacts::Artifacts;
use crate::case::{Case, Measure};
use crate::process::{guarded, run};

/// Gives the rank that it becomes a processor of its own: `sh -c PIN sh CPU0 CPU1 PROGRAM ARGS…`.
const PIN: &str =
    r#"cpu=$1; [ "$EFA_LOCAL_RANK" = 0 ] || cpu=$2; shift 2; exec taskset --cpu-list "$cpu" "$@""#;

/// Runs `efa bench` once between two ranks, started by `efa run`, and returns its figure.
///
/// # Errors
/// When a rank fails or runs past its deadline, or the JSON isn't as documented.
pub fn measure(artifacts: &Artifacts, case: &Case, cpus: [Option<usize>; 2]) -> Result<f64> {
    let what = format!("efa bench {}", case.name());
    let mut command = guarded(&artifacts.efa, None);
    command.args(["run", "-n", "2", "--no-prefix", "--"]);
    if let [Some(first), Some(second)] = cpus {
        command.args(["sh", "-c", PIN, "sh", &first.to_string(), &second.to_string()]);
    }
    command.arg(&artifacts.efa);
    command.args(["bench", case.measure.name(), "--provider", &case.provider, "--format", "json"]);
    command.args(["--sizes", &case.size.to_string()]);
    // `efa bench` counts windows.
    let [iterations, warmup] = [case.iterations, case.warmup].map(|count| (count / case.window).to_string());
    command.args(["--iterations", &iterations, "--warmup", &warmup]);
    let printed = run(&mut command, &what)?;
    let path: &[&str] = match case.measure {
        Measure::Latency => &["time_us", "mean"],
        Measure::Bandwidth => &["mb_per_s"],
        Measure::MessageRate => &["messages_per_s"],
    };
    figure(&printed, path, &what)
}

/// Runs `efa bench all-reduce` of eight bytes on `ranks` ranks, which it starts itself, and returns the median in
/// microseconds.
///
/// # Errors
/// As [`measure`].
pub fn all_reduce(artifacts: &Artifacts, provider: &str, ranks: usize) -> Result<f64> {
    let what = format!("efa bench all-reduce on {ranks} ranks over {provider}");
    let mut command = guarded(&artifacts.efa, None);
    command.args(["bench", "all-reduce", "-n", &ranks.to_string(), "--provider", provider, "--sizes", "8"]);
    command.args(["--iterations", "2000", "--warmup", "200", "--format", "json"]);
    figure(&run(&mut command, &what)?, &["time_us", "mean"], &what)
}

/// Follows the path of keys in the one line of JSON among what was printed.
fn figure(printed: &str, path: &[&str], what: &str) -> Result<f64> {
    let line = printed.lines().find(|line| line.starts_with('{')).unwrap_or("");
    let document: Value = serde_json::from_str(line).unwrap_or(Value::Null);
    let value = path.iter().fold(&document, |value, key| &value[*key]);
    match value.as_f64() {
        Some(figure) if figure > 0.0 => Ok(figure),
        _ => Err(Error::setting(
            format!("cannot read what {what} printed"),
            format!("there is no {} above zero in '{}'", path.join("."), printed.trim()),
            "run it alone to see more",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_found_along_its_path() {
        let printed = r#"{"bench":"latency","size":64,"time_us":{"min":5.1,"mean":5.5}}"#;
        assert_eq!(figure(printed, &["time_us", "mean"], "it").unwrap(), 5.5);
        assert_eq!(figure("{\"mb_per_s\":4310.2}\n", &["mb_per_s"], "it").unwrap(), 4310.2);
    }

    #[test]
    fn a_line_without_the_figure_is_quoted() {
        let error = figure("{\"bench\":\"latency\"}", &["time_us", "mean"], "efa bench").unwrap_err();
        assert!(error.to_string().contains("no time_us.mean above zero"), "{error}");
    }
}
