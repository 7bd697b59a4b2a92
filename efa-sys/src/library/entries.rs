//! The functions that libfabric exports, as a table: each call goes to the library that was chosen.
//!
//! All other calls go through tables of functions that libfabric's objects carry, see [`inline`](crate::inline).

// The contract is the same for all of them and stands in the crate's documentation.
#![allow(clippy::missing_safety_doc)]

use std::os::raw::{c_char, c_int, c_void};
use std::ptr;

use libloading::os::unix::Library as Handle;

#[cfg(feature = "vendored")]
use crate::bindings;
use crate::{FI_ENOSYS, fi_fabric_attr, fi_info, fi_param, fi_type, fid_fabric};

/// Defines the table, the ways to fill it, and a public function for each entry. After each declaration stands what the
/// function returns when there is no library.
macro_rules! entries {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty, else $absent:expr;
    )*) => {
        /// The functions of one library.
        pub(super) struct Entries {
            $(pub(super) $name: unsafe extern "C" fn($($type),*) -> $result,)*
        }

        impl Entries {
            /// Those of the library that is built in.
            #[cfg(feature = "vendored")]
            pub(super) const BUILT_IN: Self = Self { $($name: bindings::$name,)* };

            /// Those of no library: each fails.
            pub(super) const NONE: Self = {
                $(unsafe extern "C" fn $name($(_: $type),*) -> $result { $absent })*
                Self { $($name,)* }
            };

            /// Looks them up in a shared library. The error is the name of one that is missing.
            ///
            /// # Safety
            /// Functions of these names have libfabric's signatures there, and the library is never unloaded.
            pub(super) unsafe fn of(library: &Handle) -> Result<Self, &'static str> {
                Ok(Self {
                    // SAFETY: the caller vouches for the signature.
                    $($name: match unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) } {
                        Ok(function) => *function,
                        Err(_) => return Err(stringify!($name)),
                    },)*
                })
            }
        }

        $(
            $(#[$doc])*
            pub unsafe fn $name($($argument: $type),*) -> $result {
                // SAFETY: the caller vouches for the arguments, see the crate's documentation.
                unsafe { (super::entries().$name)($($argument),*) }
            }
        )*
    };
}

entries! {
    /// Lists what providers offer, see `fi_getinfo(3)`.
    fn fi_getinfo(
        version: u32,
        node: *const c_char,
        service: *const c_char,
        flags: u64,
        hints: *const fi_info,
        info: *mut *mut fi_info,
    ) -> c_int, else -FI_ENOSYS;

    /// Frees a list of [`fi_getinfo`]'s, see `fi_getinfo(3)`.
    fn fi_freeinfo(info: *mut fi_info) -> (), else ();

    /// Copies an `fi_info`, or makes an empty one, see `fi_getinfo(3)`. Null when there is no memory.
    fn fi_dupinfo(info: *const fi_info) -> *mut fi_info, else ptr::null_mut();

    /// Opens a fabric, see `fi_fabric(3)`.
    fn fi_fabric(
        attr: *mut fi_fabric_attr,
        fabric: *mut *mut fid_fabric,
        context: *mut c_void,
    ) -> c_int, else -FI_ENOSYS;

    /// Returns the library's version, see `fi_version(3)`; 0 when there is no library.
    fn fi_version() -> u32, else 0;

    /// Describes an error number, see `fi_errno(3)`.
    fn fi_strerror(errnum: c_int) -> *const c_char, else c"there is no libfabric".as_ptr();

    /// Prints a value, see `fi_tostr(3)`. Null when there is no library.
    fn fi_tostr(data: *const c_void, datatype: fi_type) -> *mut c_char, else ptr::null_mut();

    /// Prints a value to a buffer, see `fi_tostr(3)`. Null when there is no library.
    fn fi_tostr_r(
        buf: *mut c_char,
        len: usize,
        data: *const c_void,
        datatype: fi_type,
    ) -> *mut c_char, else ptr::null_mut();

    /// Lists the environment variables that libfabric reads, see `fi_getparams(3)`.
    fn fi_getparams(params: *mut *mut fi_param, count: *mut c_int) -> c_int, else -FI_ENOSYS;

    /// Frees a list of [`fi_getparams`]'s.
    fn fi_freeparams(params: *mut fi_param) -> (), else ();
}
