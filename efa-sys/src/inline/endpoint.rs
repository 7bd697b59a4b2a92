//! `rdma/fi_endpoint.h`: endpoints and untagged messages, see `fi_endpoint(3)` and `fi_msg(3)`.

use std::mem::offset_of;
use std::os::raw::{c_int, c_void};
use std::ptr;

use crate::inline::{entry, forward};
use crate::{
    FI_ENABLE, FI_ENOSYS, fi_addr_t, fi_info, fi_msg, fi_ops_domain, fi_rx_attr, fid, fid_domain, fid_ep,
    iovec,
};

forward! {
    /// Opens an endpoint.
    fn fi_endpoint(
        domain: *mut fid_domain, info: *mut fi_info, ep: *mut *mut fid_ep, context: *mut c_void,
    ) -> c_int = ops.endpoint;

    /// Opens a receive context that several endpoints share.
    fn fi_srx_context(
        domain: *mut fid_domain, attr: *mut fi_rx_attr, rx_ep: *mut *mut fid_ep, context: *mut c_void,
    ) -> c_int = ops.srx_ctx;

    /// Associates an endpoint with a queue, a counter or an address vector.
    fn fi_ep_bind(ep: *mut fid_ep, other: *mut fid, flags: u64) -> c_int = fid.ops.bind;

    /// How many operations may still be posted; deprecated in libfabric, and not every provider has it.
    fn fi_tx_size_left(ep: *mut fid_ep) -> isize = ops.tx_size_left;

    /// How many receives may still be posted; deprecated in libfabric, and not every provider has it.
    fn fi_rx_size_left(ep: *mut fid_ep) -> isize = ops.rx_size_left;

    /// Posts a receive buffer.
    fn fi_recv(
        ep: *mut fid_ep, buf: *mut c_void, len: usize, desc: *mut c_void, src_addr: fi_addr_t,
        context: *mut c_void,
    ) -> isize = msg.recv;

    /// [`fi_recv`] into several buffers.
    fn fi_recvv(
        ep: *mut fid_ep, iov: *const iovec, desc: *mut *mut c_void, count: usize, src_addr: fi_addr_t,
        context: *mut c_void,
    ) -> isize = msg.recvv;

    /// [`fi_recv`] with flags.
    fn fi_recvmsg(ep: *mut fid_ep, msg: *const fi_msg, flags: u64) -> isize = msg.recvmsg;

    /// Sends a message.
    fn fi_send(
        ep: *mut fid_ep, buf: *const c_void, len: usize, desc: *mut c_void, dest_addr: fi_addr_t,
        context: *mut c_void,
    ) -> isize = msg.send;

    /// [`fi_send`] from several buffers.
    fn fi_sendv(
        ep: *mut fid_ep, iov: *const iovec, desc: *mut *mut c_void, count: usize, dest_addr: fi_addr_t,
        context: *mut c_void,
    ) -> isize = msg.sendv;

    /// [`fi_send`] with flags.
    fn fi_sendmsg(ep: *mut fid_ep, msg: *const fi_msg, flags: u64) -> isize = msg.sendmsg;

    /// Sends a short message without a completion; the buffer may be reused at once.
    fn fi_inject(ep: *mut fid_ep, buf: *const c_void, len: usize, dest_addr: fi_addr_t) -> isize = msg.inject;

    /// [`fi_send`] with immediate data for the receiver's completion.
    fn fi_senddata(
        ep: *mut fid_ep, buf: *const c_void, len: usize, desc: *mut c_void, data: u64, dest_addr: fi_addr_t,
        context: *mut c_void,
    ) -> isize = msg.senddata;

    /// [`fi_inject`] with immediate data.
    fn fi_injectdata(
        ep: *mut fid_ep, buf: *const c_void, len: usize, data: u64, dest_addr: fi_addr_t,
    ) -> isize = msg.injectdata;
}

/// [`fi_endpoint`] with flags.
#[inline]
pub unsafe fn fi_endpoint2(
    domain: *mut fid_domain,
    info: *mut fi_info,
    ep: *mut *mut fid_ep,
    flags: u64,
    context: *mut c_void,
) -> c_int {
    if flags == 0 {
        // SAFETY: the caller vouches for the handle and the arguments.
        return unsafe { fi_endpoint(domain, info, ep, context) };
    }
    // SAFETY: the same; the entry is looked for within the table's size.
    unsafe {
        match entry!((*domain).ops, fi_ops_domain, endpoint2) {
            Some(open) => open(domain, info, ep, flags, context),
            None => -FI_ENOSYS,
        }
    }
}

/// Makes an endpoint ready to transfer.
#[inline]
pub unsafe fn fi_enable(ep: *mut fid_ep) -> c_int {
    // SAFETY: the caller vouches for the handle; the command takes no argument.
    unsafe { (*(*ep).fid.ops).control.unwrap_unchecked()(&raw mut (*ep).fid, FI_ENABLE, ptr::null_mut()) }
}

/// Asks to cancel the operation with this context. `fid` is that of an endpoint.
#[inline]
pub unsafe fn fi_cancel(fid: *mut fid, context: *mut c_void) -> isize {
    // SAFETY: the caller vouches that the handle is an endpoint's.
    unsafe { (*(*endpoint_of(fid)).ops).cancel.unwrap_unchecked()(fid, context) }
}

/// Sets an option of an endpoint.
#[inline]
pub unsafe fn fi_setopt(
    fid: *mut fid,
    level: c_int,
    optname: c_int,
    optval: *const c_void,
    optlen: usize,
) -> c_int {
    // SAFETY: the caller vouches that the handle is an endpoint's, and for the option's value.
    unsafe { (*(*endpoint_of(fid)).ops).setopt.unwrap_unchecked()(fid, level, optname, optval, optlen) }
}

/// Reads an option of an endpoint.
#[inline]
pub unsafe fn fi_getopt(
    fid: *mut fid,
    level: c_int,
    optname: c_int,
    optval: *mut c_void,
    optlen: *mut usize,
) -> c_int {
    // SAFETY: the caller vouches that the handle is an endpoint's, and for the option's value.
    unsafe { (*(*endpoint_of(fid)).ops).getopt.unwrap_unchecked()(fid, level, optname, optval, optlen) }
}

/// The endpoint that a `fid` is the head of.
///
/// # Safety
/// `fid` is the first field of a [`fid_ep`].
#[inline]
pub(crate) unsafe fn endpoint_of(fid: *mut fid) -> *mut fid_ep {
    // SAFETY: by the contract above the result stays within the same object.
    unsafe { fid.byte_sub(offset_of!(fid_ep, fid)).cast() }
}
