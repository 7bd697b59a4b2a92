//! Whole jobs of four ranks, started by `efa run` as users start them. Each rank is this test program again, running
//! only [`rank`], with the part that it shall play in an environment variable.

mod ends;
mod losses;
mod parts;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Names the part that the ranks play.
const PART: &str = "EFA_TEST_PART";
/// Which rank is killed.
const VICTIM: usize = 2;
/// Long enough for a loaded machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn efa() -> Command {
    Command::new(env!("CARGO_BIN_EXE_efa"))
}

/// `efa run` with four ranks that play a part.
fn job(provider: &str, part: &str) -> Command {
    let mut command = efa();
    command
        .args(["run", "-n", "4", "--provider", provider, "--grace", "60", "--"])
        // When one rank ends the launcher tells the others to end, which would leave them no time to say anything.
        .args(["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--ignored", "--exact", "--nocapture", "rank"])
        .env(PART, part)
        .env("EFA_TIMEOUT", "60")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What each rank said, by rank; it is told from what the test harness prints by a mark.
fn said(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut said = vec![String::new(); 4];
    for line in text.lines() {
        if let Some((who, what)) = line.split_once("said: ") {
            let rank: usize = who[1..2].parse().expect("the launcher puts the rank first");
            said[rank].push_str(what);
        }
    }
    said
}

fn everything(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A rank of the jobs.
#[test]
#[ignore = "runs as a rank of the jobs that the other tests here start"]
fn rank() {
    if let Ok(part) = std::env::var(PART) {
        parts::play(&part);
    }
}

#[test]
fn four_ranks_add_up_on_every_provider() {
    for provider in ["tcp", "shm", "sockets"] {
        let output = job(provider, "sum").output().expect("efa starts");
        assert!(output.status.success(), "{}", everything(&output));
        assert_eq!(said(&output), vec![format!("6 on {provider}"); 4]);
    }
}

/// A rank that is done early meets the program before at the rendezvous, whose other ranks still leave.
#[test]
fn programs_in_a_row_under_one_launcher_do_not_mix() {
    let bench = "\"$0\" bench all-reduce --sizes 8 --iterations 2 --warmup 0 --format json";
    let script = format!("for program in 1 2 3 4; do {bench} || exit 1; done");
    for provider in ["tcp", "shm"] {
        let output = efa()
            .args(["run", "-n", "5", "--provider", provider, "--", "sh", "-c", &script])
            .arg(env!("CARGO_BIN_EXE_efa"))
            .stdin(Stdio::null())
            .output()
            .expect("efa starts");
        assert!(output.status.success(), "{}", everything(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 4, "{}", everything(&output));
    }
}

#[test]
fn run_gives_every_rank_the_value_of_its_closure() {
    let output = job("tcp", "run").output().expect("efa starts");
    assert!(output.status.success(), "{}", everything(&output));
    assert_eq!(said(&output), ["Ok(4)"; 4]);
}

#[test]
fn a_full_shared_memory_is_an_error_that_says_so() {
    let inside = r#"mount -t tmpfs -o size=20m none /dev/shm && exec "$@""#;
    let mut command = Command::new("unshare");
    let allowed = command.args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !allowed {
        println!("NOT TESTED: a mount namespace of its own needs root");
        return;
    }
    let plain = job("shm", "join");
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", inside, "sh"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env(PART, "join")
        .stdin(Stdio::null())
        .output()
        .expect("unshare starts");
    let all = everything(&output);
    let told = said(&output).iter().filter(|said| said.contains("/dev/shm")).count();
    assert!(told > 0, "{all}");
    assert!(!all.contains("SIGBUS") && !all.contains("panicked"), "{all}");
    assert!(said(&output).iter().all(|said| !said.is_empty() && !said.contains("joined")), "{all}");
}
