//! Starting a job of ranks that play a part, and reading what they said.

use std::process::{Command, Output, Stdio};

/// Names the part that the ranks play.
pub(crate) const PART: &str = "EFA_TEST_PART";

/// Names a rank, and after how many milliseconds in its part it is killed: `1@200`.
pub(crate) const DEATH: &str = "EFA_TEST_DEATH";

/// Returns `true` if the ranks use the built-in libfabric, whose defects are mended.
pub(crate) fn is_built_in() -> bool {
    efa_core::fabric::library().expect("a libfabric").is_built_in()
}

/// `efa`, with an arrival time that lets a test fail rather than hang.
pub(crate) fn efa() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
    command.env("EFA_TIMEOUT", "20").env("EFA_ARRIVAL_TIMEOUT", "30").stdin(Stdio::null());
    command
}

/// `efa run` on an emulated EFA, with `ranks` ranks that play a part under a plan of faults.
pub(crate) fn job(ranks: usize, part: &str, plan: &str) -> Command {
    let mut command = efa();
    command
        .args(["run", "-n", &ranks.to_string(), "--provider", "efa", "--emulate-efa", "--grace", "60", "--"])
        // When one rank ends the launcher tells the others to end, which would leave them no time to say anything.
        .args(["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--ignored", "--exact", "--nocapture", "parts::rank"])
        .env(PART, part)
        .env("EFA_EMULATOR_PLAN", plan);
    command
}

/// What came of a job.
pub(crate) struct Outcome {
    /// Whether all ranks ended well.
    pub(crate) success: bool,
    /// What each rank said, by rank.
    pub(crate) said: Vec<String>,
    /// Everything that was printed.
    pub(crate) all: String,
}

/// Runs a job to its end.
pub(crate) fn run(ranks: usize, part: &str, plan: &str) -> Outcome {
    run_with(ranks, part, plan, &[])
}

/// [`run`] with variables of its own in the environment.
pub(crate) fn run_with(ranks: usize, part: &str, plan: &str, variables: &[(&str, &str)]) -> Outcome {
    let output = job(ranks, part, plan).envs(variables.iter().copied()).output().expect("efa starts");
    outcome(ranks, &output)
}

/// Sorts what a job printed by rank; it is told from what the test harness prints by a mark.
pub(crate) fn outcome(ranks: usize, output: &Output) -> Outcome {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut said = vec![String::new(); ranks];
    for line in text.lines() {
        if let Some((who, what)) = line.split_once("said: ") {
            let rank: usize = who[1..2].parse().expect("the launcher puts the rank first");
            said[rank].push_str(what);
            said[rank].push('\n');
        }
    }
    let all = text + &String::from_utf8_lossy(&output.stderr);
    Outcome { success: output.status.success(), said, all }
}
