//! The command's options about the emulated device, and what is wrong with an environment.

use std::process::Output;

use serde_json::Value;

use crate::job::{efa, run_with};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn as_many_devices_are_listed_as_were_asked_for() {
    for (options, count) in [(&["--emulate-efa"][..], 1), (&["--emulate-efa", "--devices", "4"], 4)] {
        let output = efa()
            .args(["run", "-n", "1", "--no-prefix"])
            .args(options)
            .args(["--", env!("CARGO_BIN_EXE_efa"), "info", "--json"])
            .output()
            .expect("efa starts");
        let info: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        let devices: Vec<_> = info["devices"].as_array().expect("a list").iter().collect();
        let ours: Vec<_> = devices.into_iter().filter(|device| device["provider"] == "efa").collect();
        assert_eq!(ours.len(), count, "{}", text(&output));
        let places: std::collections::BTreeSet<_> =
            ours.iter().map(|device| device["pci_address"].as_str().expect("a PCI address")).collect();
        assert_eq!(places.len(), count, "each device has a place of its own: {places:?}");
    }
}

#[test]
fn a_bench_checks_its_results_and_says_that_the_speed_is_not_efas() {
    let output = efa()
        .args(["bench", "all-reduce", "-n", "2", "--provider", "efa", "--emulate-efa", "--check"])
        .args(["--sizes", "8:1M", "--iterations", "50", "--format", "json"])
        .output()
        .expect("efa starts");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("emulated device: not EFA's speed"), "{text}");
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let wrong: Vec<_> = lines.iter().filter_map(|line| line.get("wrong")).collect();
    assert!(!wrong.is_empty() && wrong.iter().all(|wrong| **wrong == 0), "{text}");
}

#[test]
fn a_missing_library_is_told_with_the_place_and_how_to_build_it() {
    let output = efa()
        .args(["run", "-n", "1", "--emulate-efa", "--", "true"])
        .env("EFA_EMULATOR_LIBRARY", "/nonexistent/libefa_emulator.so")
        .output()
        .expect("efa starts");
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    for word in ["/nonexistent/libefa_emulator.so", "cargo build --release -p efa-emulator"] {
        assert!(text.contains(word), "'{word}' is missing in {text}");
    }
}

#[test]
fn a_libfabric_without_the_provider_is_told_and_nothing_else_is_used_instead() {
    let outcome = run_with(2, "everything", "", &[("FI_PROVIDER", "tcp")]);
    assert!(!outcome.all.contains("all right"), "{}", outcome.all);
    for word in ["FI_PROVIDER=tcp", "vendored-efa"] {
        assert!(outcome.all.contains(word), "'{word}' is missing in {}", outcome.all);
    }
}

#[test]
fn a_wrong_plan_is_told_and_the_ranks_find_no_device() {
    let outcome = run_with(2, "everything", "reorder=2", &[]);
    assert!(!outcome.all.contains("all right"), "{}", outcome.all);
    for word in ["EFA_EMULATOR_PLAN", "reorder=2"] {
        assert!(outcome.all.contains(word), "'{word}' is missing in {}", outcome.all);
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_told_and_nobody_hangs() {
    let outcome = run_with(2, "everything", "", &[("EFA_EMULATOR_DIR", "/proc/nowhere")]);
    assert!(!outcome.all.contains("all right"), "{}", outcome.all);
    for word in ["/proc/nowhere", "EFA_EMULATOR_DIR"] {
        assert!(outcome.all.contains(word), "'{word}' is missing in {}", outcome.all);
    }
}

#[test]
fn auto_without_the_efa_that_is_there_says_what_left_it_out() {
    let output = efa()
        .args(["run", "-n", "2", "--emulate-efa", "--", env!("CARGO_BIN_EXE_efa"), "bench", "barrier"])
        .args(["--iterations", "1"])
        .envs([("FI_PROVIDER", "shm,tcp"), ("EFA_LOG", "info")])
        .output()
        .expect("efa starts");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for part in ["shm carries the data of 2 ranks", "libfabric offers none with FI_PROVIDER=shm,tcp"] {
        assert!(text.contains(part), "'{part}' is missing in {text}");
    }
}

#[test]
fn the_report_says_that_the_efa_is_emulated_and_which_others_are_not_used() {
    let output = efa()
        .args(["run", "-n", "2", "--emulate-efa", "--devices", "4", "--provider", "efa", "--"])
        .args([env!("CARGO_BIN_EXE_efa"), "bench", "barrier", "--iterations", "1"])
        .env("EFA_LOG", "info")
        .output()
        .expect("efa starts");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for part in
        ["efa (emulated) carries the data of 2 ranks", "not taken: 3 of 4 EFAs (a rank uses one device"]
    {
        assert!(text.contains(part), "'{part}' is missing in {text}");
    }
}

#[test]
fn the_suite_says_that_its_figures_are_not_those_of_an_efa() {
    let scratch = tempfile::tempdir().expect("a folder");
    let output = efa()
        .args(["bench", "suite", "--quick", "--provider", "efa", "--emulate-efa", "--report"])
        .arg(scratch.path())
        .output()
        .expect("efa starts");
    assert!(output.status.success(), "{}", text(&output));
    let page = std::fs::read_to_string(scratch.path().join("report.md")).expect("a page");
    for part in [
        "efa (emulated) carries the data of 2 ranks",
        "The EFA is an emulated device",
        "this job's EFA is emulated",
    ] {
        assert!(page.contains(part), "'{part}' is missing in {page}");
    }
    assert!(scratch.path().join("latency.json").exists());
}
