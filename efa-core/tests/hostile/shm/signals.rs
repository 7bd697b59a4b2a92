//! Signals that arrive while an endpoint opens.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use efa_core::Endpoint;

use super::again::{self, Again};
use super::{common, is_ours};

static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handle(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_signal_reaches_the_programs_handler_though_an_endpoint_is_being_opened() {
    if !is_ours() {
        return;
    }
    if again::given().is_some() {
        return open_under_fire();
    }
    Again::start(a_signal_reaches_the_programs_handler_though_an_endpoint_is_being_opened, "", &[]).passes();
}

/// Opens an endpoint, and sends SIGTERM to the thread that opens it while the provider makes the file of its region: a
/// lock is held then that the provider's own handler takes.
fn open_under_fire() {
    // SAFETY: the handler only adds to an atomic, and all-zero is a valid `sigaction` to begin with.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGTERM, &action, std::ptr::null_mut()), 0);
    }
    let admission = common::admission(1);
    // SAFETY: it has no preconditions.
    let opener = unsafe { libc::pthread_self() };
    let is_open = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !has_region_file() && !is_open.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            // SAFETY: the thread waits for this one before it ends.
            unsafe { libc::pthread_kill(opener, libc::SIGTERM) };
        });
        drop(Endpoint::alone(&admission, common::config()).unwrap());
        is_open.store(true, Ordering::Relaxed);
    });
    common::until("the program's handler has run", || HANDLED.load(Ordering::Relaxed) == 1);
}

/// Whether this process has a file in `/dev/shm` open.
fn has_region_file() -> bool {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    files.filter_map(|file| file.path().read_link().ok()).any(|path| path.starts_with("/dev/shm"))
}
