//! One rank: a process in a process group of its own, and what is left of the group when the process has ended.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use efa_core::bootstrap::LaunchEnv;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// How long a killed process may take to go before we stop waiting for it.
const KILL_TAKES: Duration = Duration::from_secs(2);

/// A rank that was started.
pub(super) struct RankProcess {
    /// Its number.
    pub(super) rank: usize,
    /// Its process group, numbered like its first process.
    pub(super) group: Pid,
    /// How its process ended, once it has.
    pub(super) status: Option<ExitStatus>,
    child: Child,
    life: Life,
}

/// How far a rank's process group is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    /// Asked to end; killed when the time comes.
    Asked {
        kill_at: Instant,
    },
    Killed {
        give_up_at: Instant,
    },
    Gone,
}

/// What [`RankProcess::advance`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    None,
    /// The grace time was over and the rank was killed.
    Killed,
    /// Nothing of the rank is left.
    Gone,
}

impl RankProcess {
    /// Starts a rank with the given variables besides those it inherits; `output` makes its two outputs.
    pub(super) fn start(
        rank: usize,
        program: &[OsString],
        variables: &[(&str, String)],
        stdin: Stdio,
        output: fn() -> Stdio,
    ) -> io::Result<Self> {
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).process_group(0).stdin(stdin).stdout(output()).stderr(output());
        for name in LaunchEnv::removed_variables() {
            command.env_remove(name);
        }
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let child = command.spawn()?;
        let group = Pid::from_child(&child);
        Ok(Self { rank, group, status: None, child, life: Life::Running })
    }

    /// Returns the pipes that carry what the rank prints and, if it was asked for, what it reads.
    pub(super) fn pipes(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal to all of the rank's processes.
    pub(super) fn signal(&self, signal: Signal) {
        if self.life != Life::Gone {
            // It fails when the group is empty, which is what `advance` finds out.
            let _ = kill_process_group(self.group, signal);
        }
    }

    /// Asks the rank to end; it is killed if it is still there after `grace`.
    pub(super) fn ask_to_end(&mut self, signal: Signal, grace: Duration) {
        self.signal(signal);
        // A stopped process takes the signal only when it goes on.
        self.signal(Signal::CONT);
        if self.life == Life::Running {
            self.life = Life::Asked { kill_at: Instant::now() + grace };
        }
    }

    /// Kills the rank now.
    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
        if matches!(self.life, Life::Running | Life::Asked { .. }) {
            self.life = Life::Killed { give_up_at: Instant::now() + KILL_TAKES };
        }
    }

    /// Takes note of the process's end, and gives its status the first time.
    pub(super) fn reap(&mut self) -> Option<ExitStatus> {
        if self.status.is_some() {
            return None;
        }
        self.status = self.child.try_wait().ok().flatten();
        self.status
    }

    /// Moves on as the clock and the state of the process group demand.
    pub(super) fn advance(&mut self) -> Step {
        if self.life == Life::Gone {
            return Step::None;
        }
        let now = Instant::now();
        if self.status.is_some() && test_kill_process_group(self.group).is_err() {
            self.life = Life::Gone;
            return Step::Gone;
        }
        match self.life {
            Life::Asked { kill_at } if now >= kill_at => {
                self.kill();
                Step::Killed
            }
            Life::Killed { give_up_at } if now >= give_up_at => {
                self.life = Life::Gone;
                Step::Gone
            }
            _ => Step::None,
        }
    }

    /// Returns `true` if its end is under way, so that the clock matters.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.life, Life::Asked { .. } | Life::Killed { .. })
    }

    /// Returns `true` if nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        self.life == Life::Gone
    }
}

/// Returns the status as a shell would show it: 128 + N for signal N.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Returns how a process ended, in words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("unknown to us");
            let core = if status.core_dumped() { ", core dumped" } else { "" };
            format!("was killed by signal {signal} ({name}{core})")
        }
        (None, Some(code)) => format!("exited with status {code}"),
        (None, None) => "ended in an unknown way".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_shown_as_a_shell_shows_it() {
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(11)), 139);
    }

    #[test]
    fn the_end_of_a_process_is_told_in_words() {
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "exited with status 3");
        assert_eq!(describe(ExitStatus::from_raw(11)), "was killed by signal 11 (SIGSEGV)");
        assert_eq!(describe(ExitStatus::from_raw(0x80 | 6)), "was killed by signal 6 (SIGABRT, core dumped)");
    }
}
