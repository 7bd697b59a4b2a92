//! The files that the shm provider keeps in /dev/shm.
//!
//! Each endpoint has one, and a killed process leaves it behind. So ours have names that tell whose they are, and
//! whoever opens an endpoint removes those whose process is gone.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const FOLDER: &str = "/dev/shm";
const PREFIX: &str = "efa-ep";

/// A name for an endpoint of this process that no other has.
pub(crate) fn endpoint_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    let started = start_time(pid).unwrap_or(0);
    format!("{PREFIX}.{}.{pid}.{started}.{}", pid_namespace(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Removes what processes that are gone have left behind.
pub(crate) fn remove_stale() {
    let Ok(files) = fs::read_dir(FOLDER) else { return };
    let namespace = pid_namespace();
    for file in files.flatten() {
        if let Some(name) = file.file_name().to_str()
            && is_stale(name, &namespace, start_time)
        {
            // Another rank may be doing the same.
            let _ = fs::remove_file(Path::new(FOLDER).join(name));
        }
    }
}

/// Whether a file is an endpoint of a process that is gone. Numbers of another namespace tell us nothing.
fn is_stale(name: &str, namespace: &str, start_time: impl Fn(u32) -> Option<u64>) -> bool {
    let mut parts = name.split('.');
    if parts.next() != Some(PREFIX) || parts.next() != Some(namespace) {
        return false;
    }
    let pid: Option<u32> = parts.next().and_then(|part| part.parse().ok());
    let started: Option<u64> = parts.next().and_then(|part| part.parse().ok());
    match (pid, started) {
        (Some(pid), Some(started)) => start_time(pid) != Some(started),
        _ => false,
    }
}

/// When a process started, in clock ticks since boot: tells it from a later one of the same number.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may contain anything; start time is the 22nd.
    let rest = &stat[stat.rfind(')')? + 1..];
    rest.split_whitespace().nth(19)?.parse().ok()
}

fn pid_namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_processes_that_are_gone_are_stale() {
        let running = |pid| (pid == 7).then_some(100);
        let name = |pid: u32, started: u64| format!("{PREFIX}.42.{pid}.{started}.0");
        assert!(!is_stale(&name(7, 100), "42", running));
        assert!(is_stale(&name(7, 99), "42", running), "the number was given to another process");
        assert!(is_stale(&name(8, 100), "42", running));
        assert!(!is_stale(&name(8, 100), "43", running), "another namespace");
        assert!(!is_stale("somebody-elses", "42", running));
        assert!(!is_stale(&format!("{PREFIX}.42.x.y"), "42", running));
    }

    #[test]
    fn names_differ_and_are_not_stale_while_we_run() {
        let (one, other) = (endpoint_name(), endpoint_name());
        assert_ne!(one, other);
        assert!(!is_stale(&one, &pid_namespace(), start_time));
    }
}
