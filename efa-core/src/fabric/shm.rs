//! The files that the shm provider keeps in /dev/shm.
//!
//! Each endpoint has one, and a killed process leaves it behind. So ours have names that tell whose they are: whoever
//! opens or closes an endpoint removes those whose process is gone, and peers know of which process an endpoint is.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Explanation, Result};
use crate::ffi;

/// Whether this libfabric's shm provider keeps to its own memory: see `docs/providers.md`.
///
/// One that does not is kept in check by other means: it moves all data through shared memory (`fabric::offer`), so that
/// only this process's own calls touch its memory; an endpoint that is closed is never called again, but not closed in
/// libfabric either (`endpoint::driver`), which would unmap what others use and answer messages at wrong places; and
/// regions stay registered for as long, since transfers under way look into their registration.
pub(crate) fn is_patched() -> bool {
    const NEEDED: [&str; 5] = [
        "shm-closed-mapping",
        "shm-closed-sender",
        "shm-discard",
        "shm-read-by-initiator",
        "shm-region-closed",
    ];
    NEEDED.into_iter().all(ffi::has_patch)
}

const FOLDER: &str = "/dev/shm";
const PREFIX: &str = "efa-ep";
/// Somewhat more than the file of an endpoint.
const ENDPOINT_BYTES: u64 = 17 << 20;

/// A name for an endpoint of this process that no other has, and that nobody can guess: libfabric uses a file that is
/// there already, whose ever it is.
///
/// # Errors
/// [`Error::System`] if the system gives no random bytes.
pub(crate) fn endpoint_name() -> Result<String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let random = getrandom::u64().map_err(|error| {
        let what = "cannot make a name for an endpoint on shared memory";
        Error::system(error.into(), what, "make sure that /dev/urandom can be read")
    })?;
    let pid = std::process::id();
    let started = start_time(pid).unwrap_or(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(format!("{PREFIX}.{}.{pid}.{started}.{count}.{random:016x}", pid_namespace()))
}

/// Removes the files in `/dev/shm` of shared memory endpoints whose process has ended without closing them, as under
/// SIGKILL. Opening and closing an endpoint does so too, and so does `efa run` at its end.
///
/// Only files of this PID namespace are looked at. What can't be removed stays.
pub fn remove_stale_files() {
    let Ok(files) = fs::read_dir(FOLDER) else { return };
    let namespace = pid_namespace();
    for file in files.flatten() {
        if let Some(name) = file.file_name().to_str()
            && is_stale(name, &namespace, Owner::is_gone)
        {
            // Another rank may be doing the same.
            let _ = fs::remove_file(Path::new(FOLDER).join(name));
        }
    }
}

/// Removes the file of an endpoint of this process. Whoever has mapped it keeps it, and nobody else can find it.
pub(crate) fn remove_name(name: &str) {
    let is_ours = Owner::parse(name, &pid_namespace()).is_some_and(|owner| owner.pid == std::process::id());
    if is_ours && !name.contains('/') {
        // The endpoint's end removes it as well.
        let _ = fs::remove_file(Path::new(FOLDER).join(name));
    }
}

/// Whether an endpoint of this name is there. One that has closed, or whose process has ended and was cleaned up after,
/// is not; nor is a file of another user.
pub(crate) fn has_name(address: &[u8]) -> bool {
    let name = address.strip_suffix(&[0]).unwrap_or(address);
    // SAFETY: always allowed; it touches no memory of ours.
    let user = unsafe { libc::geteuid() };
    let file = fs::symlink_metadata(Path::new(FOLDER).join(OsStr::from_bytes(name)));
    file.is_ok_and(|file| file.is_file() && file.uid() == user)
}

/// How many bytes there are free in `/dev/shm`, and how many in all.
pub(crate) fn room() -> Option<(u64, u64)> {
    // SAFETY: all-zero is a valid `statvfs`, and the path ends in a zero.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(c"/dev/shm".as_ptr(), &mut stat) == 0).then_some(stat)?
    };
    Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// Checks that this process may write a file as long as an endpoint's. libfabric just tries, and SIGXFSZ ends it then.
pub(crate) fn check_file_limit() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure is ours.
    let is_known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } == 0;
    if !is_known || limit.rlim_cur >= ENDPOINT_BYTES {
        return Ok(());
    }
    Err(Error::Provider(Explanation::new(
        "cannot use provider shm",
        format!("this process may write files of {} bytes, and an endpoint's has 16 MiB", limit.rlim_cur),
        "raise the limit on the size of files (ulimit -f unlimited), or use tcp",
    )))
}

/// How many processors there are: libfabric asks for the room of as many endpoints, whichever of them we may run on.
pub(crate) fn cores() -> u64 {
    // SAFETY: always allowed; it touches no memory of ours.
    let cores = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u64::try_from(cores).unwrap_or(1).max(1)
}

/// Whether the free space is less than libfabric asks for. Its `fi_getinfo` just leaves the provider out then.
pub(crate) fn is_short_of_room() -> bool {
    room().is_some_and(|(free, _)| free < ENDPOINT_BYTES.saturating_mul(cores()))
}

/// Whether a file is an endpoint of a process that is gone. Numbers of another namespace tell us nothing.
fn is_stale(name: &str, namespace: &str, is_gone: impl Fn(Owner) -> bool) -> bool {
    Owner::parse(name, namespace).is_some_and(is_gone)
}

/// The process that opened an endpoint: its number, and its start, which tells it from a later process of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pid: u32,
    started: u64,
}

impl Owner {
    /// The process whose endpoint has this address. `None` for an address that is not a name of ours, and for a process
    /// of another PID namespace, whose number means nothing here.
    pub(crate) fn of_address(address: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(address.strip_suffix(&[0])?).ok()?;
        Self::parse(name, &pid_namespace())
    }

    fn parse(name: &str, namespace: &str) -> Option<Self> {
        let mut parts = name.split('.');
        if parts.next() != Some(PREFIX) || parts.next() != Some(namespace) {
            return None;
        }
        let pid = parts.next()?.parse().ok()?;
        let started = parts.next()?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// Whether the process has ended, so that it touches no memory and releases no lock any more. A process that is
    /// only stopped is not gone. Takes a system call or three, and no lock.
    pub(crate) fn is_gone(self) -> bool {
        match Stat::of(self.pid) {
            Some(stat) => stat.started != self.started || stat.is_zombie,
            // Without a readable /proc only the kernel can tell.
            None => !exists(self.pid),
        }
    }
}

/// Whether there is a process of this number.
fn exists(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 is never delivered; only the number is checked.
    let sent = unsafe { libc::kill(pid, 0) } == 0;
    sent || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// What `/proc/PID/stat` tells of a process.
struct Stat {
    /// When it started, in clock ticks since boot.
    started: u64,
    /// It has ended, and its parent has not asked for its status yet.
    is_zombie: bool,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may contain anything.
        let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
        let state = fields.next()?;
        // Fields 20 and 22 of proc_pid_stat(5).
        let threads: u64 = fields.nth(16)?.parse().ok()?;
        let started = fields.nth(1)?.parse().ok()?;
        // The first thread of a process may have ended before the others.
        let is_zombie = matches!(state, "Z" | "X" | "x") && threads <= 1;
        Some(Self { started, is_zombie })
    }
}

fn start_time(pid: u32) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.started)
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
        let running = |owner: Owner| owner != Owner { pid: 7, started: 100 };
        let name = |pid: u32, started: u64| format!("{PREFIX}.42.{pid}.{started}.0");
        assert!(!is_stale(&name(7, 100), "42", running));
        assert!(is_stale(&name(7, 99), "42", running), "the number was given to another process");
        assert!(is_stale(&name(8, 100), "42", running));
        assert!(!is_stale(&name(8, 100), "43", running), "another namespace");
        assert!(!is_stale("somebody-elses", "42", running));
        assert!(!is_stale(&format!("{PREFIX}.42.x.y"), "42", running));
    }

    #[test]
    fn a_process_is_gone_when_it_has_ended_and_not_when_it_is_stopped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let address = format!("{PREFIX}.{}.{pid}.{}.0\0", pid_namespace(), start_time(pid).unwrap());
        let owner = Owner::of_address(address.as_bytes()).unwrap();
        assert_eq!(owner.pid, pid);
        assert!(!owner.is_gone());
        assert!(
            Owner { started: owner.started + 1, ..owner }.is_gone(),
            "a later process of the same number"
        );
        // SAFETY: the child has not been waited for, so the number is its own.
        unsafe { libc::kill(pid as libc::pid_t, libc::SIGSTOP) };
        assert!(!owner.is_gone(), "stopped");
        child.kill().unwrap();
        let begun = std::time::Instant::now();
        while !owner.is_gone() {
            assert!(begun.elapsed().as_secs() < 10, "killed, and not waited for yet");
        }
        child.wait().unwrap();
        assert!(owner.is_gone(), "waited for");
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_is_not_gone() {
        let stat = |state: &str, threads: u32| {
            let line = format!("7 (a) b) {state} 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 4711 0 0");
            let stat = Stat::parse(&line).unwrap();
            assert_eq!(stat.started, 4711);
            stat.is_zombie
        };
        assert!(stat("Z", 1) && !stat("Z", 2) && !stat("T", 1) && !stat("S", 1));
    }

    #[test]
    fn an_address_that_is_not_a_name_of_ours_has_no_owner() {
        for address in [&b""[..], b"\0", b"efa-ep", b"fi_shm://7\0", b"efa-ep.0.7.100.0\0", b"\xff\xff\0"] {
            assert_eq!(Owner::of_address(address), None, "{address:?}");
        }
    }

    #[test]
    fn names_differ_and_are_not_stale_while_we_run() {
        let (one, other) = (endpoint_name().unwrap(), endpoint_name().unwrap());
        assert_ne!(one, other);
        assert!(!is_stale(&one, &pid_namespace(), Owner::is_gone));
    }
}
