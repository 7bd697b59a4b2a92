//! Raw bindings to libfabric, with no policy.
//!
//! Three things are here: the structures, constants and functions of libfabric 1.22 as bindgen sees them; in
//! [`inline`], the calls that C has as `static inline` functions over tables of function pointers; and the choice of the
//! library that the calls go to ([`library()`]). Names are those of C, so libfabric's man pages are the documentation:
//! `fi_tsend` is in `fi_tagged(3)`.
//!
//! # Which libfabric
//!
//! Nothing is linked to a libfabric of the system. The first call that needs a library chooses one, for the whole process:
//!
//! 1. The one that the environment variable `EFA_LIBFABRIC` names: the path of a shared library, or `builtin`. If that
//!    one can't be used, none is.
//! 2. On a host with an EFA: one that the process has loaded already (a plugin of NCCL's, say), since two libraries in
//!    one process must not open the same device; then AWS's in `/opt/amazon/efa`; then the system's `libfabric.so.1`. Each
//!    must have the efa provider.
//! 3. The one that is built in: libfabric 1.22, compiled from source with the patches in `patches/` ([`PATCHES`]), with
//!    the providers tcp, shm, rxm and sockets. The feature `vendored` builds it in. It needs a C compiler and nothing
//!    else; Linux on x86_64 and aarch64. The feature `vendored-efa` adds the efa provider, and needs rdma-core's headers
//!    and libraries. The functions of the built-in library are hidden: no other library in the process is bound to them.
//! 4. If none is built in, the system's `libfabric.so.1`.
//!
//! Each must be 1.22 or newer and export what these bindings call. Others are skipped, and [`Library::skipped`] says why.
//! A library that was chosen stays loaded until the process ends.
//!
//! # Newer libraries
//!
//! libfabric fills structures by the version that the caller asks for. Ask [`fi_getinfo`] for
//! `min(fi_version(), BINDINGS_VERSION)`: more than these bindings know of would write past the end of the
//! structures here. Enumerations are plain integers, since a newer library may return values that are not
//! listed.
//!
//! # Safety
//!
//! Everything is `unsafe` and does what C does. For each call:
//!
//! - Every handle came from libfabric and is open, and no other thread is closing it. Calls on one object
//!   from several threads keep to the threading model that the domain was opened with.
//! - The operation belongs to a capability that the endpoint was opened with: a table that was not asked for
//!   may be null, and entries of a provider's table are called unchecked where C calls them unchecked.
//! - Pointers are valid for what the man page says the call reads or writes. Buffers and contexts of posted
//!   operations stay where they are until the operation's completion has been read or the endpoint is closed.

// What bindgen writes keeps neither Rust's naming nor our lints. The functions that it declares are linked to the built-in
// library only.
#[cfg_attr(not(feature = "vendored"), allow(dead_code))]
#[allow(missing_docs, non_camel_case_types, unreachable_pub, clippy::all, clippy::undocumented_unsafe_blocks)]
mod bindings {
    #[cfg(not(feature = "buildtime_bindgen"))]
    include!("bindings.rs");
    #[cfg(feature = "buildtime_bindgen")]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub mod inline;
mod library;

pub use bindings::*;
pub use inline::*;
pub use library::{
    BUILT_IN, Library, PATCHES, Place, Reason, Skipped, Unusable, VARIABLE, fi_dupinfo, fi_fabric,
    fi_freeinfo, fi_freeparams, fi_getinfo, fi_getparams, fi_strerror, fi_tostr, fi_tostr_r, fi_version,
    has_patch, library,
};

/// The folder of the headers of the built-in library, on the machine that built it.
#[cfg(feature = "vendored")]
pub const INCLUDE_DIR: &str = env!("EFA_SYS_INCLUDE");

/// The newest version to ask [`fi_getinfo`] for: the one whose headers these bindings were made from. It is also the oldest
/// library that is used.
pub const BINDINGS_VERSION: u32 = fi_version_number(FI_MAJOR_VERSION, FI_MINOR_VERSION);

/// No particular address: a receive takes a message from any peer.
pub const FI_ADDR_UNSPEC: fi_addr_t = u64::MAX;

/// An address that the provider can't tell.
pub const FI_ADDR_NOTAVAIL: fi_addr_t = u64::MAX;

/// A key that does not fit into 64 bits and must be fetched in its raw form.
pub const FI_KEY_NOTAVAIL: u64 = u64::MAX;

/// The macro `FI_VERSION`: a version as libfabric's calls take it.
pub const fn fi_version_number(major: u32, minor: u32) -> u32 {
    (major << 16) | minor
}

/// The macro `FI_MAJOR`.
pub const fn fi_major(version: u32) -> u32 {
    version >> 16
}

/// The macro `FI_MINOR`.
pub const fn fi_minor(version: u32) -> u32 {
    version & 0xffff
}
