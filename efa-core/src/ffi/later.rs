//! Log records that come up where no code of others may run.
//!
//! A logger is code of others: it may block, panic, or use an endpoint. So nothing is logged while an endpoint's lock is
//! held. Records wait here until a progress thread, or whoever closes a fabric, delivers them.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::Level;

/// How many records wait at most. More than that in a few milliseconds say nothing new.
const MOST: usize = 256;

static WAITING: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());
static IS_ANY: AtomicBool = AtomicBool::new(false);

/// Logs a text as soon as the logger may be called.
#[cold]
pub(crate) fn log_later(level: Level, text: String) {
    let mut waiting = waiting();
    if waiting.len() < MOST {
        waiting.push((level, text));
    }
    IS_ANY.store(true, Ordering::Release);
}

/// Logs what waits to be logged; to be called without any endpoint's lock. Returns `false` if the logger panicked.
#[inline]
pub(crate) fn log_now() -> bool {
    !IS_ANY.load(Ordering::Relaxed) || log_all()
}

#[cold]
fn log_all() -> bool {
    IS_ANY.store(false, Ordering::Relaxed);
    let records = std::mem::take(&mut *waiting());
    let mut is_well = true;
    for (level, text) in records {
        is_well &= log_one(level, &text);
    }
    is_well
}

/// Logs a text, and returns `false` if the logger panicked; then the text goes to standard error.
pub(crate) fn log_one(level: Level, text: &str) -> bool {
    let logged = catch_unwind(AssertUnwindSafe(|| log::log!(target: "efa_core", level, "{text}")));
    // Dropping the payload runs code of others as well.
    let is_well = logged.map_err(std::mem::forget).is_ok();
    if !is_well {
        let _ = writeln!(io::stderr(), "efa: {text} (the program's logger panicked when it was told)");
    }
    is_well
}

fn waiting() -> MutexGuard<'static, Vec<(Level, String)>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}
