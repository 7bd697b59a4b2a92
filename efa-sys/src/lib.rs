//! Raw bindings to libfabric, with no policy.
//!
//! Three things are here: the structures, constants and functions of libfabric 1.22 as bindgen sees them; in
//! [`inline`], the calls that C has as `static inline` functions over tables of function pointers; and what
//! is known about the library this was linked with ([`ORIGIN`], [`BUILT_VERSION`], [`LIBRARY_DIR`],
//! [`INCLUDE_DIR`]). Names are those of C, so libfabric's man pages are the documentation: `fi_tsend` is in
//! `fi_tagged(3)`.
//!
//! # Which libfabric
//!
//! The build script takes the first of these that is there. Whichever it is must be 1.22 or newer; if it is
//! not, the build fails and says what to do, rather than going on to the next.
//!
//! 1. The folder named by the environment variable `LIBFABRIC_DIR`, with `include/` and `lib/` or `lib64/`.
//! 2. AWS's installation in `/opt/amazon/efa`.
//! 3. With the feature `vendored`: libfabric 1.22, compiled from source with the patches in `patches/` ([`PATCHES`]),
//!    with the providers tcp, shm, rxm and sockets, and linked statically. Needs a C compiler and nothing else; Linux on x86_64 and aarch64. The
//!    feature `vendored-efa` adds the efa provider, and needs rdma-core's headers and libraries.
//! 4. What pkg-config finds.
//!
//! A shared libfabric outside the system's own folders is found at run time through the program's run path or
//! `LD_LIBRARY_PATH`. Build scripts of crates that depend on this one directly read `DEP_FABRIC_LIBDIR` (and
//! `DEP_FABRIC_INCLUDE`, `DEP_FABRIC_VERSION`, `DEP_FABRIC_ORIGIN`) and may emit
//! `cargo::rustc-link-arg=-Wl,-rpath,…` for their programs; cargo lets no crate do that for its dependents.
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

// What bindgen writes keeps neither Rust's naming nor our lints.
#[allow(missing_docs, non_camel_case_types, clippy::all, clippy::undocumented_unsafe_blocks)]
mod bindings {
    #[cfg(not(feature = "buildtime_bindgen"))]
    include!("bindings.rs");
    #[cfg(feature = "buildtime_bindgen")]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub mod inline;

pub use bindings::*;
pub use inline::*;

/// Which libfabric was linked: the folder that `LIBFABRIC_DIR` named, `/opt/amazon/efa`, `vendored` or
/// `pkg-config`.
pub const ORIGIN: &str = env!("EFA_SYS_ORIGIN");

/// The version of the libfabric that was there at build time; [`fi_version`] tells the one in use.
pub const BUILT_VERSION: &str = env!("EFA_SYS_VERSION");

/// The folder of the library that was linked: of `libfabric.a` when [`ORIGIN`] is `vendored`, else of
/// `libfabric.so`.
pub const LIBRARY_DIR: &str = env!("EFA_SYS_LIBDIR");

/// The folder of the headers that belong to it.
pub const INCLUDE_DIR: &str = env!("EFA_SYS_INCLUDE");

/// The names of the patches in `patches/` that this libfabric was built with, separated by spaces. Empty when it was
/// not built here.
pub const PATCHES: &str = env!("EFA_SYS_PATCHES");

/// Returns `true` if this libfabric was built with the patch.
pub const fn has_patch(name: &str) -> bool {
    let (names, name) = (PATCHES.as_bytes(), name.as_bytes());
    let mut start = 0;
    while start < names.len() {
        let mut end = start;
        while end < names.len() && names[end] != b' ' {
            end += 1;
        }
        if end - start == name.len() {
            let mut at = 0;
            while at < name.len() && names[start + at] == name[at] {
                at += 1;
            }
            if at == name.len() {
                return true;
            }
        }
        start = end + 1;
    }
    false
}

/// The newest version to ask [`fi_getinfo`] for: the one whose headers these bindings were made from.
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

/// `data_progress`, which newer headers call `progress` and keep in a union. With these two methods the same
/// code compiles with the checked-in bindings and with those of `buildtime_bindgen`.
impl fi_domain_attr {
    /// Who makes progress on data transfers.
    pub fn progress(&self) -> fi_progress {
        #[cfg(not(progress_union))]
        return self.data_progress;
        // SAFETY: both members of the union are the same integer.
        #[cfg(progress_union)]
        return unsafe { self.__bindgen_anon_1.progress };
    }

    /// Asks for a progress model.
    pub fn set_progress(&mut self, progress: fi_progress) {
        #[cfg(not(progress_union))]
        {
            self.data_progress = progress;
        }
        #[cfg(progress_union)]
        {
            self.__bindgen_anon_1.progress = progress;
        }
    }
}
