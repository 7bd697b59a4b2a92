//! Ends the ranks when the launcher dies without being able to, as under SIGKILL, and removes what ranks that ended by
//! signals leave in shared memory, however the launcher ends.
//!
//! The guard is a small process of its own, outside the launcher's process group, that reads from a pipe only the
//! launcher can write to. The launcher names each rank's process group there; when the pipe closes, whatever is
//! still named is ended. It names the folder of an emulated device too. A parent-death signal would reach the rank's own process but not the children of a shell.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use efa_core::Error;
use efa_core::fabric::remove_stale_files;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::failure::Failure;

/// How long orphaned ranks have between SIGTERM and SIGKILL. Short: nobody is waiting for them any more.
const GRACE: Duration = Duration::from_secs(2);
/// How long killed ranks may take to go before their files are removed.
const KILL_TAKES: Duration = Duration::from_secs(2);
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

    /// Notes this absolute path, which the ranks share and which must not outlive them.
    pub(super) fn remove_at_end(&mut self, folder: &Path) {
        let line = [folder.as_os_str().as_bytes(), b"\n"].concat();
        let _ = self.pipe.write_all(&line);
    }

    /// Notes that `group` must not outlive the launcher.
    pub(super) fn watch(&mut self, group: Pid) {
        // A guard that is gone can't be told; the ranks run all the same.
        let _ = self.pipe.write_all(format!("+{}\n", group.as_raw_pid()).as_bytes());
    }

    /// Forgets `group`, which is empty: its number may soon belong to somebody else.
    pub(super) fn forget(&mut self, group: Pid) {
        let _ = self.pipe.write_all(format!("-{}\n", group.as_raw_pid()).as_bytes());
    }

    /// Lets the guard go, and waits until it has tidied up, so that no zombie stays either.
    pub(super) fn dismiss(mut self) {
        drop(self.pipe);
        let _ = self.process.wait();
    }
}

/// Runs the guard process: `efa __guard`.
pub(crate) fn main() -> Result<ExitCode, Failure> {
    let left = left_in(BufReader::new(io::stdin()));
    end_all(left.groups);
    for folder in left.folders {
        // The last rank that ends in order has removed it.
        let _ = fs::remove_dir_all(folder);
    }
    remove_stale_files();
    Ok(ExitCode::SUCCESS)
}

/// What the launcher had named when it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    /// Process groups that it had not taken back.
    groups: BTreeSet<i32>,
    folders: Vec<PathBuf>,
}

/// Reads until the launcher is gone.
fn left_in(pipe: impl BufRead) -> Left {
    let mut left = Left::default();
    let groups = &mut left.groups;
    for line in pipe.split(b'\n').map_while(Result::ok) {
        if line.starts_with(b"/") {
            left.folders.push(PathBuf::from(OsString::from_vec(line)));
            continue;
        }
        let line = String::from_utf8_lossy(&line);
        // Only numbers of real groups: 0 and 1 would mean the guard's own group and init's.
        let number: i32 = line.parse().unwrap_or_default();
        if number > 1 {
            groups.insert(number);
        } else {
            groups.remove(&number.saturating_neg());
        }
    }
    left
}

fn end_all(groups: BTreeSet<i32>) {
    let mut groups: Vec<Pid> = groups.into_iter().filter_map(Pid::from_raw).collect();
    // A stopped process takes SIGTERM only when it goes on.
    groups.retain(|&group| {
        kill_process_group(group, Signal::TERM).is_ok() && kill_process_group(group, Signal::CONT).is_ok()
    });
    wait_for(&mut groups, GRACE);
    for &group in &groups {
        let _ = kill_process_group(group, Signal::KILL);
    }
    wait_for(&mut groups, KILL_TAKES);
}

/// Waits until the groups are empty, and forgets those that are.
fn wait_for(groups: &mut Vec<Pid>, limit: Duration) {
    let deadline = Instant::now() + limit;
    while !groups.is_empty() && Instant::now() < deadline {
        sleep(LOOK_EVERY);
        groups.retain(|&group| test_kill_process_group(group).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_not_taken_back_are_left() {
        let left = left_in("+100\n+200\n/dev/shm/a b\n-100\n+300\n".as_bytes());
        assert_eq!(left.groups, BTreeSet::from([200, 300]));
        assert_eq!(left.folders, [PathBuf::from("/dev/shm/a b")]);
    }

    #[test]
    fn numbers_that_mean_other_things_to_kill_are_never_groups() {
        assert_eq!(left_in(&b"+0\n+1\n-5\nnonsense\n\n99999999999\n\xff\n"[..]), Left::default());
    }
}
