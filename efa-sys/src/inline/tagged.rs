//! `rdma/fi_tagged.h`: tagged messages, see `fi_tagged(3)`.

use std::os::raw::c_void;

use crate::inline::forward;
use crate::{fi_addr_t, fi_msg_tagged, fid_ep, iovec};

forward! {
    /// Posts a receive buffer for messages whose tag equals `tag` outside the bits of `ignore`.
    fn fi_trecv(
        ep: *mut fid_ep, buf: *mut c_void, len: usize, desc: *mut c_void, src_addr: fi_addr_t, tag: u64,
        ignore: u64, context: *mut c_void,
    ) -> isize = tagged.recv;

    /// [`fi_trecv`] into several buffers.
    fn fi_trecvv(
        ep: *mut fid_ep, iov: *const iovec, desc: *mut *mut c_void, count: usize, src_addr: fi_addr_t,
        tag: u64, ignore: u64, context: *mut c_void,
    ) -> isize = tagged.recvv;

    /// [`fi_trecv`] with flags: `FI_PEEK`, `FI_CLAIM` and `FI_DISCARD` among them.
    fn fi_trecvmsg(ep: *mut fid_ep, msg: *const fi_msg_tagged, flags: u64) -> isize = tagged.recvmsg;

    /// Sends a message.
    fn fi_tsend(
        ep: *mut fid_ep, buf: *const c_void, len: usize, desc: *mut c_void, dest_addr: fi_addr_t, tag: u64,
        context: *mut c_void,
    ) -> isize = tagged.send;

    /// [`fi_tsend`] from several buffers.
    fn fi_tsendv(
        ep: *mut fid_ep, iov: *const iovec, desc: *mut *mut c_void, count: usize, dest_addr: fi_addr_t,
        tag: u64, context: *mut c_void,
    ) -> isize = tagged.sendv;

    /// [`fi_tsend`] with flags.
    fn fi_tsendmsg(ep: *mut fid_ep, msg: *const fi_msg_tagged, flags: u64) -> isize = tagged.sendmsg;

    /// Sends a short message without a completion; the buffer may be reused at once.
    fn fi_tinject(
        ep: *mut fid_ep, buf: *const c_void, len: usize, dest_addr: fi_addr_t, tag: u64,
    ) -> isize = tagged.inject;

    /// [`fi_tsend`] with immediate data for the receiver's completion.
    fn fi_tsenddata(
        ep: *mut fid_ep, buf: *const c_void, len: usize, desc: *mut c_void, data: u64, dest_addr: fi_addr_t,
        tag: u64, context: *mut c_void,
    ) -> isize = tagged.senddata;

    /// [`fi_tinject`] with immediate data.
    fn fi_tinjectdata(
        ep: *mut fid_ep, buf: *const c_void, len: usize, data: u64, dest_addr: fi_addr_t, tag: u64,
    ) -> isize = tagged.injectdata;
}
