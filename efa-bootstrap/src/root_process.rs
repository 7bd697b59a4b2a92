//! The process that plays rank 0, as the launcher tells the other ranks: they need not wait for one that has ended.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// A process of this host, told from later ones with its number by the time of its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootProcess {
    pid: i32,
    /// In ticks since the system started (`starttime` in proc_pid_stat(5)).
    started: u64,
    /// The inode of the process namespace in which the number counts.
    namespace: u64,
}

impl RootProcess {
    /// Returns the process with this number, or `None` if there is none or `/proc` does not show it.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok().filter(|&pid| pid > 0)?;
        Some(Self { pid, started: start_of(pid)?, namespace: namespace()? })
    }

    /// Returns whether the process has ended. A process that can't be seen from here has not, as far as is known.
    pub(super) fn has_ended(&self) -> bool {
        if namespace() != Some(self.namespace) {
            return false;
        }
        // Where other users' processes are hidden in /proc, a signal finds them all the same.
        kill(Pid::from_raw(self.pid), None) == Err(Errno::ESRCH)
            || start_of(self.pid).is_some_and(|started| started != self.started)
    }
}

/// Returns when a process started.
fn start_of(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and parentheses. After it come the fields from the third on; this is the 22nd.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn namespace() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|namespace| namespace.ino())
}

impl fmt::Display for RootProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.pid, self.started, self.namespace)
    }
}

impl FromStr for RootProcess {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Option<Vec<u64>> = text.split(' ').map(|number| number.parse().ok()).collect();
        let Some([pid, started, namespace]) = numbers.as_deref() else {
            return Err("it is not three numbers: process, time of start, namespace");
        };
        match i32::try_from(*pid) {
            Ok(pid) if pid > 0 => Ok(Self { pid, started: *started, namespace: *namespace }),
            _ => Err("its first number is no process"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_has_ended_when_it_was_waited_for_and_not_before() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = RootProcess::of(child.id()).unwrap();
        assert!(!process.has_ended());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(process.has_ended());
    }

    #[test]
    fn a_later_process_with_the_number_is_another_one_and_one_of_another_namespace_is_unknown() {
        let this = RootProcess::of(std::process::id()).unwrap();
        assert!(!this.has_ended());
        assert!(RootProcess { started: this.started - 1, ..this }.has_ended());
        assert!(!RootProcess { started: this.started - 1, namespace: 1, ..this }.has_ended());
    }

    #[test]
    fn it_survives_the_way_through_the_environment() {
        let this = RootProcess::of(std::process::id()).unwrap();
        assert_eq!(this.to_string().parse(), Ok(this));
        for wrong in ["", "1", "1 2", "1 2 3 4", "0 2 3", "-1 2 3", "1 x 3", "9999999999 2 3"] {
            assert!(wrong.parse::<RootProcess>().is_err(), "{wrong}");
        }
    }
}
