//! Starting jobs of this test program and looking at what they print.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Names the part that the ranks play.
pub(crate) const PART: &str = "EFA_TEST_PART";
/// Lets a rank go on after SIGTERM, which the launcher sends when another rank has ended.
const OBSTINATE: &str = r#"trap '' TERM; exec "$@""#;

/// A command to be built up and run.
pub(crate) struct Start {
    program: OsString,
    options: Vec<OsString>,
    shell: Option<&'static str>,
    ranks: Vec<OsString>,
    variables: Vec<(&'static str, String)>,
}

/// What came of it.
pub(crate) struct Seen {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `efa` with these arguments.
pub(crate) fn efa(arguments: &[&str]) -> Start {
    Start {
        program: program().into(),
        options: arguments.iter().map(OsString::from).collect(),
        shell: None,
        ranks: Vec::new(),
        variables: Vec::new(),
    }
}

/// `efa run` with so many ranks of this program that play a part.
pub(crate) fn job(ranks: usize, part: &str) -> Start {
    let mut start = of_ranks(ranks, myself());
    start.variables.push((PART, part.into()));
    start
}

/// `efa run` with so many ranks of `efa doctor`.
pub(crate) fn doctors(ranks: usize, options: &[&str]) -> Start {
    let mut command = vec![program().into(), "doctor".into()];
    command.extend(options.iter().map(OsString::from));
    of_ranks(ranks, command)
}

fn of_ranks(ranks: usize, command: Vec<OsString>) -> Start {
    Start { ranks: command, ..efa(&["run", "-n", &ranks.to_string()]) }
}

/// So many ranks of this program by `mpirun`; `None` where there is none, which is told.
pub(crate) fn mpirun(ranks: usize, part: &str, variables: &[(&'static str, &str)]) -> Option<Seen> {
    let mut variables = variables.to_vec();
    variables.push((PART, part));
    mpirun_of(ranks, &myself(), &variables)
}

/// So many ranks of `efa doctor` by `mpirun`.
pub(crate) fn mpirun_doctors(ranks: usize, options: &[&str]) -> Option<Seen> {
    let mut command = vec![program().into(), "doctor".into()];
    command.extend(options.iter().map(OsString::from));
    mpirun_of(ranks, &command, &[])
}

fn mpirun_of(ranks: usize, command: &[OsString], variables: &[(&'static str, &str)]) -> Option<Seen> {
    let version = Command::new("mpirun").arg("--version").output();
    let open_mpi = version.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains("Open MPI"));
    if !open_mpi {
        println!("NOT TESTED: there is no mpirun of Open MPI here");
        return None;
    }
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["--oversubscribe", "-n", &ranks.to_string()]).args(command);
    mpirun.envs(variables.iter().copied());
    mpirun.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    Some(run(mpirun))
}

/// The `efa` command under test.
pub(crate) fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_efa").into()
}

/// This program as a rank.
pub(crate) fn myself() -> Vec<OsString> {
    let path = std::env::current_exe().expect("this program has a path");
    let mut command = vec![path.into_os_string()];
    command.extend(["--ignored", "--exact", "--nocapture", "rank"].map(OsString::from));
    command
}

impl Start {
    /// Further options, before the program that the ranks run.
    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = &'static str>) -> Self {
        self.options.extend(arguments.into_iter().map(OsString::from));
        self
    }

    pub(crate) fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Lets the ranks ignore SIGTERM, if `yes`.
    pub(crate) fn obstinate(mut self, yes: bool) -> Self {
        self.shell = yes.then_some(OBSTINATE);
        self
    }

    /// Starts each rank by a line of shell, in which "$@" stands for the rank's command.
    pub(crate) fn through(mut self, script: &'static str) -> Self {
        self.shell = Some(script);
        self
    }

    pub(crate) fn run(self) -> Seen {
        let mut command = Command::new(self.program);
        command.args(self.options);
        if !self.ranks.is_empty() {
            command.arg("--");
        }
        if let Some(script) = self.shell {
            command.args(["sh", "-c", script, "sh"]);
        }
        command.args(self.ranks).envs(self.variables);
        run(command)
    }
}

fn run(mut command: Command) -> Seen {
    for name in ["EFA_PROVIDER", "EFA_POLICY"] {
        if !command.get_envs().any(|(it, _)| it == name) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).output().expect("it starts").into()
}

impl From<Output> for Seen {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { status: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {:?}\n{}\n{}", self.status, self.stdout, self.stderr)
    }
}

/// What each rank said, line by line; it is told from what the test harness prints by a mark.
pub(crate) fn said(seen: &Seen) -> Vec<Vec<String>> {
    let mut said: Vec<Vec<String>> = Vec::new();
    for line in seen.stdout.lines() {
        if let Some((who, what)) = line.split_once("said: ") {
            let rank: usize = who[1..2].parse().expect("the launcher puts the rank first");
            said.resize(said.len().max(rank + 1), Vec::new());
            said[rank].push(what.to_owned());
        }
    }
    said
}
