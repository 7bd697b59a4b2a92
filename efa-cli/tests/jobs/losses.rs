//! Ranks that are killed or stopped: the others name them, and nothing of them stays.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{PART, PATIENCE, VICTIM, efa, everything, job, said};

/// Starts a job, kills the victim with SIGKILL once it says that it is ready, and returns what came of it, and the
/// victim's process number.
fn kill_one(provider: &str, part: &str) -> (Output, String) {
    let mut child: Child = job(provider, part).spawn().expect("efa starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
    let (mut stdout, mut process) = (String::new(), String::new());
    for line in lines.by_ref() {
        let line = line.expect("UTF-8");
        if let Some((_, victim)) = line.split_once("victim: ") {
            // Let the others get to where they need it.
            std::thread::sleep(Duration::from_millis(100));
            // The shell's own: a program of that name is not on every machine.
            let kill = Command::new("sh").args(["-c", "kill -KILL $0", victim]).status().expect("sh starts");
            assert!(kill.success());
            process = victim.to_owned();
            break;
        }
        stdout += &format!("{line}\n");
    }
    let begun = Instant::now();
    for line in lines {
        stdout += &format!("{}\n", line.expect("UTF-8"));
    }
    assert!(begun.elapsed() < PATIENCE, "the others hung");
    let mut output = child.wait_with_output().expect("efa ends");
    output.stdout = stdout.into_bytes();
    (output, process)
}

/// Starts a job, stops the victim once it says that it is ready, and kills it when the others have said something.
fn stop_one(command: &mut Command) -> Output {
    let mut child: Child = command.spawn().expect("efa starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
    let signal = |name: &str, process: &str| {
        let kill = Command::new("sh").args(["-c", "kill $0 $1", name, process]).status().expect("sh starts");
        assert!(kill.success());
    };
    let (mut stdout, mut victim, mut told) = (String::new(), None, 0);
    while let Some(line) = lines.next().map(|line| line.expect("UTF-8")) {
        if let Some((_, process)) = line.split_once("victim: ") {
            signal("-STOP", process);
            victim = Some(process.to_owned());
        }
        told += usize::from(line.contains("said: "));
        stdout += &format!("{line}\n");
        if told == 3
            && let Some(victim) = victim.take()
        {
            signal("-KILL", &victim);
        }
    }
    let mut output = child.wait_with_output().expect("efa ends");
    output.stdout = stdout.into_bytes();
    output
}

/// The files in /dev/shm of endpoints of a process.
fn files_of(process: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir("/dev/shm").expect("there is a /dev/shm");
    let of_process = |path: &PathBuf| {
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        name.strip_prefix("efa-ep.").and_then(|rest| rest.split('.').nth(1)) == Some(process)
    };
    files.map(|file| file.expect("it can be read").path()).filter(of_process).collect()
}

#[test]
fn a_killed_rank_is_named_by_all_the_others_whatever_they_wait_for() {
    for provider in ["tcp", "shm"] {
        for part in ["victim", "receive", "send"] {
            let (output, _) = kill_one(provider, part);
            let all = everything(&output);
            assert!(!output.status.success(), "{all}");
            for (rank, said) in said(&output).into_iter().enumerate().filter(|&(rank, _)| rank != VICTIM) {
                let named = said.contains(&format!("Some({VICTIM})"));
                assert!(named, "{provider}, {part}, rank {rank} said: {said}\n{all}");
            }
        }
    }
}

#[test]
fn a_stopped_rank_is_named_before_it_counts_as_dead_and_no_other_is_blamed() {
    let size = "the all-reduce of 1048576 u64 (8388608 bytes), number 2 of this communicator, failed after";
    std::thread::scope(|scope| {
        for (provider, part, what) in
            [("tcp", "victim", size), ("shm", "victim", size), ("tcp", "receive", "")]
        {
            scope.spawn(move || {
                let mut command = job(provider, part);
                let output = stop_one(command.env("EFA_TIMEOUT", "8"));
                let (all, said) = (everything(&output), said(&output));
                for rank in [0, 1, 3] {
                    let text = &said[rank];
                    let named = text.contains("rank 2 (") && text.contains("no sign of life for");
                    assert!(named && text.contains(what), "{provider}, {part}, rank {rank}: {text}\n{all}");
                    let blamed = text.contains("is dead") || text.contains("is lost");
                    assert!(!blamed, "{provider}, {part}, rank {rank}: {text}\n{all}");
                }
            });
        }
    });
}

#[test]
fn a_rank_0_that_is_killed_before_it_listens_is_not_waited_for() {
    let begun = Instant::now();
    let script = "test $EFA_RANK != 0 || kill -KILL $$; exec \"$@\"";
    let output = efa()
        .args(["run", "-n", "3", "--", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--ignored", "--exact", "--nocapture", "rank"])
        .env(PART, "join")
        .stdin(Stdio::null())
        .output()
        .expect("efa starts");
    let all = everything(&output);
    assert!(all.contains("rank 0") && all.contains("SIGKILL"), "{all}");
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}: {all}", begun.elapsed());
}

#[test]
fn a_rank_that_dies_after_rank_0_has_left_is_named() {
    std::thread::scope(|scope| {
        for provider in ["tcp", "shm"] {
            scope.spawn(move || {
                let (output, _) = kill_one(provider, "rank 0 leaves");
                let (all, said) = (everything(&output), said(&output));
                for rank in [1, 3] {
                    let named = said[rank].starts_with(&format!("Some({VICTIM})"));
                    assert!(named, "{provider}, rank {rank} said: {}\n{all}", said[rank]);
                }
            });
        }
    });
}

#[test]
fn what_a_killed_rank_leaves_in_shared_memory_is_gone_after_the_run() {
    for part in ["receive", "open"] {
        let (output, victim) = kill_one("shm", part);
        assert_eq!(files_of(&victim), Vec::<PathBuf>::new(), "{part}: {}", everything(&output));
    }
}

#[test]
fn time_for_which_all_ranks_are_stopped_counts_against_none() {
    let mut child: Child = job("tcp", "stopped").spawn().expect("efa starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
    let mut ranks = Vec::new();
    let mut stdout = String::new();
    while ranks.len() < 4 {
        let line = lines.next().expect("all ranks tell their process").expect("UTF-8");
        ranks.extend(line.split_once("process: ").map(|(_, process)| process.to_owned()));
        stdout += &format!("{line}\n");
    }
    let signal = |name: &str| {
        let kill = Command::new("sh")
            .args(["-c", "kill \"$@\"", "sh", name])
            .args(&ranks)
            .status()
            .expect("sh starts");
        assert!(kill.success());
    };
    // Longer than silence may last, and than the operation may take.
    signal("-STOP");
    std::thread::sleep(Duration::from_secs(9));
    signal("-CONT");
    for line in lines {
        stdout += &format!("{}\n", line.expect("UTF-8"));
    }
    let mut output = child.wait_with_output().expect("efa ends");
    output.stdout = stdout.into_bytes();
    assert_eq!(said(&output), ["met again"; 4], "{}", everything(&output));
}
