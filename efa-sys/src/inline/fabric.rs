//! `rdma/fabric.h`: what all objects have in common, see `fi_fabric(3)` and `fi_control(3)`.

use std::os::raw::{c_char, c_int, c_void};
use std::ptr;

use crate::inline::entry;
use crate::{FI_ALIAS, FI_ENOSYS, fi_alias as AliasRequest, fi_dupinfo, fi_info, fi_ops, fid};

/// An empty [`fi_info`] from libfabric's allocator; give it back with [`fi_freeinfo`](crate::fi_freeinfo).
#[inline]
pub unsafe fn fi_allocinfo() -> *mut fi_info {
    // SAFETY: null is the documented way to ask for an empty structure.
    unsafe { fi_dupinfo(ptr::null()) }
}

/// Closes an object. Objects that depend on it must have been closed before.
#[inline]
pub unsafe fn fi_close(fid: *mut fid) -> c_int {
    // SAFETY: the caller vouches for the handle; every provider's table has `close`.
    unsafe { (*(*fid).ops).close.unwrap_unchecked()(fid) }
}

/// Sends a command to an object: `FI_GETWAIT` and its like.
#[inline]
pub unsafe fn fi_control(fid: *mut fid, command: c_int, arg: *mut c_void) -> c_int {
    // SAFETY: the caller vouches for the handle and for the argument that the command takes.
    unsafe { (*(*fid).ops).control.unwrap_unchecked()(fid, command, arg) }
}

/// Makes a second handle of an object, with other default flags.
#[inline]
pub unsafe fn fi_alias(fid: *mut fid, alias_fid: *mut *mut fid, flags: u64) -> c_int {
    let mut request = AliasRequest { fid: alias_fid, flags };
    // SAFETY: the command takes this structure, which outlives the call; the caller vouches for the rest.
    unsafe { fi_control(fid, FI_ALIAS, (&raw mut request).cast()) }
}

/// Opens a provider's own table of functions by its name.
#[inline]
pub unsafe fn fi_open_ops(
    fid: *mut fid,
    name: *const c_char,
    flags: u64,
    ops: *mut *mut c_void,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the caller vouches for the handle and the arguments.
    unsafe { (*(*fid).ops).ops_open.unwrap_unchecked()(fid, name, flags, ops, context) }
}

/// Replaces a provider's own table of functions.
#[inline]
pub unsafe fn fi_set_ops(
    fid: *mut fid,
    name: *const c_char,
    flags: u64,
    ops: *mut c_void,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the caller vouches for the handle and the arguments; the entry is looked for within the table's
    // size.
    unsafe {
        match entry!((*fid).ops, fi_ops, ops_set) {
            Some(set) => set(fid, name, flags, ops, context),
            None => -FI_ENOSYS,
        }
    }
}
