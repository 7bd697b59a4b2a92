//! What a job reports of itself: `EFA_LOG` and `Communicator::report`. The ranks are this test program again, running only
//! [`rank`].

use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};

/// Names the part that the ranks play.
const PART: &str = "EFA_TEST_PART";

fn efa() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
    command.env_remove("EFA_LOG").env_remove("EFA_PROVIDER").env_remove("FI_PROVIDER").stdin(Stdio::null());
    command
}

/// `efa run` with two ranks that play a part.
fn job(part: &str) -> Command {
    let mut command = efa();
    command
        .args(["run", "-n", "2", "--"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--ignored", "--exact", "--nocapture", "rank"])
        .env(PART, part);
    command
}

/// A job of two ranks that measures next to nothing.
fn bench(provider: &str) -> Command {
    let mut command = efa();
    command.args(["bench", "barrier", "--iterations", "1", "--provider", provider]);
    command
}

fn output(mut command: Command) -> (Output, String) {
    let output = command.output().expect("efa starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

/// What each rank said; it is told from what the test harness prints by a mark.
fn said(command: Command) -> Vec<String> {
    let (output, errors) = output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    text.lines().filter_map(|line| Some(line.split_once("said: ")?.1.to_owned())).collect()
}

/// A rank of the jobs below.
#[test]
#[ignore = "runs as a rank of the jobs that the other tests here start"]
fn rank() {
    match std::env::var(PART).as_deref() {
        Ok("report") => {}
        Ok("own logger") => {
            log::set_logger(&OWN).expect("no logger yet");
            log::set_max_level(LevelFilter::Info);
        }
        _ => return,
    }
    let world = efa_core::init().expect("the job is in order");
    println!("said: {}", world.report());
    for line in OWN.0.lock().expect("nobody panicked").iter() {
        println!("said: own {line}");
    }
    world.finish().expect("all ranks leave");
}

/// A program's own logger.
struct Own(Mutex<Vec<String>>);

static OWN: Own = Own(Mutex::new(Vec::new()));

impl Log for Own {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().expect("nobody panicked").push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

#[test]
fn at_the_level_info_rank_0_says_in_one_line_what_carries_the_data_and_why() {
    let mut command = bench("tcp");
    command.env("EFA_LOG", "info");
    let (output, text) = output(command);
    assert!(output.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("carries the data")).collect();
    let [line] = lines[..] else { panic!("{text}") };
    let start =
        "efa rank 0 info: tcp carries the data of 2 ranks on 1 host: it was asked for by name; libfabric ";
    assert!(line.starts_with(start), "{line}");
    assert!(line.contains("; 1 device per rank (lo); not taken: shm (tcp was asked for)"), "{line}");
}

#[test]
fn without_the_variable_and_at_the_level_warn_nothing_is_said_of_it() {
    for level in [None, Some("warn"), Some("off"), Some("")] {
        let mut command = bench("shm");
        command.envs(level.map(|level| ("EFA_LOG", level)));
        let (output, text) = output(command);
        assert!(output.status.success() && !text.contains("carries"), "{level:?}: {text}");
    }
}

#[test]
fn all_ranks_have_the_report_that_says_which_libfabric_is_used() {
    let said = said(job("report"));
    assert!(said.len() == 2 && said[0] == said[1], "{said:?}");
    let libfabric = efa_core::fabric::library().expect("a libfabric").to_string();
    assert!(said[0].contains(&format!("; libfabric {libfabric}; 1 device per rank (shm)")), "{said:?}");
}

#[test]
fn a_program_with_a_logger_of_its_own_gets_the_messages_there() {
    let mut command = job("own logger");
    command.env("EFA_LOG", "trace");
    let (finished, errors) = output(command);
    assert!(finished.status.success() && !errors.contains("efa rank"), "{errors}");
    let said = said(job("own logger"));
    let own: Vec<_> =
        said.iter().filter(|line| line.starts_with("own INFO shm carries the data of 2")).collect();
    assert_eq!(own.len(), 1, "{said:?}");
}

#[test]
fn a_level_that_does_not_exist_is_an_error_of_usage() {
    let mut command = bench("shm");
    command.env("EFA_LOG", "loud");
    let (output, text) = output(command);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("cannot use EFA_LOG=loud") && text.contains("info"), "{text}");
}
