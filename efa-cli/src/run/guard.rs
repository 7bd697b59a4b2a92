//! Ends the ranks when the launcher dies without being able to, as under SIGKILL.
//!
//! The guard is a small process of its own, outside the launcher's process group, that reads from a pipe only the
//! launcher can write to. The launcher names each rank's process group there; when the pipe closes, whatever is
//! still named is ended. A parent-death signal would reach the rank's own process but not the children of a shell.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use efa_core::Error;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::failure::Failure;

/// How long orphaned ranks have between SIGTERM and SIGKILL. Short: nobody is waiting for them any more.
const GRACE: Duration = Duration::from_secs(2);
/// How often to look whether they are gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The launcher's end of the guard.
pub(super) struct Guard {
    process: Child,
    pipe: ChildStdin,
}

impl Guard {
    /// Starts the guard.
    pub(super) fn start() -> Result<Self, Error> {
        // The link works even when the file of this program has been replaced by a newer build.
        let mut process = Command::new("/proc/self/exe")
            .arg0("efa-guard")
            .arg("__guard")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                Error::system(error, "cannot start the guard process", "check that /proc is mounted")
            })?;
        let pipe = process.stdin.take().expect("stdin was asked to be a pipe");
        Ok(Self { process, pipe })
    }

    /// From now on `group` must not outlive the launcher.
    pub(super) fn watch(&mut self, group: Pid) {
        // A guard that is gone can't be told; the ranks run all the same.
        let _ = self.pipe.write_all(format!("+{}\n", group.as_raw_pid()).as_bytes());
    }

    /// `group` is empty: its number may soon belong to somebody else.
    pub(super) fn forget(&mut self, group: Pid) {
        let _ = self.pipe.write_all(format!("-{}\n", group.as_raw_pid()).as_bytes());
    }

    /// Lets the guard go, and waits for it so that no zombie stays.
    pub(super) fn dismiss(mut self) {
        drop(self.pipe);
        let _ = self.process.wait();
    }
}

/// The guard process itself: `efa __guard`.
pub(crate) fn main() -> Result<ExitCode, Failure> {
    end_all(groups_left_in(BufReader::new(io::stdin())));
    Ok(ExitCode::SUCCESS)
}

/// Reads until the launcher is gone, and gives the process groups that it had not taken back.
fn groups_left_in(pipe: impl BufRead) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    for line in pipe.lines().map_while(Result::ok) {
        // Only numbers of real groups: 0 and 1 would mean the guard's own group and init's.
        let number: i32 = line.parse().unwrap_or_default();
        if number > 1 {
            groups.insert(number);
        } else {
            groups.remove(&number.saturating_neg());
        }
    }
    groups
}

fn end_all(groups: BTreeSet<i32>) {
    let mut groups: Vec<Pid> = groups.into_iter().filter_map(Pid::from_raw).collect();
    // A stopped process takes SIGTERM only when it goes on.
    groups.retain(|&group| {
        kill_process_group(group, Signal::TERM).is_ok() && kill_process_group(group, Signal::CONT).is_ok()
    });
    let deadline = Instant::now() + GRACE;
    while !groups.is_empty() && Instant::now() < deadline {
        sleep(LOOK_EVERY);
        groups.retain(|&group| test_kill_process_group(group).is_ok());
    }
    for group in groups {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_not_taken_back_are_left() {
        let left = groups_left_in("+100\n+200\n-100\n+300\n".as_bytes());
        assert_eq!(left, BTreeSet::from([200, 300]));
    }

    #[test]
    fn numbers_that_mean_other_things_to_kill_are_never_groups() {
        assert!(groups_left_in("+0\n+1\n-5\nnonsense\n\n99999999999\n".as_bytes()).is_empty());
    }
}
