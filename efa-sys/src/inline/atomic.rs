//! `rdma/fi_atomic.h`: atomic operations on a peer's memory, see `fi_atomic(3)`.

use std::os::raw::{c_int, c_void};

use crate::inline::forward;
use crate::{
    fi_addr_t, fi_atomic_attr, fi_datatype, fi_ioc, fi_msg_atomic, fi_op, fi_ops_domain, fid_domain, fid_ep,
};

forward! {
    /// Updates a peer's memory.
    fn fi_atomic(
        ep: *mut fid_ep, buf: *const c_void, count: usize, desc: *mut c_void, dest_addr: fi_addr_t, addr: u64,
        key: u64, datatype: fi_datatype, op: fi_op, context: *mut c_void,
    ) -> isize = atomic.write;

    /// [`fi_atomic`] from several buffers.
    fn fi_atomicv(
        ep: *mut fid_ep, iov: *const fi_ioc, desc: *mut *mut c_void, count: usize, dest_addr: fi_addr_t,
        addr: u64, key: u64, datatype: fi_datatype, op: fi_op, context: *mut c_void,
    ) -> isize = atomic.writev;

    /// [`fi_atomic`] with flags.
    fn fi_atomicmsg(ep: *mut fid_ep, msg: *const fi_msg_atomic, flags: u64) -> isize = atomic.writemsg;

    /// [`fi_atomic`] without a completion; the buffer may be reused at once.
    fn fi_inject_atomic(
        ep: *mut fid_ep, buf: *const c_void, count: usize, dest_addr: fi_addr_t, addr: u64, key: u64,
        datatype: fi_datatype, op: fi_op,
    ) -> isize = atomic.inject;

    /// Updates a peer's memory and fetches what was there before.
    fn fi_fetch_atomic(
        ep: *mut fid_ep, buf: *const c_void, count: usize, desc: *mut c_void, result: *mut c_void,
        result_desc: *mut c_void, dest_addr: fi_addr_t, addr: u64, key: u64, datatype: fi_datatype, op: fi_op,
        context: *mut c_void,
    ) -> isize = atomic.readwrite;

    /// [`fi_fetch_atomic`] with several buffers.
    fn fi_fetch_atomicv(
        ep: *mut fid_ep, iov: *const fi_ioc, desc: *mut *mut c_void, count: usize, resultv: *mut fi_ioc,
        result_desc: *mut *mut c_void, result_count: usize, dest_addr: fi_addr_t, addr: u64, key: u64,
        datatype: fi_datatype, op: fi_op, context: *mut c_void,
    ) -> isize = atomic.readwritev;

    /// [`fi_fetch_atomic`] with flags.
    fn fi_fetch_atomicmsg(
        ep: *mut fid_ep, msg: *const fi_msg_atomic, resultv: *mut fi_ioc, result_desc: *mut *mut c_void,
        result_count: usize, flags: u64,
    ) -> isize = atomic.readwritemsg;

    /// Updates a peer's memory if it compares as `op` says, and fetches what was there before.
    fn fi_compare_atomic(
        ep: *mut fid_ep, buf: *const c_void, count: usize, desc: *mut c_void, compare: *const c_void,
        compare_desc: *mut c_void, result: *mut c_void, result_desc: *mut c_void, dest_addr: fi_addr_t,
        addr: u64, key: u64, datatype: fi_datatype, op: fi_op, context: *mut c_void,
    ) -> isize = atomic.compwrite;

    /// [`fi_compare_atomic`] with several buffers.
    fn fi_compare_atomicv(
        ep: *mut fid_ep, iov: *const fi_ioc, desc: *mut *mut c_void, count: usize, comparev: *const fi_ioc,
        compare_desc: *mut *mut c_void, compare_count: usize, resultv: *mut fi_ioc,
        result_desc: *mut *mut c_void, result_count: usize, dest_addr: fi_addr_t, addr: u64, key: u64,
        datatype: fi_datatype, op: fi_op, context: *mut c_void,
    ) -> isize = atomic.compwritev;

    /// [`fi_compare_atomic`] with flags.
    fn fi_compare_atomicmsg(
        ep: *mut fid_ep, msg: *const fi_msg_atomic, comparev: *const fi_ioc, compare_desc: *mut *mut c_void,
        compare_count: usize, resultv: *mut fi_ioc, result_desc: *mut *mut c_void, result_count: usize,
        flags: u64,
    ) -> isize = atomic.compwritemsg;

    /// Whether [`fi_atomic`] takes this type and operation, and how many elements at once.
    fn fi_atomicvalid(
        ep: *mut fid_ep, datatype: fi_datatype, op: fi_op, count: *mut usize,
    ) -> c_int = atomic.writevalid;

    /// Whether [`fi_fetch_atomic`] takes this type and operation, and how many elements at once.
    fn fi_fetch_atomicvalid(
        ep: *mut fid_ep, datatype: fi_datatype, op: fi_op, count: *mut usize,
    ) -> c_int = atomic.readwritevalid;

    /// Whether [`fi_compare_atomic`] takes this type and operation, and how many elements at once.
    fn fi_compare_atomicvalid(
        ep: *mut fid_ep, datatype: fi_datatype, op: fi_op, count: *mut usize,
    ) -> c_int = atomic.compwritevalid;

    /// Whether the domain takes this type and operation; `flags` says for which kind of atomic.
    fn fi_query_atomic(
        domain: *mut fid_domain, datatype: fi_datatype, op: fi_op, attr: *mut fi_atomic_attr, flags: u64,
    ) -> c_int = ops.query_atomic, within fi_ops_domain;
}
