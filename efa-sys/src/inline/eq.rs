//! `rdma/fi_eq.h`: completion queues, counters, event queues and waiting, see `fi_cq(3)`, `fi_cntr(3)`,
//! `fi_eq(3)`.

use std::os::raw::{c_char, c_int, c_void};

use crate::inline::forward;
use crate::{
    FI_ADDR_NOTAVAIL, fi_addr_t, fi_cq_err_entry, fi_eq_attr, fi_eq_err_entry, fi_ops_cntr, fid, fid_cntr,
    fid_cq, fid_eq, fid_fabric,
};

forward! {
    /// Whether it is safe to sleep on the wait objects of these objects; see `fi_poll(3)`.
    fn fi_trywait(fabric: *mut fid_fabric, fids: *mut *mut fid, count: c_int) -> c_int = ops.trywait;

    /// Reads completions, and makes progress.
    fn fi_cq_read(cq: *mut fid_cq, buf: *mut c_void, count: usize) -> isize = ops.read;

    /// [`fi_cq_read`], and who sent each message.
    fn fi_cq_readfrom(
        cq: *mut fid_cq, buf: *mut c_void, count: usize, src_addr: *mut fi_addr_t,
    ) -> isize = ops.readfrom;

    /// [`fi_cq_read`] that sleeps until a completion is there; `timeout` in milliseconds.
    fn fi_cq_sread(
        cq: *mut fid_cq, buf: *mut c_void, count: usize, cond: *const c_void, timeout: c_int,
    ) -> isize = ops.sread;

    /// [`fi_cq_sread`], and who sent each message.
    fn fi_cq_sreadfrom(
        cq: *mut fid_cq, buf: *mut c_void, count: usize, src_addr: *mut fi_addr_t, cond: *const c_void,
        timeout: c_int,
    ) -> isize = ops.sreadfrom;

    /// Wakes a thread that sleeps in [`fi_cq_sread`].
    fn fi_cq_signal(cq: *mut fid_cq) -> c_int = ops.signal;

    /// A provider's error number in words.
    fn fi_cq_strerror(
        cq: *mut fid_cq, prov_errno: c_int, err_data: *const c_void, buf: *mut c_char, len: usize,
    ) -> *const c_char = ops.strerror;

    /// The number of operations that completed.
    fn fi_cntr_read(cntr: *mut fid_cntr) -> u64 = ops.read;

    /// The number of operations that failed.
    fn fi_cntr_readerr(cntr: *mut fid_cntr) -> u64 = ops.readerr;

    /// Adds to a counter.
    fn fi_cntr_add(cntr: *mut fid_cntr, value: u64) -> c_int = ops.add;

    /// Sets a counter.
    fn fi_cntr_set(cntr: *mut fid_cntr, value: u64) -> c_int = ops.set;

    /// Adds to a counter's failures.
    fn fi_cntr_adderr(cntr: *mut fid_cntr, value: u64) -> c_int = ops.adderr, within fi_ops_cntr;

    /// Sets a counter's failures.
    fn fi_cntr_seterr(cntr: *mut fid_cntr, value: u64) -> c_int = ops.seterr, within fi_ops_cntr;

    /// Sleeps until a counter has reached a value; `timeout` in milliseconds.
    fn fi_cntr_wait(cntr: *mut fid_cntr, threshold: u64, timeout: c_int) -> c_int = ops.wait;

    /// Reads an event.
    fn fi_eq_read(
        eq: *mut fid_eq, event: *mut u32, buf: *mut c_void, len: usize, flags: u64,
    ) -> isize = ops.read;

    /// Reads an event that reports a failure.
    fn fi_eq_readerr(eq: *mut fid_eq, buf: *mut fi_eq_err_entry, flags: u64) -> isize = ops.readerr;

    /// [`fi_eq_read`] that sleeps until an event is there; `timeout` in milliseconds.
    fn fi_eq_sread(
        eq: *mut fid_eq, event: *mut u32, buf: *mut c_void, len: usize, timeout: c_int, flags: u64,
    ) -> isize = ops.sread;

    /// A provider's error number in words.
    fn fi_eq_strerror(
        eq: *mut fid_eq, prov_errno: c_int, err_data: *const c_void, buf: *mut c_char, len: usize,
    ) -> *const c_char = ops.strerror;

    /// Opens an event queue.
    fn fi_eq_open(
        fabric: *mut fid_fabric, attr: *mut fi_eq_attr, eq: *mut *mut fid_eq, context: *mut c_void,
    ) -> c_int = ops.eq_open;
}

/// Reads the completion of an operation that failed, after [`fi_cq_read`] returned `-FI_EAVAIL`.
#[inline]
pub unsafe fn fi_cq_readerr(cq: *mut fid_cq, buf: *mut fi_cq_err_entry, flags: u64) -> isize {
    // SAFETY: the caller vouches for the handle, and for `buf` unless it is null.
    unsafe {
        // Older providers leave the field alone.
        if !buf.is_null() {
            (*buf).src_addr = FI_ADDR_NOTAVAIL;
        }
        (*(*cq).ops).readerr.unwrap_unchecked()(cq, buf, flags)
    }
}
