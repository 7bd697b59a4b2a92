//! Signals to the launcher, as events.

use std::fs;
use std::thread;

use efa_core::Error;
use signal_hook::consts::signal::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// The signals that mean "end".
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// The others that concern us: a process ended, Ctrl-Z, and two that programs give meanings of their own.
const OTHERS: [i32; 4] = [SIGCHLD, SIGTSTP, SIGUSR1, SIGUSR2];

/// Returns `true` if a signal asks the job to end.
pub(super) fn asks_to_end(signal: i32) -> bool {
    ENDING.contains(&signal)
}

/// Calls `tell` with each signal from now on.
///
/// A signal that was ignored when we started stays ignored: that is how `nohup` and background jobs of scripts
/// protect themselves.
pub(super) fn deliver(tell: impl Fn(i32) + Send + 'static) -> Result<(), Error> {
    let ignored = ignored_signals();
    let is_ignored = |signal: i32| ignored & (1 << (signal - 1)) != 0;
    let wanted = ENDING.into_iter().chain(OTHERS).filter(|&signal| signal == SIGCHLD || !is_ignored(signal));
    let failed =
        |error| Error::system(error, "cannot watch for signals", "check the limits on threads and files");
    let mut signals = Signals::new(wanted).map_err(failed)?;
    let watch = move || signals.forever().for_each(tell);
    thread::Builder::new().name("signals".into()).spawn(watch).map_err(failed)?;
    Ok(())
}

/// Returns the set of ignored signals, bit N-1 for signal N; empty where /proc doesn't tell.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
