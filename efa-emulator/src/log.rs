//! The log of what the device saw: one line per event, for people and for tests.
//!
//! `NANOSECONDS EVENT key=value …`, nanoseconds of the system's monotonic clock. Every line is one write, so that a
//! killed process leaves whole lines behind.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use crate::errno::{Errno, complain};

/// A process's log, or nothing.
#[derive(Debug)]
pub(crate) struct Log(Option<File>);

impl Log {
    /// Opens the log. `%p` in the path stands for the process number, `%r` for the rank; a path with neither gets
    /// `.` and the process number appended, so that processes don't share a file.
    pub(crate) fn open(path: Option<&str>, rank: u32) -> Result<Self, Errno> {
        let Some(path) = path else { return Ok(Self(None)) };
        let pid = std::process::id();
        let path = if path.contains("%p") || path.contains("%r") {
            path.replace("%p", &pid.to_string()).replace("%r", &rank.to_string())
        } else {
            format!("{path}.{pid}")
        };
        match File::options().append(true).create(true).open(&path) {
            Ok(file) => Ok(Self(Some(file))),
            Err(e) => {
                let why = format!("The file {path} can't be opened: {e}");
                complain(
                    "EFA_EMULATOR_LOG can't be used",
                    &why,
                    "Name a file in a folder that can be written to",
                );
                Err(e.into())
            }
        }
    }

    /// Returns `true` if lines go anywhere: ask before making one.
    pub(crate) fn on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes one line. A log that can't be written is not a reason to stop the program.
    pub(crate) fn line(&self, event: &str, fields: fmt::Arguments<'_>) {
        if let Some(mut file) = self.0.as_ref() {
            let line = format!("{} {event} {fields}\n", monotonic().as_nanos());
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// Returns the time since some fixed point of this boot, the same for all processes.
pub(crate) fn monotonic() -> Duration {
    read_clock(libc::CLOCK_MONOTONIC)
}

/// Returns the same time to a few milliseconds, several times cheaper.
pub(crate) fn monotonic_coarse() -> Duration {
    read_clock(libc::CLOCK_MONOTONIC_COARSE)
}

fn read_clock(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` may be written.
    unsafe { libc::clock_gettime(clock, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
