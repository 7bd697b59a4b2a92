//! `efa info`, through the real binary.

use std::process::{Command, Output};

use serde_json::Value;

fn info(options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_efa")).arg("info").args(options).output().expect("efa starts")
}

#[test]
fn it_lists_the_library_the_devices_and_the_verdict() {
    let output = info(&[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.starts_with("libfabric "), "{text}");
    let job = "a job here: shm carries the data of 1 rank on 1 host: all ranks share memory; libfabric ";
    for word in ["provider", "tcp", "shm", "max message", job, "this host alone:"] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}

#[test]
fn json_is_one_object_with_the_same() {
    let output = info(&["--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 1);
    let info: Value = serde_json::from_str(&text).expect("JSON");
    for key in ["version", "origin", "path", "reason"] {
        assert!(info["libfabric"][key].is_string(), "{key} is missing in {text}");
    }
    assert!(info["libfabric"]["skipped"].is_array(), "{text}");
    let devices = info["devices"].as_array().expect("a list");
    let tcp = devices.iter().find(|device| device["provider"] == "tcp").expect("tcp is everywhere");
    assert!(tcp["limits"]["max_message_size"].is_null(), "tcp has no limit: {text}");
    assert!(tcp["limits"]["inject_size"].as_u64().expect("a number") > 0);
    assert_eq!(info["job"]["provider"], "shm", "{text}");
    assert_eq!(info["job"]["libfabric"][0]["path"], info["libfabric"]["path"], "{text}");
    assert!(info.get("admission").is_some());
}

#[test]
fn it_tells_which_launcher_started_it() {
    let launcher = |command: &mut Command| {
        let output = command.args(["info", "--json"]).output().expect("efa starts");
        let info: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        info["launcher"].as_str().expect("text").to_owned()
    };
    let efa = || Command::new(env!("CARGO_BIN_EXE_efa"));
    assert_eq!(launcher(&mut efa()), "none: a job of one");
    let batch =
        launcher(efa().envs([("SLURM_JOB_ID", "4242"), ("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")]));
    assert!(batch.contains("srun starts the ranks"), "{batch}");
    let rank = launcher(efa().args(["run", "-n", "1", "--no-prefix", "--", env!("CARGO_BIN_EXE_efa")]));
    assert!(rank.starts_with("efa run: rank 0 of 1"), "{rank}");
    // A launcher inside a rank of another one.
    let inner = [("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")];
    let local = [("OMPI_COMM_WORLD_LOCAL_RANK", "0"), ("OMPI_COMM_WORLD_LOCAL_SIZE", "1")];
    let variables = inner.iter().chain(&local).map(|(name, value)| format!("{name}={value}"));
    let mut nested = efa();
    nested
        .args(["run", "-n", "1", "--no-prefix", "--", "sh", "-c", "env \"$@\"; true", "sh"])
        .args(variables);
    assert_eq!(launcher(nested.arg(env!("CARGO_BIN_EXE_efa"))), "Open MPI: rank 0 of 1");
}

#[test]
fn a_libfabric_that_can_not_be_used_is_told_and_nothing_takes_its_place() {
    let commands: [&[&str]; 2] = [&["info"], &["bench", "all-reduce", "-n", "2", "--sizes", "8:8"]];
    for command in commands {
        let output = Command::new(env!("CARGO_BIN_EXE_efa"))
            .args(command)
            .env("EFA_LIBFABRIC", "/nonexistent/libfabric.so.1")
            .output()
            .expect("efa starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{command:?}: {said}");
        for word in
            ["cannot use EFA_LIBFABRIC=/nonexistent/libfabric.so.1", "No such file or directory", "`builtin`"]
        {
            assert!(said.contains(word), "'{word}' is missing in {said}");
        }
    }
}
