//! `rdma/fi_domain.h`: domains, address vectors and memory regions, see `fi_domain(3)`, `fi_av(3)`,
//! `fi_mr(3)`.

use std::mem;
use std::os::raw::{c_char, c_int, c_void};
use std::ptr;

use crate::inline::{entry, forward};
use crate::{
    FI_ENABLE, FI_ENOSYS, FI_REFRESH, fi_addr_t, fi_av_attr, fi_cntr_attr, fi_cq_attr, fi_info, fi_mr_attr,
    fi_mr_modify, fi_ops_fabric, fid, fid_av, fid_cntr, fid_cq, fid_domain, fid_fabric, fid_mr, iovec,
};

forward! {
    /// Opens a domain.
    fn fi_domain(
        fabric: *mut fid_fabric, info: *mut fi_info, domain: *mut *mut fid_domain, context: *mut c_void,
    ) -> c_int = ops.domain;

    /// Associates an object with a domain.
    fn fi_domain_bind(domain: *mut fid_domain, other: *mut fid, flags: u64) -> c_int = fid.ops.bind;

    /// Opens a completion queue.
    fn fi_cq_open(
        domain: *mut fid_domain, attr: *mut fi_cq_attr, cq: *mut *mut fid_cq, context: *mut c_void,
    ) -> c_int = ops.cq_open;

    /// Opens a counter of completions.
    fn fi_cntr_open(
        domain: *mut fid_domain, attr: *mut fi_cntr_attr, cntr: *mut *mut fid_cntr, context: *mut c_void,
    ) -> c_int = ops.cntr_open;

    /// Opens an address vector.
    fn fi_av_open(
        domain: *mut fid_domain, attr: *mut fi_av_attr, av: *mut *mut fid_av, context: *mut c_void,
    ) -> c_int = ops.av_open;

    /// Registers a buffer.
    fn fi_mr_reg(
        domain: *mut fid_domain, buf: *const c_void, len: usize, access: u64, offset: u64, requested_key: u64,
        flags: u64, mr: *mut *mut fid_mr, context: *mut c_void,
    ) -> c_int = mr.reg, via fid;

    /// Registers several buffers as one region.
    fn fi_mr_regv(
        domain: *mut fid_domain, iov: *const iovec, count: usize, access: u64, offset: u64,
        requested_key: u64, flags: u64, mr: *mut *mut fid_mr, context: *mut c_void,
    ) -> c_int = mr.regv, via fid;

    /// Registers memory as described by a structure.
    fn fi_mr_regattr(
        domain: *mut fid_domain, attr: *const fi_mr_attr, flags: u64, mr: *mut *mut fid_mr,
    ) -> c_int = mr.regattr, via fid;

    /// Associates a memory region with an endpoint or a counter.
    fn fi_mr_bind(mr: *mut fid_mr, other: *mut fid, flags: u64) -> c_int = fid.ops.bind;

    /// Associates an address vector with an event queue.
    fn fi_av_bind(av: *mut fid_av, other: *mut fid, flags: u64) -> c_int = fid.ops.bind;

    /// Adds addresses, one after the other in the domain's format; returns how many were added.
    fn fi_av_insert(
        av: *mut fid_av, addr: *const c_void, count: usize, fi_addr: *mut fi_addr_t, flags: u64,
        context: *mut c_void,
    ) -> c_int = ops.insert;

    /// Adds the address that a name and a service resolve to.
    fn fi_av_insertsvc(
        av: *mut fid_av, node: *const c_char, service: *const c_char, fi_addr: *mut fi_addr_t, flags: u64,
        context: *mut c_void,
    ) -> c_int = ops.insertsvc;

    /// Removes addresses.
    fn fi_av_remove(av: *mut fid_av, fi_addr: *mut fi_addr_t, count: usize, flags: u64) -> c_int = ops.remove;

    /// The raw address behind an entry.
    fn fi_av_lookup(
        av: *mut fid_av, fi_addr: fi_addr_t, addr: *mut c_void, addrlen: *mut usize,
    ) -> c_int = ops.lookup;

    /// A raw address in printable form.
    fn fi_av_straddr(
        av: *mut fid_av, addr: *const c_void, buf: *mut c_char, len: *mut usize,
    ) -> *const c_char = ops.straddr;
}

/// [`fi_domain`] with flags.
#[inline]
pub unsafe fn fi_domain2(
    fabric: *mut fid_fabric,
    info: *mut fi_info,
    domain: *mut *mut fid_domain,
    flags: u64,
    context: *mut c_void,
) -> c_int {
    if flags == 0 {
        // SAFETY: the caller vouches for the handle and the arguments.
        return unsafe { fi_domain(fabric, info, domain, context) };
    }
    // SAFETY: the same; the entry is looked for within the table's size.
    unsafe {
        match entry!((*fabric).ops, fi_ops_fabric, domain2) {
            Some(open) => open(fabric, info, domain, flags, context),
            None => -FI_ENOSYS,
        }
    }
}

/// The descriptor that local operations on the region's memory take.
#[inline]
pub unsafe fn fi_mr_desc(mr: *mut fid_mr) -> *mut c_void {
    // SAFETY: the caller vouches for the handle.
    unsafe { (*mr).mem_desc }
}

/// The key that peers need; [`FI_KEY_NOTAVAIL`](crate::FI_KEY_NOTAVAIL) if it does not fit.
#[inline]
pub unsafe fn fi_mr_key(mr: *mut fid_mr) -> u64 {
    // SAFETY: the caller vouches for the handle.
    unsafe { (*mr).key }
}

/// Tells the provider that pages of a region have changed.
#[inline]
pub unsafe fn fi_mr_refresh(mr: *mut fid_mr, iov: *const iovec, count: usize, flags: u64) -> c_int {
    // SAFETY: zero is a valid value of every field of this plain structure.
    let mut change: fi_mr_modify = unsafe { mem::zeroed() };
    change.flags = flags;
    change.attr.__bindgen_anon_1.mr_iov = iov;
    change.attr.iov_count = count;
    // SAFETY: the command takes this structure, which outlives the call; the caller vouches for the rest.
    unsafe {
        (*(*mr).fid.ops).control.unwrap_unchecked()(&raw mut (*mr).fid, FI_REFRESH, (&raw mut change).cast())
    }
}

/// Makes a region usable after it was bound to an endpoint.
#[inline]
pub unsafe fn fi_mr_enable(mr: *mut fid_mr) -> c_int {
    // SAFETY: the caller vouches for the handle; the command takes no argument.
    unsafe { (*(*mr).fid.ops).control.unwrap_unchecked()(&raw mut (*mr).fid, FI_ENABLE, ptr::null_mut()) }
}
