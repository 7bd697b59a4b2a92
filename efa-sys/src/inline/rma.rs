//! `rdma/fi_rma.h`: reads and writes of a peer's memory, see `fi_rma(3)`.

use std::os::raw::c_void;

use crate::inline::forward;
use crate::{fi_addr_t, fi_msg_rma, fid_ep, iovec};

forward! {
    /// Reads a peer's memory.
    fn fi_read(
        ep: *mut fid_ep, buf: *mut c_void, len: usize, desc: *mut c_void, src_addr: fi_addr_t, addr: u64,
        key: u64, context: *mut c_void,
    ) -> isize = rma.read;

    /// [`fi_read`] into several buffers.
    fn fi_readv(
        ep: *mut fid_ep, iov: *const iovec, desc: *mut *mut c_void, count: usize, src_addr: fi_addr_t,
        addr: u64, key: u64, context: *mut c_void,
    ) -> isize = rma.readv;

    /// [`fi_read`] with flags.
    fn fi_readmsg(ep: *mut fid_ep, msg: *const fi_msg_rma, flags: u64) -> isize = rma.readmsg;

    /// Writes a peer's memory.
    fn fi_write(
        ep: *mut fid_ep, buf: *const c_void, len: usize, desc: *mut c_void, dest_addr: fi_addr_t, addr: u64,
        key: u64, context: *mut c_void,
    ) -> isize = rma.write;

    /// [`fi_write`] from several buffers.
    fn fi_writev(
        ep: *mut fid_ep, iov: *const iovec, desc: *mut *mut c_void, count: usize, dest_addr: fi_addr_t,
        addr: u64, key: u64, context: *mut c_void,
    ) -> isize = rma.writev;

    /// [`fi_write`] with flags.
    fn fi_writemsg(ep: *mut fid_ep, msg: *const fi_msg_rma, flags: u64) -> isize = rma.writemsg;

    /// Writes a few bytes without a completion; the buffer may be reused at once.
    fn fi_inject_write(
        ep: *mut fid_ep, buf: *const c_void, len: usize, dest_addr: fi_addr_t, addr: u64, key: u64,
    ) -> isize = rma.inject;

    /// [`fi_write`] with immediate data for a completion at the target.
    fn fi_writedata(
        ep: *mut fid_ep, buf: *const c_void, len: usize, desc: *mut c_void, data: u64, dest_addr: fi_addr_t,
        addr: u64, key: u64, context: *mut c_void,
    ) -> isize = rma.writedata;

    /// [`fi_inject_write`] with immediate data.
    fn fi_inject_writedata(
        ep: *mut fid_ep, buf: *const c_void, len: usize, data: u64, dest_addr: fi_addr_t, addr: u64, key: u64,
    ) -> isize = rma.injectdata;
}
