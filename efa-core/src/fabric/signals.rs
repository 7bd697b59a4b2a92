//! Keeps the program's signal handlers.

use std::sync::{Mutex, PoisonError};

/// The shm provider replaces the handlers of these with its own when its first endpoint opens.
const REPLACED: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGINT, libc::SIGTERM];

/// Runs `open` and puts the program's signal handlers back afterwards.
pub(crate) fn keeping_signal_handlers<T>(open: impl FnOnce() -> T) -> T {
    // Handlers are the process's: two threads that save and restore at once could restore the wrong ones.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let handlers = REPLACED.map(|signal| {
        // SAFETY: all-zero is a valid `sigaction`, and asking for the current one changes nothing.
        unsafe {
            let mut handler: libc::sigaction = std::mem::zeroed();
            (libc::sigaction(signal, std::ptr::null(), &mut handler) == 0).then_some(handler)
        }
    });
    let result = open();
    for (signal, handler) in REPLACED.into_iter().zip(handlers) {
        if let Some(handler) = handler {
            // SAFETY: it is what was installed before.
            unsafe { libc::sigaction(signal, &handler, std::ptr::null_mut()) };
        }
    }
    result
}
