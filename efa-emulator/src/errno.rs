//! Error numbers: what every call of this library answers with.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A positive `errno` value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Errno(pub(crate) c_int);

impl Errno {
    /// Returns the calling thread's `errno`.
    pub(crate) fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// Sets the calling thread's `errno`, as C callers expect beside a null pointer.
    pub(crate) fn set(self) {
        // SAFETY: `__errno_location` points at this thread's own errno for the thread's whole life.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// Runs the body of a call that answers with 0 or an error number; a panic becomes EIO instead of ending the program.
pub(crate) fn code(body: impl FnOnce() -> Result<(), Errno>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(e)) => {
            e.set();
            e.0
        }
        Err(_) => libc::EIO,
    }
}

/// Runs the body of a call that answers with a pointer, or with null and `errno`.
pub(crate) fn pointer<T>(body: impl FnOnce() -> Result<*mut T, Errno>) -> *mut T {
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(p)) => return p,
        Ok(Err(e)) => e,
        Err(_) => Errno(libc::EIO),
    };
    error.set();
    std::ptr::null_mut()
}

/// Tells the person at the terminal what is wrong, why, and what to do.
pub(crate) fn complain(what: &str, why: &str, remedy: &str) {
    eprintln!("efa-emulator: {what}. {why}. {remedy}.");
}
