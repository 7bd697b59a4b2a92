//! Sleeping on words in shared memory, and waking who sleeps there.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while a word in shared memory keeps its value, at most for `wait`.
pub(crate) fn wait(word: &AtomicU32, value: u32, wait: Duration) {
    let wait = libc::timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
    // SAFETY: the word and the time live through the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &wait) };
}

/// Wakes whoever sleeps on a word in shared memory.
pub(crate) fn wake(word: &AtomicU32) {
    // SAFETY: the kernel only uses the address to find the sleepers.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}
