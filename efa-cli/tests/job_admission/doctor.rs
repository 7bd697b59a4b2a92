//! `efa doctor` in a job: all ranks together, one report.

use serde_json::Value;

use crate::launch::{Seen, doctors, efa, mpirun_doctors};

/// The one JSON object that a job's doctors print.
pub(crate) fn json(seen: &Seen) -> Value {
    let mut lines = seen.stdout.lines().filter(|line| line.starts_with('{'));
    let object = lines.next().unwrap_or_else(|| panic!("no JSON: {seen}"));
    assert_eq!(lines.next(), None, "one report for all: {seen}");
    serde_json::from_str(object).expect("JSON")
}

/// The pairs of a report as (from, to, open).
pub(crate) fn pairs(report: &Value) -> Vec<(u64, u64, Option<bool>)> {
    let pairs = report["pairs"].as_array().expect("a list of pairs");
    let number = |pair: &Value, name: &str| pair[name].as_u64().expect("a rank");
    pairs.iter().map(|pair| (number(pair, "from"), number(pair, "to"), pair["open"].as_bool())).collect()
}

/// Every ordered pair of so many ranks, open.
fn all_open(ranks: u64) -> Vec<(u64, u64, Option<bool>)> {
    let to = |from| (0..ranks).filter(move |&to| to != from).map(move |to| (from, to, Some(true)));
    (0..ranks).flat_map(to).collect()
}

#[test]
fn all_ranks_together_give_one_report_with_every_pair() {
    for provider in ["tcp", "shm", "sockets"] {
        let seen = doctors(4, &["--json", "--provider", provider]).args(["--no-prefix"]).run();
        assert_eq!(seen.status, Some(0), "{seen}");
        assert!(seen.stderr.is_empty(), "{seen}");
        let report = json(&seen);
        assert_eq!((report["admitted"].as_bool(), report["members"].as_u64()), (Some(true), Some(4)));
        assert_eq!(report["provider"], provider);
        assert_eq!(pairs(&report), all_open(4));
        for pair in report["pairs"].as_array().expect("a list") {
            assert!(pair["time_us"].as_f64().is_some_and(|time| time > 0.0), "{pair}");
        }
        assert_eq!(report["hosts"].as_array().map(Vec::len), Some(1), "{report}");
        assert_eq!(report["hosts"][0]["ranks"], serde_json::json!([0, 1, 2, 3]));
    }
}

#[test]
fn the_table_comes_once_and_has_the_matrix() {
    let seen = doctors(3, &["--provider", "tcp"]).args(["--no-prefix"]).run();
    assert_eq!(seen.status, Some(0), "{seen}");
    assert_eq!(seen.stdout.matches("admitted: 3 members").count(), 1, "{seen}");
    assert!(seen.stdout.contains("pairs tried on tcp: 6, all open"), "{seen}");
    assert_eq!(seen.stdout.matches("   from ").count(), 3, "{seen}");
    for check in
        ["libfabric", "providers", "efa-device", "efa-driver", "device-nodes", "memlock-limit", "huge-pages"]
    {
        assert!(seen.stdout.contains(check), "{check}: {seen}");
    }
}

#[test]
fn colours_are_for_terminals_and_for_those_who_insist() {
    let plain = doctors(2, &[]).args(["--no-prefix"]).run();
    assert!(!plain.stdout.contains('\x1b'), "{plain}");
    let forced = doctors(2, &[]).args(["--no-prefix"]).variable("CLICOLOR_FORCE", "1").run();
    assert!(forced.stdout.starts_with("\x1b[1;32madmitted"), "{forced}");
    assert!(forced.stdout.contains("\x1b[32mall open"), "{forced}");
    let not =
        doctors(2, &[]).variable("CLICOLOR_FORCE", "1").variable("NO_COLOR", "1").args(["--no-prefix"]).run();
    assert!(!not.stdout.contains('\x1b'), "{not}");
}

#[test]
fn a_refused_job_is_told_of_once_and_opens_nothing() {
    let seen = doctors(4, &["--json"]).args(["--no-prefix", "--provider", "efa"]).run();
    assert_eq!(seen.status, Some(1), "{seen}");
    let report = json(&seen);
    assert_eq!(report["findings"][0]["code"], "no-efa-device");
    assert_eq!(report["findings"][0]["members"].as_array().map(Vec::len), Some(4));
    assert_eq!(report.get("pairs"), None);
    assert!(report["hosts"].is_array());
}

#[test]
fn it_works_under_mpirun_too() {
    let Some(seen) = mpirun_doctors(3, &["--json", "--provider", "tcp"]) else { return };
    assert_eq!(seen.status, Some(0), "{seen}");
    assert_eq!(pairs(&json(&seen)), all_open(3));
    let seen = mpirun_doctors(3, &["--json", "--provider", "efa"]).expect("there is an mpirun");
    assert_eq!(seen.status, Some(1), "{seen}");
    assert_eq!(json(&seen)["admitted"], false);
}

#[test]
fn a_job_of_one_tries_nobody() {
    let seen = doctors(1, &["--json"]).args(["--no-prefix"]).run();
    assert_eq!(seen.status, Some(0), "{seen}");
    assert_eq!(json(&seen).get("pairs"), None);
}

#[test]
fn a_rank_that_never_comes_is_no_verdict() {
    let script = r#"[ "$EFA_RANK" = 1 ] && exec sleep 60; exec "$@""#;
    let seen = doctors(2, &[]).through(script).variable("EFA_ARRIVAL_TIMEOUT", "1").run();
    assert_eq!(seen.status, Some(3), "{seen}");
    assert!(seen.stderr.contains("rank 1 did not come"), "{seen}");
}

#[test]
fn it_works_with_the_variables_that_slurm_and_torchrun_set() {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("it has a name").trim().to_owned();
    // What is the same at both ranks, and the names of what is not.
    let slurm = [
        ("SLURM_NTASKS", "2"),
        ("SLURM_STEP_TASKS_PER_NODE", "2"),
        ("SLURM_STEP_NODELIST", &host),
        ("SLURM_JOB_ID", "4711"),
        ("SLURM_STEP_ID", "0"),
    ];
    let torchrun = [
        ("WORLD_SIZE", "2"),
        ("LOCAL_WORLD_SIZE", "2"),
        ("MASTER_ADDR", "127.0.0.1"),
        ("MASTER_PORT", "29711"),
    ];
    let launchers =
        [(&slurm[..], ["SLURM_PROCID", "SLURM_LOCALID"]), (&torchrun[..], ["RANK", "LOCAL_RANK"])];
    for (same, own) in launchers {
        let rank = |rank: &'static str| {
            let start = efa(&["doctor", "--json", "--provider", "tcp"]);
            let start = same.iter().fold(start, |start, (name, value)| start.variable(name, value));
            own.iter().fold(start, |start, name| start.variable(name, rank)).run()
        };
        let [first, second] = std::thread::scope(|scope| {
            ["0", "1"].map(|name| scope.spawn(move || rank(name))).map(|it| it.join().expect("no panic"))
        });
        assert_eq!((first.status, second.status), (Some(0), Some(0)), "{first}{second}");
        assert!(second.stdout.is_empty(), "{second}");
        assert_eq!(pairs(&json(&first)), all_open(2));
    }
}

#[test]
fn rules_that_count_for_nothing_are_a_usage_error_in_a_job_too() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../efa-admission/tests/admission/groups/right.json");
    let seen = doctors(3, &["--provider", "tcp", "--security-groups", rules]).run();
    let vendor = std::fs::read_to_string("/sys/devices/virtual/dmi/id/sys_vendor").unwrap_or_default();
    // On EC2 the file counts.
    if vendor.trim() != "Amazon EC2" {
        assert_eq!(seen.status, Some(2), "{seen}");
        assert_eq!(seen.stderr.matches("cannot use --security-groups").count(), 1, "{seen}");
    }
}

#[test]
fn a_job_is_drawn_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = folder.path().join("job.svg");
    let seen = doctors(3, &["--provider", "tcp", "--plot", picture.to_str().expect("text")]).run();
    assert_eq!(seen.status, Some(0), "{seen}");
    let svg = std::fs::read_to_string(&picture).expect("a picture");
    assert!(svg.contains(">3 members<") && svg.contains("rank 2"), "{svg}");
}
