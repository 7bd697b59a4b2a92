//! The calls that libfabric's headers define as `static inline` functions, one file per header.
//!
//! Each looks up an entry in the table of function pointers that belongs to a handle, and calls it. Entries
//! that C calls unchecked are called unchecked here. Entries that C checks, because they came with a later
//! version, are looked for within the table's own `size`, and `-FI_ENOSYS` is the answer where they are
//! missing.
//!
//! The safety contract is the crate's, see [the crate's documentation](crate#safety).

// The contract is the same for all of them and stands in the crate's documentation.
#![allow(clippy::missing_safety_doc)]
// The number of arguments is libfabric's choice.
#![allow(clippy::too_many_arguments)]

mod atomic;
mod cm;
mod domain;
mod endpoint;
mod eq;
mod fabric;
mod rma;
mod tagged;

pub use atomic::*;
pub use cm::*;
pub use domain::*;
pub use endpoint::*;
pub use eq::*;
pub use fabric::*;
pub use rma::*;
pub use tagged::*;

/// Defines calls that forward to `handle.table.operation` with the handle and all other arguments.
///
/// `fn name(handle: type, arguments) -> result = table.operation;` passes the handle itself; with `via fid`
/// it passes the address of the handle's `fid`; with `within table_type` the entry may be missing.
macro_rules! forward {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($handle:ident: *mut $object:ty $(, $argument:ident: $type:ty)* $(,)?) -> $result:ty
            = $($path:ident).+ $(, via $via:ident)? $(, within $table:ty)?;
    )*) => {$(
        $(#[$doc])*
        #[inline]
        pub unsafe fn $name($handle: *mut $object $(, $argument: $type)*) -> $result {
            // SAFETY: the caller vouches for the handle and the arguments, see the crate's documentation.
            unsafe { forward!(@call $handle, [$($path).+], ($($argument),*) $(, via $via)? $(, within $table)?) }
        }
    )*};
    (@call $handle:ident, [$table:ident.$operation:ident], ($($argument:ident),*)) => {
        (*(*$handle).$table).$operation.unwrap_unchecked()($handle $(, $argument)*)
    };
    (@call $handle:ident, [$table:ident.$operation:ident], ($($argument:ident),*), via fid) => {
        (*(*$handle).$table).$operation.unwrap_unchecked()(&raw mut (*$handle).fid $(, $argument)*)
    };
    (@call $handle:ident, [fid.ops.$operation:ident], ($($argument:ident),*)) => {
        (*(*$handle).fid.ops).$operation.unwrap_unchecked()(&raw mut (*$handle).fid $(, $argument)*)
    };
    (@call $handle:ident, [$table:ident.$operation:ident], ($($argument:ident),*), within $type:ty) => {
        match $crate::inline::entry!((*$handle).$table, $type, $operation) {
            Some(operation) => operation($handle $(, $argument)*),
            None => -$crate::FI_ENOSYS,
        }
    };
}
pub(crate) use forward;

/// The macro `FI_CHECK_OP`: an entry of a table, or nothing if there is no table, if the table is of an older
/// version that ends before the entry, or if the provider left it empty.
macro_rules! entry {
    ($table:expr, $type:ty, $operation:ident) => {{
        let table: *mut $type = $table;
        if !table.is_null() && (*table).size > ::std::mem::offset_of!($type, $operation) {
            (*table).$operation
        } else {
            None
        }
    }};
}
pub(crate) use entry;
