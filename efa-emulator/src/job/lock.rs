//! Locks that the kernel gives back when their holder dies: open-file-description locks on byte ranges.

use std::ffi::{c_int, c_short};
use std::fs::File;
use std::os::fd::AsRawFd;

/// Byte of the first lock: far beyond the file's content, which locks don't care about.
const FIRST: i64 = 1 << 40;

/// Takes the locks `first..first + count` for as long as this open file lives; false if any is taken.
pub(crate) fn try_hold(file: &File, first: u64, count: u64) -> bool {
    control(file, libc::F_OFD_SETLK, libc::F_WRLCK, first, count).is_some()
}

/// Gives locks back.
pub(crate) fn let_go(file: &File, first: u64, count: u64) {
    control(file, libc::F_OFD_SETLK, libc::F_UNLCK, first, count);
}

/// Returns `true` if someone else holds any of the locks `first..first + count`.
pub(crate) fn is_held(file: &File, first: u64, count: u64) -> bool {
    control(file, libc::F_OFD_GETLK, libc::F_WRLCK, first, count)
        .is_some_and(|answer| c_int::from(answer.l_type) != libc::F_UNLCK)
}

fn control(file: &File, command: c_int, kind: c_int, first: u64, count: u64) -> Option<libc::flock> {
    let mut range = libc::flock {
        l_type: kind as c_short,
        l_whence: libc::SEEK_SET as c_short,
        l_start: FIRST + first as i64,
        l_len: count as i64,
        l_pid: 0,
    };
    // SAFETY: `range` may be read and written during the call.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, &mut range) };
    (answer == 0).then_some(range)
}
