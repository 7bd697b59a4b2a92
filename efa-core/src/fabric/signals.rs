//! Keeps the program's signal handlers.
//!
//! The shm provider's handlers take a lock that the provider holds while it opens an endpoint. A signal that reaches the
//! opening thread meanwhile would wait for that lock for ever, so the opening thread blocks SIGINT and
//! SIGTERM until the program's handlers are back. Another thread of the process may still get such a signal, and then
//! removes the names of the endpoints' files before the signal does what the program wants.

use std::sync::{Mutex, PoisonError};

/// The shm provider replaces the handlers of these with its own when its first endpoint opens.
const REPLACED: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGINT, libc::SIGTERM];

/// Those of them that come from outside.
const BLOCKED: [libc::c_int; 2] = [libc::SIGINT, libc::SIGTERM];

/// Runs `open` without interruption by SIGINT and SIGTERM, and puts the program's signal handlers back afterwards.
pub(crate) fn keeping_signal_handlers<T>(open: impl FnOnce() -> T) -> T {
    // Handlers are the process's: two threads that save and restore at once could restore the wrong ones.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: all-zero is room for a mask; the calls fill it in, and change the mask of this thread only.
    let mask = unsafe {
        let mut blocked: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut blocked);
        for signal in BLOCKED {
            libc::sigaddset(&mut blocked, signal);
        }
        let mut before: libc::sigset_t = std::mem::zeroed();
        (libc::pthread_sigmask(libc::SIG_BLOCK, &blocked, &mut before) == 0).then_some(before)
    };
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
    if let Some(mask) = mask {
        // SAFETY: it is this thread's mask of before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut()) };
    }
    result
}
