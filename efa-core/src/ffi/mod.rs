//! The only module that names `efa_sys`: owned handles and checked calls.
//!
//! Handles hold an `Arc` of their parent, so whatever order they are dropped in, libfabric sees the one it needs:
//! endpoint, memory regions, address vector, completion queue, domain, fabric. Domains are opened
//! `FI_THREAD_DOMAIN`: whoever calls anything here on an open domain holds that endpoint's lock.

mod completion;
mod handles;
mod info;
mod later;
mod post;

use std::ffi::{CStr, c_char, c_int};

pub(crate) use completion::{Batch, CompletionError, Polled};
pub(crate) use handles::{
    AccessFlags, AddressVector, CompletionQueue, Domain, EndpointHandle, Fabric, Registered,
};
pub(crate) use info::{Capabilities, Info, MemoryModes, Wanted, getinfo};
pub(crate) use later::{log_later, log_now, log_one};
pub(crate) use post::{AtomicCall, AtomicWidth, MAX_SEGMENTS, Posted, RemotePlace, Segment};

use crate::error::{Code, Error, Explanation, Result};

/// libfabric's name of "no address" and "any address".
pub(crate) const ADDRESS_UNSPECIFIED: u64 = efa_sys::FI_ADDR_UNSPEC;

/// A libfabric version, as `fi_version` packs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub u32);

impl Version {
    pub(crate) const FLOOR: Version = Version(1 << 16 | 22);

    /// The version of the library that is loaded.
    pub(crate) fn loaded() -> Self {
        // SAFETY: the call has no preconditions.
        Self(unsafe { efa_sys::fi_version() })
    }

    /// The version to ask for: the library fills structures by it, so never more than our layouts know.
    pub(crate) fn to_ask_for() -> Self {
        Self::loaded().min(Self::FLOOR)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// Returns `true` if the libfabric in use was built with the patch of this name.
pub(crate) const fn has_patch(name: &str) -> bool {
    efa_sys::has_patch(name)
}

/// Where the library that this program was built with came from, and the folder it is in.
pub(crate) fn origin() -> (&'static str, &'static str) {
    (efa_sys::ORIGIN, efa_sys::LIBRARY_DIR)
}

/// libfabric's words for an error number.
pub(crate) fn describe(code: Code) -> String {
    // SAFETY: `fi_strerror` accepts any number and returns a string that is never freed.
    unsafe { text(efa_sys::fi_strerror(code.0)) }
}

/// What a failed set-up call turns into.
pub(crate) fn failed(call: &str, code: Code, what: &str, remedy: &str) -> Error {
    let why = format!("{call}: {} ({code})", describe(code));
    Error::Fabric { code, text: Explanation::new(what, why, remedy) }
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
