//! The only module that names `efa_sys`: owned handles and checked calls.
//!
//! Handles hold an `Arc` of their parent, so whatever order they are dropped in, libfabric sees the one it needs:
//! endpoint, memory regions, address vector, completion queue, domain, fabric. Domains are opened
//! `FI_THREAD_DOMAIN`: whoever calls anything here on an open domain holds that endpoint's lock.

mod completion;
mod handles;
mod info;
mod later;
mod library;
mod post;

use std::ffi::{CStr, c_char, c_int};

pub(crate) use completion::{Batch, CompletionError, Entry, Polled};
pub(crate) use handles::{
    AccessFlags, AddressVector, CompletionQueue, Domain, EndpointHandle, Fabric, Registered,
};
pub(crate) use info::{Capabilities, Info, MemoryModes, Wanted, getinfo};
pub(crate) use later::{log_later, log_now, log_one};
pub(crate) use library::library;
pub(crate) use post::{AtomicCall, AtomicWidth, MAX_SEGMENTS, Posted, RemotePlace, Segment};

use crate::error::{Code, Error, Explanation, Result, no_descriptor_left};

/// libfabric's name of "no address" and "any address".
pub(crate) const ADDRESS_UNSPECIFIED: u64 = efa_sys::FI_ADDR_UNSPEC;

/// A libfabric version, as `fi_version` packs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub u32);

impl Version {
    /// The version that our layouts are of.
    const LAYOUTS: Version = Version(efa_sys::BINDINGS_VERSION);

    /// The version of the library in use; zero if there is none.
    fn loaded() -> Self {
        // SAFETY: the call has no preconditions.
        Self(unsafe { efa_sys::fi_version() })
    }

    /// The version to ask for: the library fills structures by it, so never more than our layouts know.
    pub(crate) fn to_ask_for() -> Self {
        Self::loaded().min(Self::LAYOUTS)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// Returns `true` if the built-in libfabric is in use and has the patch of this name.
pub(crate) fn has_patch(name: &str) -> bool {
    efa_sys::has_patch(name)
}

/// libfabric's words for an error number.
pub(crate) fn describe(code: Code) -> String {
    // SAFETY: `fi_strerror` accepts any number and returns a string that is never freed.
    unsafe { text(efa_sys::fi_strerror(code.0)) }
}

/// What a failed set-up call turns into.
pub(crate) fn failed(call: &str, code: Code, what: &str, remedy: &str) -> Error {
    let why = format!("{call}: {} ({code})", describe(code));
    let text = match few_descriptors(code) {
        Some(right) => Explanation::new(what, format!("{why}; {NO_DESCRIPTORS}"), right),
        None => Explanation::new(what, why, remedy),
    };
    Error::Fabric { code, text }
}

pub(crate) const NO_DESCRIPTORS: &str = "there are no file descriptors left for it";

/// What to do about a failure of libfabric if it comes of a lack of file descriptors; `None` if there are enough.
///
/// libfabric's error numbers seldom say so.
pub(crate) fn few_descriptors(code: Code) -> Option<&'static str> {
    // More than any set-up call takes at a time.
    const ENOUGH: usize = 16;
    no_descriptor_left(code.0).or_else(|| {
        let mut files = Vec::with_capacity(ENOUGH);
        for _ in 0..ENOUGH {
            match std::fs::File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(error) => return no_descriptor_left(error.raw_os_error().unwrap_or(0)),
            }
        }
        None
    })
}

/// Turns a call's return value into a result; negative numbers are errors.
fn check(call: &str, returned: c_int, what: &str, remedy: &str) -> Result<()> {
    if returned >= 0 {
        return Ok(());
    }
    Err(failed(call, Code(returned.saturating_neg()), what, remedy))
}

/// Copies a C string; an absent one is empty.
///
/// # Safety
/// `string` is null or points to a string that ends in a zero byte.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: the caller vouches for it.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}
