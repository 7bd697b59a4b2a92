//! What killed jobs leave in shared memory is gone once the next one has run.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::job::{job, outcome, run_with};

/// Names of what lies in a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect()
}

/// A folder in /dev/shm, for the jobs of one test: others run at the same time.
fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("efa-test-").tempdir_in("/dev/shm").expect("there is a /dev/shm")
}

#[test]
fn a_job_that_ends_well_leaves_nothing() {
    let folder = folder();
    let name = folder.path().to_str().expect("UTF-8");
    let all = run_with(2, "exchange", "", &[("EFA_EMULATOR_DIR", name)]);
    assert!(all.success, "{}", all.all);
    assert_eq!(names(folder.path()), BTreeSet::new());
}

#[test]
fn what_killed_ranks_leave_is_gone_after_the_next_run() {
    let folder = folder();
    let name = folder.path().to_str().expect("UTF-8");
    // Both at once, so that neither is left to clear up after the other.
    let killed = run_with(2, "large", "kill=0@300; kill=1@300", &[("EFA_EMULATOR_DIR", name)]);
    assert!(!killed.success, "{}", killed.all);
    let next = run_with(2, "exchange", "", &[("EFA_EMULATOR_DIR", name)]);
    assert!(next.success, "{}", next.all);
    assert_eq!(names(folder.path()), BTreeSet::new());
}

#[test]
fn what_a_job_leaves_whose_launcher_was_killed_is_gone_after_the_next_run() {
    let folder = folder();
    let name = folder.path().to_str().expect("UTF-8");
    let mut launcher = job(2, "exchange", "delay=1,20000")
        .env("EFA_EMULATOR_DIR", name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("efa starts");
    let begun = Instant::now();
    while names(folder.path()).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the ranks never opened their devices");
        std::thread::sleep(Duration::from_millis(10));
    }
    launcher.kill().expect("it runs");
    launcher.wait().expect("it was killed");
    // The ranks die with the launcher, but not at the same instant.
    let next = || {
        let output = job(2, "exchange", "").env("EFA_EMULATOR_DIR", name).output().expect("efa starts");
        let next = outcome(2, &output);
        assert!(next.success, "{}", next.all);
        names(folder.path())
    };
    let begun = Instant::now();
    while next() != BTreeSet::new() {
        assert!(begun.elapsed() < Duration::from_secs(30), "left: {:?}", names(folder.path()));
    }
}
