//! `efa bench`, through the real binary. Few iterations: what is tested is that it measures, not how fast.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn efa(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_efa")).args(arguments).output().expect("efa starts")
}

/// `efa bench` with few iterations of a small and a large size.
fn bench(arguments: &[&str]) -> Output {
    let quick = ["--iterations", "5", "--warmup", "1", "--check"];
    efa(&[&["bench"], arguments, &quick].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn records(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The keys of a JSON object on one line, in their order; those of objects within it are left out.
fn keys(line: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut keys = Vec::new();
    for (index, piece) in line.split('"').enumerate() {
        let rest_is_value = index % 2 == 0;
        if rest_is_value {
            depth += piece.matches('{').count() as i32 - piece.matches('}').count() as i32;
        } else if depth == 1 && line.contains(&format!("\"{piece}\":")) {
            keys.push(piece);
        }
    }
    keys
}

#[test]
fn every_case_measures_on_tcp_and_on_shm() {
    for provider in ["tcp", "shm"] {
        for case in [
            "latency",
            "bandwidth",
            "bidirectional",
            "message-rate",
            "write",
            "read",
            "all-reduce",
            "broadcast",
        ] {
            let sizes = "8,100000";
            let output = bench(&[case, "--provider", provider, "--format", "json", "--sizes", sizes]);
            let records = records(&output);
            assert_eq!(records.len(), 2, "{case} on {provider}");
            for (record, size) in records.iter().zip([8, 100_000]) {
                assert_eq!((&record["bench"], &record["provider"]), (&case.into(), &provider.into()));
                assert_eq!(
                    (&record["size"], &record["ranks"], &record["iterations"]),
                    (&size.into(), &2.into(), &5.into())
                );
            }
        }
        let barrier = records(&bench(&["barrier", "-n", "3", "--provider", provider, "--format", "json"]));
        assert!(barrier[0]["time_us"]["p50"].as_f64().expect("a time") > 0.0);
    }
}

#[test]
fn json_has_the_documented_keys_in_their_order() {
    let line = |arguments: &[&str]| {
        let output =
            bench(&[arguments, &["--sizes", "1K", "--format", "json", "--provider", "tcp"]].concat());
        text(&output.stdout)
    };
    assert_eq!(keys(&line(&["latency"])), ["bench", "provider", "ranks", "size", "iterations", "time_us"]);
    assert_eq!(keys(&line(&["bandwidth"])), ["bench", "provider", "ranks", "size", "iterations", "mb_per_s"]);
    assert_eq!(
        keys(&line(&["all-reduce"])),
        [
            "bench",
            "provider",
            "ranks",
            "algorithm",
            "dtype",
            "op",
            "size",
            "iterations",
            "time_us",
            "algbw_gb_per_s",
            "busbw_gb_per_s",
            "wrong"
        ]
    );
}

#[test]
fn all_types_and_operations_reduce_right() {
    for dtype in ["f16", "bf16", "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"] {
        let output = bench(&["all-reduce", "-n", "3", "--dtype", dtype, "--sizes", "64", "--format", "json"]);
        let records = records(&output);
        assert_eq!((&records[0]["dtype"], &records[0]["wrong"]), (&dtype.into(), &0.into()));
    }
    for op in ["sum", "product", "min", "max", "average"] {
        for algorithm in ["ring", "recursive-doubling", "all-pairs"] {
            let arguments = [
                "all-reduce",
                "-n",
                "4",
                "--op",
                op,
                "--algorithm",
                algorithm,
                "--sizes",
                "40,4K",
                "--format",
                "json",
            ];
            for record in records(&bench(&arguments)) {
                assert_eq!(
                    (&record["op"], &record["algorithm"], &record["wrong"]),
                    (&op.into(), &algorithm.into(), &0.into())
                );
            }
        }
    }
}

#[test]
fn a_message_of_nothing_has_a_latency() {
    let records = records(&bench(&["latency", "--sizes", "0", "--format", "json"]));
    assert!(records[0]["time_us"]["min"].as_f64().expect("a time") > 0.0);
    let output = bench(&["message-rate", "--sizes", "0", "--format", "csv"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 2);
}

#[test]
fn a_picture_is_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latency.svg");
    let output = bench(&["latency", "--sizes", "8:64", "--plot", path.to_str().expect("a path")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(std::fs::read_to_string(path).expect("a file").contains("Latency of tagged messages"));
}

#[test]
fn a_path_that_no_picture_can_go_to_is_refused_before_measuring() {
    for (path, why) in [("/nonexistent/x.svg", "/nonexistent"), ("x.png", "pictures are SVG")] {
        let output = bench(&["latency", "--sizes", "8:64", "--plot", path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(output.stdout.is_empty() && text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
}

#[test]
fn help_on_a_command_can_be_asked_for_by_name() {
    let output = efa(&["help", "bench"]);
    assert!(output.status.success() && text(&output.stdout).contains("--algorithm"));
}

#[test]
fn a_range_whose_steps_miss_its_end_says_so_on_stderr() {
    let output = bench(&["latency", "--sizes", "8:100:8"]);
    assert!(text(&output.stderr).contains("the sizes end at 64 B"), "{}", text(&output.stderr));
}

#[test]
fn in_a_job_it_measures_with_the_ranks_of_the_job() {
    let myself = env!("CARGO_BIN_EXE_efa");
    let job = [
        "run",
        "-n",
        "3",
        "--provider",
        "tcp",
        "--no-prefix",
        "--",
        myself,
        "bench",
        "barrier",
        "--format",
        "json",
    ];
    let records = records(&efa(&[&job[..], &["--iterations", "5"]].concat()));
    assert_eq!(records.len(), 1, "one rank speaks for all");
    assert_eq!((&records[0]["ranks"], &records[0]["provider"]), (&3.into(), &"tcp".into()));

    let other_number = efa(&["run", "-n", "3", "--", myself, "bench", "barrier", "-n", "2"]);
    assert_eq!(other_number.status.code(), Some(2));
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
    command.args(["bench", "latency", "--iterations", "10"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("efa starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(141), String::new()));
}

#[test]
fn what_makes_no_sense_is_told_once() {
    for arguments in [
        &["latency", "-n", "3"][..],
        &["latency", "--dtype", "f32"],
        &["bandwidth", "--sizes", "0:8"],
        &["all-reduce", "--sizes", "7"],
        &["all-reduce", "--algorithm", "magic"],
        &["all-reduce", "--dtype", "f31"],
        &["latency", "--sizes", "8:x"],
        &["latency", "--provider", "verbs"],
        &["latency", "--iterations", "0"],
        &["dance"],
    ] {
        let output = efa(&[&["bench"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(text(&output.stderr).lines().count(), 3, "{arguments:?}\n{}", text(&output.stderr));
    }
}

#[test]
fn a_provider_that_is_not_here_is_an_error_that_lists_those_that_are() {
    if text(&efa(&["info", "--json"]).stdout).contains("\"provider\":\"efa\"") {
        return;
    }
    let output = bench(&["latency", "--provider", "efa"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let stderr = text(&output.stderr);
    assert!(stderr.contains("efa"), "{stderr}");
}
