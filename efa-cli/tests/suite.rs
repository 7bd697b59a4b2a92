//! `efa bench suite`, through the real binary, with `--quick`: what is tested is that the folder is complete and right, not
//! how fast anything is.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The arguments of the program that [`fabtest`] plays.
const ARGUMENTS: &str = "EFA_TEST_ARGUMENTS";

const CASES: [&str; 9] = [
    "latency",
    "bandwidth",
    "bidirectional",
    "message-rate",
    "write",
    "read",
    "all-reduce",
    "broadcast",
    "barrier",
];

fn efa() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
    command.env_remove("EFA_PROVIDER").env("EFA_TIMEOUT", "60").stdin(Stdio::null());
    command
}

fn suite(folder: &Path, options: &[&str]) -> Command {
    let mut command = efa();
    command.args(["bench", "suite", "--quick", "--report"]).arg(folder).args(options);
    command
}

fn finished(mut command: Command) -> (Output, String) {
    let output = command.output().expect("efa starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn json(folder: &Path, name: &str) -> Value {
    serde_json::from_str(&text(folder, name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The pictures that the page shows are there, and the two pages show the same.
fn is_complete(folder: &Path) {
    let (html, markdown) = (text(folder, "report.html"), text(folder, "report.md"));
    let shown: Vec<&str> =
        html.split("<img src=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(!shown.is_empty());
    for picture in shown {
        assert!(text(folder, picture).contains("<svg"), "{picture}");
        assert!(markdown.contains(&format!("]({picture})")), "{picture}");
    }
    assert_eq!(html.matches("<h2>").count(), markdown.matches("\n## ").count());
    assert_eq!(html.matches("<table>").count(), markdown.matches("\n| --").count());
}

/// A folder with programs of these names, which are to be found before others.
fn programs(scripts: &[(&str, String)]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, script) in scripts {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }
    let path = format!("{}:{}", folder.path().display(), env::var("PATH").expect("a path"));
    (folder, path)
}

/// A script that becomes [`fabtest`].
fn fabtest_script() -> String {
    let program = env::current_exe().expect("this program");
    format!("{ARGUMENTS}=\"$*\" exec '{}' --ignored --exact --nocapture fabtest", program.display())
}

/// Plays a program of fabtests: the server waits for its client, and the client prints a table.
#[test]
#[ignore = "runs in place of a program of fabtests"]
fn fabtest() {
    let Ok(arguments) = env::var(ARGUMENTS) else { return };
    let words: Vec<&str> = arguments.split(' ').collect();
    assert_eq!(words[..2], ["-p", "tcp"], "{arguments}");
    let port: u16 = words
        .iter()
        .find_map(|word| word.strip_prefix("-E="))
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("no port in {arguments}"));
    // `-I` and its number come last at the server.
    let server = words.last().filter(|word| word.contains('.'));
    match server {
        None => {
            let listener = TcpListener::bind(("0.0.0.0", port)).expect("a free port");
            // Whoever looks whether the port is taken does not connect.
            let (mut client, _) = listener.accept().expect("a client");
            client.read_to_end(&mut Vec::new()).expect("the client ends");
        }
        Some(host) => {
            let mut server = TcpStream::connect((*host, port)).expect("the server listens");
            server.write_all(b"done").expect("the server reads");
            // The test runner on a single core begins the line with the name of the test.
            println!();
            println!("bytes   iters   total       time     MB/sec    usec/xfer   Mxfers/sec");
            println!("64      20      2.5k        0.00s      8.00       8.00       0.13");
            println!("4k      20      160k        0.00s    512.00       8.00       0.13");
        }
    }
}

#[test]
fn the_folder_has_the_page_and_a_file_for_each_case() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("new/report");
    let (output, said) = finished(suite(&folder, &["--provider", "shm"]));
    assert!(output.status.success() && output.stdout.is_empty(), "{said}");
    assert!(said.contains("report.html"), "{said}");
    is_complete(&folder);
    for case in CASES {
        let records = json(&folder, &format!("{case}.json"));
        let records = records.as_array().expect("a list");
        assert_eq!(records.len(), if case == "barrier" { 1 } else { 3 }, "{case}");
        assert!(records.iter().all(|record| record["bench"] == case && record["provider"] == "shm"));
    }
    assert_eq!(json(&folder, "doctor.json")["admitted"], true);
    assert_eq!(json(&folder, "job.json")["provider"], "shm");
    assert!(json(&folder, "info.json")["devices"].as_array().is_some_and(|devices| !devices.is_empty()));
    let page = text(&folder, "report.md");
    for part in [
        "shm carries the data of 2 ranks",
        "admitted: 2 members",
        "ran with --quick",
        "There are none to compare with",
    ] {
        assert!(page.contains(part), "'{part}' is missing in {page}");
    }
}

#[test]
fn programs_that_are_installed_are_run_and_their_figures_stand_beside_ours() {
    let scratch = tempfile::tempdir().expect("a folder");
    let osu =
        "test \"$1\" = -m && echo '# OSU MPI Test' && echo '64   3.5' && echo '65536  40.25'".to_owned();
    let (_programs, path) = programs(&[
        ("fi_rdm_tagged_pingpong", fabtest_script()),
        ("fi_rdm_tagged_bw", "echo no device >&2; exit 3".into()),
        ("osu_latency", osu),
        ("mpirun", "shift 2; exec \"$@\"".into()),
    ]);
    let mut command = suite(scratch.path(), &["--provider", "tcp"]);
    command.env("PATH", path);
    let (output, said) = finished(command);
    assert!(output.status.success(), "{said}");
    is_complete(scratch.path());
    let others = json(scratch.path(), "others.json");
    let figures = |program: &str| {
        let results = others["results"].as_array().expect("a list");
        let found = results.iter().find(|it| it["program"] == program);
        found.unwrap_or_else(|| panic!("no {program} in {others}"))["figures"].to_string()
    };
    assert_eq!(figures("fi_rdm_tagged_pingpong"), "[[64,8.0],[4096,8.0]]");
    assert_eq!(figures("osu_latency"), "[[64,3.5],[65536,40.25]]");
    let missing = others["missing"].to_string();
    for part in [
        "fi_rdm_tagged_bw: its server ended at once (exit status: 3): no device",
        "osu_bw: it is not on PATH",
    ] {
        assert!(missing.contains(part), "'{part}' is missing in {missing}");
    }
    let page = text(scratch.path(), "report.md");
    assert!(
        page.lines().any(|line| line.starts_with("| latency | 4 KiB |") && line.contains("| 8.00 |")),
        "{page}"
    );
}

#[test]
fn in_a_job_of_three_cases_between_two_ranks_are_measured_between_two() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut command = efa();
    command
        .args(["run", "-n", "3", "--provider", "tcp", "--", env!("CARGO_BIN_EXE_efa")])
        .args(["bench", "suite", "--quick", "--report"])
        .arg(scratch.path());
    let (output, said) = finished(command);
    assert!(output.status.success(), "{said}");
    is_complete(scratch.path());
    assert_eq!(json(scratch.path(), "latency.json")[0]["ranks"], 2);
    assert_eq!(json(scratch.path(), "all-reduce.json")[0]["ranks"], 3);
}

#[test]
fn a_job_of_one_has_the_collectives_only() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (output, said) = finished(suite(scratch.path(), &["-n", "1"]));
    assert!(output.status.success(), "{said}");
    is_complete(scratch.path());
    assert!(scratch.path().join("barrier.json").exists() && !scratch.path().join("latency.json").exists());
}

#[test]
fn a_folder_that_holds_something_is_an_error_of_usage_and_stays_as_it_is() {
    let scratch = tempfile::tempdir().expect("a folder");
    fs::write(scratch.path().join("mine"), "mine").expect("a file");
    let mut in_a_job = efa();
    in_a_job
        .args(["run", "-n", "2", "--", env!("CARGO_BIN_EXE_efa"), "bench", "suite", "--report"])
        .arg(scratch.path());
    for command in [suite(scratch.path(), &[]), in_a_job] {
        let (output, said) = finished(command);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("the folder is not empty"), "{said}");
    }
    assert_eq!(fs::read_dir(scratch.path()).expect("the folder").count(), 1);
}
