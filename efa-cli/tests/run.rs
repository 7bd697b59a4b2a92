//! `efa run`, through the real binary and small shell programs.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Long enough for a loaded machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// `efa run` with the given options, each rank running `script` in a shell.
fn efa_run(options: &[&str], script: &str) -> Command {
    // Whoever starts the tests in the background may have made them ignore signals, and the launcher with them.
    let mut command = Command::new("env");
    command
        .args(["--default-signal", env!("CARGO_BIN_EXE_efa"), "run"])
        .args(options)
        .args(["--", "sh", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output_of(options: &[&str], script: &str) -> Output {
    efa_run(options, script).output().expect("efa starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lines(bytes: &[u8]) -> BTreeSet<String> {
    text(bytes).lines().map(str::to_owned).collect()
}

fn set<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.map(str::to_owned).into()
}

#[test]
fn a_rank_0_that_succeeds_without_joining_the_job_is_not_waited_for() {
    let script = format!("[ $EFA_RANK = 0 ] || exec {} bench barrier", env!("CARGO_BIN_EXE_efa"));
    let begun = Instant::now();
    // The others give up after a minute by themselves.
    let output =
        efa_run(&["-n", "3"], &script).env_remove("EFA_ARRIVAL_TIMEOUT").output().expect("efa starts");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("rank 0") && said.contains("ended before it joined the job"), "{said}");
}

/// Waits until no process of that number is left.
fn wait_until_gone(process: i32) {
    let pid = Pid::from_raw(process).expect("a process number is not 0");
    let start = Instant::now();
    while test_kill_process(pid).is_ok() {
        assert!(start.elapsed() < PATIENCE, "process {process} is still there");
        sleep(Duration::from_millis(10));
    }
}

/// Reads lines of the form `[0] 1234` until there are `count` of them.
fn read_numbers(child: &mut Child, count: usize) -> Vec<i32> {
    let stdout = child.stdout.as_mut().expect("stdout is a pipe");
    let lines = BufReader::new(stdout).lines().take(count);
    lines
        .map(|line| line.expect("UTF-8").rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
        .collect()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("the launcher is still there");
}

#[test]
fn every_line_carries_its_rank_on_both_outputs() {
    let output = output_of(&["-n", "3"], "echo out; echo err >&2");
    assert!(output.status.success());
    assert_eq!(lines(&output.stdout), set(["[0] out", "[1] out", "[2] out"]));
    assert_eq!(lines(&output.stderr), set(["[0] err", "[1] err", "[2] err"]));
}

#[test]
fn lines_pass_as_they_are_without_a_prefix() {
    let output = output_of(&["-n", "1", "--no-prefix"], r"printf 'a\n\nb'");
    assert_eq!(text(&output.stdout), "a\n\nb");
    let output = output_of(&["-n", "2", "--no-prefix"], "printf $EFA_RANK");
    assert_eq!(lines(&output.stdout), set(["0", "1"]), "lines of two ranks must not run together");
}

#[test]
fn a_last_line_without_newline_is_printed() {
    let output = output_of(&["-n", "2"], "printf 'no newline'");
    assert_eq!(lines(&output.stdout), set(["[0] no newline", "[1] no newline"]));
}

#[test]
fn lines_of_different_ranks_never_mix() {
    let output = output_of(
        &["-n", "4"],
        "i=0; while [ $i -lt 500 ]; do echo $EFA_RANK$EFA_RANK$EFA_RANK; i=$((i+1)); done",
    );
    let stdout = text(&output.stdout);
    assert_eq!(stdout.lines().count(), 2000);
    for line in stdout.lines() {
        assert!(["[0] 000", "[1] 111", "[2] 222", "[3] 333"].contains(&line), "{line}");
    }
}

#[test]
fn much_output_arrives_whole() {
    let mut child =
        efa_run(&["-n", "2", "--no-prefix"], "head -c 5000000 /dev/zero").spawn().expect("efa starts");
    let mut bytes = Vec::new();
    child.stdout.take().expect("a pipe").read_to_end(&mut bytes).expect("readable");
    assert!(child.wait().expect("ends").success());
    assert_eq!(bytes.iter().filter(|&&byte| byte == 0).count(), 10_000_000);
}

#[test]
fn colour_is_for_terminals_only() {
    let output = output_of(&["-n", "1"], "echo x; exit 1");
    assert!(!text(&output.stdout).contains('\x1b') && !text(&output.stderr).contains('\x1b'));
}

#[test]
fn ranks_find_their_place_in_the_environment() {
    let script = "echo $EFA_RANK $EFA_WORLD_SIZE $EFA_LOCAL_RANK $EFA_LOCAL_WORLD_SIZE $EFA_PROVIDER";
    let output = output_of(&["-n", "2", "--provider", "tcp", "--no-prefix"], script);
    assert_eq!(lines(&output.stdout), set(["0 2 0 2 tcp", "1 2 1 2 tcp"]));

    let output = output_of(&["-n", "3", "--no-prefix"], "echo $EFA_RENDEZVOUS $EFA_JOB_ID $EFA_JOB_KEY");
    let places = lines(&output.stdout);
    assert_eq!(places.len(), 1, "all ranks share the same");
    let place = places.first().expect("one").clone();
    let [rendezvous, id, key] = place.split(' ').collect::<Vec<_>>()[..] else { panic!("{place}") };
    assert!(rendezvous.starts_with("127.0.0.1:"));
    assert!(!id.is_empty());
    assert!(key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn the_rendezvous_port_is_reserved_while_the_job_runs() {
    let mut child =
        efa_run(&["-n", "1"], "echo ${EFA_RENDEZVOUS#*:}; sleep 1000").spawn().expect("efa starts");
    let port = u16::try_from(read_numbers(&mut child, 1)[0]).expect("a port");
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err(), "nobody else may take it");
    signal(&child, Signal::TERM);
    child.wait().expect("ends");
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok(), "free again");
}

#[test]
fn a_job_in_a_job_is_a_job_of_its_own() {
    let show = "echo $EFA_WORLD_SIZE $EFA_JOB_ID ${EFA_JOB_KEY_FILE:-none}";
    let script = format!(
        "{show}; EFA_JOB_KEY_FILE=x {} run -n 2 --no-prefix -- sh -c '{show}'",
        env!("CARGO_BIN_EXE_efa")
    );
    let output = output_of(&["-n", "1", "--no-prefix"], &script);
    let jobs = lines(&output.stdout);
    assert_eq!(jobs.len(), 2, "{jobs:?} {}", text(&output.stderr));
    assert!(jobs.iter().all(|job| job.ends_with(" none")), "{jobs:?}");
}

#[test]
fn standard_input_goes_to_rank_zero_only() {
    let mut command = efa_run(&["-n", "3"], "while read line; do echo got $line; done; echo end");
    let mut child = command.stdin(Stdio::piped()).spawn().expect("efa starts");
    child.stdin.take().expect("a pipe").write_all(b"one\ntwo\n").expect("writable");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(lines(&output.stdout), set(["[0] got one", "[0] got two", "[0] end", "[1] end", "[2] end"]));
}

#[test]
fn the_first_failure_ends_the_others_and_is_returned() {
    let start = Instant::now();
    let output = output_of(&["-n", "3"], "if [ $EFA_RANK = 1 ]; then sleep 0.2; exit 7; fi; sleep 1000");
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output.stderr), "efa run: rank 1 exited with status 7; ending the others\n");
}

#[test]
fn death_by_signal_is_told_and_returned_as_shells_do() {
    let output = output_of(&["-n", "2"], "if [ $EFA_RANK = 0 ]; then kill -SEGV $$; fi; sleep 1000");
    assert_eq!(output.status.code(), Some(139));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("efa run: rank 0 was killed by signal 11 (SIGSEGV"), "{stderr}");
}

#[test]
fn others_may_clean_up_within_the_grace_time() {
    let script = "if [ $EFA_RANK = 0 ]; then sleep 0.2; exit 3; fi
        trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.05; done";
    let output = output_of(&["-n", "2"], script);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stdout), "[1] cleaned\n");
}

#[test]
fn whoever_ignores_sigterm_is_killed_after_the_grace_time() {
    let script =
        "if [ $EFA_RANK = 0 ]; then sleep 0.3; exit 3; fi; trap '' TERM; while :; do sleep 0.05; done";
    let output = output_of(&["-n", "2", "--grace", "0.3"], script);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).contains("rank 1 did not end within 0.3 s: killed"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_signal_to_the_launcher_reaches_every_rank() {
    for (sent, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut child = efa_run(&["-n", "2"], "echo $$; sleep 1000").spawn().expect("efa starts");
        let ranks = read_numbers(&mut child, 2);
        signal(&child, sent);
        let status = child.wait().expect("ends");
        assert_eq!(status.code(), Some(code), "{sent:?}");
        ranks.into_iter().for_each(wait_until_gone);
    }
}

#[test]
fn user_signals_are_passed_on() {
    let script = "trap 'echo 11; exit 0' USR1; echo 22; while :; do sleep 0.02; done";
    let mut child = efa_run(&["-n", "1"], script).spawn().expect("efa starts");
    assert_eq!(read_numbers(&mut child, 1), [22]);
    signal(&child, Signal::USR1);
    assert_eq!(read_numbers(&mut child, 1), [11]);
    assert!(child.wait().expect("ends").success());
}

#[test]
fn ranks_and_what_they_started_die_with_a_killed_launcher() {
    let script = "trap '' HUP; sleep 1000 & echo $!; echo $$; wait";
    let mut child = efa_run(&["-n", "2"], script).spawn().expect("efa starts");
    let processes = read_numbers(&mut child, 4);
    signal(&child, Signal::KILL);
    assert_eq!(child.wait().expect("ends").signal(), Some(9));
    processes.into_iter().for_each(wait_until_gone);
}

#[test]
fn the_folder_of_an_emulated_device_goes_with_the_job_however_it_ends() {
    let device = tempfile::tempdir().expect("there is room");
    let library = tempfile::NamedTempFile::new().expect("there is room");
    // What the device would do; nothing removes the folder when the rank is killed.
    let start = r#"mkdir "$EFA_EMULATOR_DIR/efa-emulator.$(id -u).$EFA_EMULATOR_JOB"; echo $$; "#;
    let is_empty = || std::fs::read_dir(device.path()).expect("it is there").count() == 0;
    for (end, kills_launcher) in [("kill -KILL $$", false), ("sleep 1000", true)] {
        let mut child = efa_run(&["-n", "1", "--emulate-efa"], &format!("{start}{end}"))
            .env("EFA_EMULATOR_DIR", device.path())
            .env("EFA_EMULATOR_LIBRARY", library.path())
            .spawn()
            .expect("efa starts");
        read_numbers(&mut child, 1);
        if kills_launcher {
            assert!(!is_empty());
            signal(&child, Signal::KILL);
        }
        child.wait().expect("ends");
        // The guard of a killed launcher is waited for by nobody.
        let begun = Instant::now();
        while kills_launcher && !is_empty() && begun.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(is_empty(), "{end}");
    }
}

#[test]
fn what_a_rank_leaves_running_ends_with_it() {
    let mut child = efa_run(&["-n", "2"], "sleep 1000 & echo $!").spawn().expect("efa starts");
    let processes = read_numbers(&mut child, 2);
    assert!(child.wait().expect("ends").success());
    processes.into_iter().for_each(wait_until_gone);
}

#[test]
fn a_process_that_escapes_does_not_hold_up_the_launcher() {
    let mut child =
        efa_run(&["-n", "1"], "setsid sleep 1000 & echo $!; sleep 0.2").spawn().expect("efa starts");
    let escaped = read_numbers(&mut child, 1);
    assert!(child.wait().expect("ends").success());
    for process in escaped {
        kill_process(Pid::from_raw(process).expect("not 0"), Signal::KILL).expect("it is still there");
    }
}

#[test]
fn a_reader_that_leaves_ends_the_job() {
    let mut child = efa_run(&["-n", "2"], "while :; do echo 1; done").spawn().expect("efa starts");
    read_numbers(&mut child, 3);
    child.stdout.take();
    assert_eq!(child.wait().expect("ends").code(), Some(141));
}

#[test]
fn a_full_disk_is_told() {
    let mut command = efa_run(&["-n", "1"], "echo x; sleep 1000");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = command.stdout(full).output().expect("efa starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("No space left on device"), "{}", text(&output.stderr));
}

#[test]
fn a_program_that_cannot_start_is_explained() {
    let efa = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
        command.args(["run", "-n", "2", "--"]);
        command
    };
    let missing = efa().arg("no-such-program").output().expect("efa starts");
    assert_eq!(missing.status.code(), Some(127));
    assert_eq!(text(&missing.stderr).lines().count(), 3, "{}", text(&missing.stderr));
    assert!(text(&missing.stderr).contains("no-such-program"));

    let not_executable = efa().arg("/dev/null").output().expect("efa starts");
    assert_eq!(not_executable.status.code(), Some(126));
}

/// `efa run` with these arguments.
fn plain_run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
    command.arg("run").args(arguments).stdin(Stdio::null()).output().expect("efa starts")
}

#[test]
fn a_program_needs_no_dashes_before_it() {
    let output = plain_run(&["-n", "2", "echo", "--grace", "3", "--", "x"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(lines(&output.stdout), set(["[0] --grace 3 -- x", "[1] --grace 3 -- x"]));
}

#[test]
fn several_programs_are_one_job() {
    let say = "echo $0 $EFA_RANK of $EFA_WORLD_SIZE";
    let output = plain_run(&[
        "-n",
        "1",
        "--no-prefix",
        "sh",
        "-c",
        say,
        "a",
        ":",
        "-n",
        "2",
        "--",
        "sh",
        "-c",
        say,
        "b",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(lines(&output.stdout), set(["a 0 of 3", "b 1 of 3", "b 2 of 3"]));
    let wrong = plain_run(&["-n", "1", "true", ":", "-n", "0", "true"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(text(&wrong.stderr).lines().count(), 3, "{}", text(&wrong.stderr));
}

#[test]
fn a_job_that_takes_too_long_is_ended_with_the_status_of_timeout() {
    let begun = Instant::now();
    let output = output_of(&["-n", "2", "--timeout", "0.5"], "exec sleep 1000");
    assert_eq!(output.status.code(), Some(124));
    let said = text(&output.stderr);
    assert_eq!(said, "efa run: the job did not end within 0.5 s: ending it\n");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(output_of(&["-n", "2", "--timeout", "1000"], "exit 0").status.code(), Some(0));
}

#[test]
fn ranks_have_cores_of_their_own_where_there_are_enough() {
    let script = "grep Cpus_allowed_list /proc/self/status | tr -d '\t'";
    let of = |ranks: usize, options: &[&str]| {
        let output = output_of(&[&["--no-prefix", "-n", &ranks.to_string()], options].concat(), script);
        (
            output.status.code(),
            text(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>(),
            text(&output.stderr),
        )
    };
    let all = of(1, &["--bind", "none"]).1.remove(0);
    // One rank has them all, and many share them.
    assert_eq!(of(1, &[]).1, std::slice::from_ref(&all));
    let (_, shared, _) = of(200, &[]);
    assert!(shared.len() == 200 && shared.iter().all(|list| *list == all), "{shared:?}");
    assert_eq!(of(2, &["--bind", "none"]).1, [all.clone(), all.clone()]);
    match of(2, &["--bind", "core"]) {
        (Some(0), own, _) => {
            assert!(own[0] != own[1] && !own.contains(&all), "{own:?}");
            let mut usual = of(2, &[]).1;
            usual.sort();
            assert_eq!(usual, BTreeSet::from_iter(own).into_iter().collect::<Vec<_>>());
        }
        (status, _, said) => {
            assert_eq!(status, Some(2), "{said}");
            assert!(said.contains("this process may use 1 cores"), "{said}");
        }
    }
    let (status, _, said) = of(1000, &["--bind", "core"]);
    assert!(status == Some(2) && said.contains("cannot bind 1000 ranks"), "{said}");
}

#[test]
fn a_wrong_command_line_is_a_usage_error_of_three_lines() {
    for arguments in [
        &["run"][..],
        &["run", "-n", "0", "--", "true"],
        &["run", "-n", "1025", "--", "true"],
        &["run", "-n", "x", "--", "true"],
        &["run", "-n", "2"],
        &["run", "-n", "2", "--provider", "verbs", "--", "true"],
        &["run", "-n", "2", "--bogus", "--", "true"],
        &["walk"],
        &[],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_efa")).args(arguments).output().expect("efa starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(text(&output.stderr).lines().count(), 3, "{arguments:?}\n{}", text(&output.stderr));
    }
}

#[test]
fn many_ranks_start_and_end() {
    let output = output_of(&["-n", "100"], "echo here");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(lines(&output.stdout).len(), 100);
}

#[test]
fn a_launcher_that_lacks_descriptors_says_so() {
    for limit in (4..64).step_by(2) {
        let run = efa_run(&["-n", "2"], "exit 0");
        let words: Vec<_> = std::iter::once(run.get_program()).chain(run.get_args()).collect();
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -n {limit} && exec \"$@\""), "sh"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("the shell starts");
        if output.status.success() {
            assert!(limit > 8, "two ranks need more descriptors than {limit}");
            return;
        }
        let said = text(&output.stderr);
        assert!(said.contains("open files") && said.contains("ulimit -n"), "with {limit}: {said}");
    }
    panic!("no limit was enough");
}
