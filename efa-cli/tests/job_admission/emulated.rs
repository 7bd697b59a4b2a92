//! Closed paths between emulated EFAs. They need libfabric's efa provider, which the feature `vendored-efa` builds.

use std::time::{Duration, Instant};

use crate::doctor::{json, pairs};
use crate::launch::{doctors, efa, job};

/// Whether the ranks find an emulated EFA; if not, it is told.
fn is_here() -> bool {
    let seen =
        efa(&["run", "-n", "1", "--emulate-efa", "--", env!("CARGO_BIN_EXE_efa"), "info", "--json"]).run();
    let here = seen.stdout.contains("\"provider\":\"efa\"");
    if !here {
        println!("NOT TESTED: no emulated EFA here; build with --features efa-cli/vendored-efa ({seen})");
    }
    here
}

const EMULATED: [&str; 3] = ["--emulate-efa", "--provider", "efa"];
/// The path is given 10 s; the rest is starting and ending, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_closed_path_refuses_the_job_and_names_the_pair_once() {
    if !is_here() {
        return;
    }
    // How many ranks, the plan, the pair, and what the device says about it.
    let cases = [
        (2, "unreachable=0>1", "no message from rank 0 (", "reaches rank 1 (", "the peer can't be reached"),
        (4, "unreachable=0>1", "no message from rank 0 (", "reaches rank 1 (", "the peer can't be reached"),
        (
            4,
            "unresponsive=2>3; timeout=3",
            "no message from rank 2 (",
            "reaches rank 3 (",
            "the peer does not respond",
        ),
    ];
    for (ranks, plan, from, to, status) in cases {
        let begun = Instant::now();
        let seen = job(ranks, "join").args(EMULATED).variable("EFA_EMULATOR_PLAN", plan).run();
        assert!(begun.elapsed() < PATIENCE, "{:?}: {seen}", begun.elapsed());
        assert_eq!(seen.status, Some(1), "{plan}: {seen}");
        assert_eq!(seen.stderr.matches("path-closed").count(), 1, "{plan}: {seen}");
        assert_eq!(seen.stderr.matches("no message from").count(), 1, "{plan}: {seen}");
        for text in [from, to, status] {
            assert!(seen.stderr.contains(text), "{plan}: {text}: {seen}");
        }
        assert!(!seen.stdout.contains("joined"), "{plan}: {seen}");
    }
}

#[test]
fn the_doctor_shows_the_closed_path_among_the_open_ones() {
    if !is_here() {
        return;
    }
    for (plan, closed) in [("unreachable=0>1", (0, 1)), ("unresponsive=1>2; timeout=3", (1, 2))] {
        let options = ["--emulate-efa", "--provider", "efa", "--no-prefix"];
        let seen = doctors(4, &["--json"]).args(options).variable("EFA_EMULATOR_PLAN", plan).run();
        assert_eq!(seen.status, Some(1), "{plan}: {seen}");
        let report = json(&seen);
        assert_eq!(report["findings"].as_array().map(Vec::len), Some(1), "{plan}: {report}");
        assert_eq!(report["findings"][0]["code"], "path-closed");
        let pairs = pairs(&report);
        assert_eq!(pairs.len(), 12);
        for (from, to, open) in pairs {
            if (from, to) == closed {
                assert_eq!(open, Some(false), "{plan}: {report}");
            } else if (to, from) != closed {
                assert_eq!(open, Some(true), "{plan}, {from} to {to}: {report}");
            }
        }
    }
}

#[test]
fn all_is_well_without_faults() {
    if !is_here() {
        return;
    }
    let seen = doctors(4, &["--json"]).args(["--emulate-efa", "--provider", "efa", "--no-prefix"]).run();
    assert_eq!(seen.status, Some(0), "{seen}");
    assert!(pairs(&json(&seen)).iter().all(|pair| pair.2 == Some(true)), "{seen}");
}
