//! Queue pairs, as C sees them: making, changing, destroying.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::completions::CompletionQueue;
use super::context::Context;
use super::posting::{self, Batch};
use crate::abi::context::ibv_context;
use crate::abi::efadv::{
    EFADV_QP_DRIVER_TYPE_SRD, EFADV_QP_FLAGS_UNSOLICITED_WRITE_RECV, efadv_qp_init_attr,
};
use crate::abi::queue::{
    IBV_QP_INIT_ATTR_PD, IBV_QP_QKEY, IBV_QP_RNR_RETRY, IBV_QP_STATE, IBV_QPS_ERR, IBV_QPS_RESET,
    IBV_QPS_RTR, IBV_QPS_RTS, IBV_QPT_DRIVER, IBV_QPT_UD, ibv_qp, ibv_qp_attr, ibv_qp_ex, ibv_qp_init_attr,
    ibv_qp_init_attr_ex,
};
use crate::abi::verbs::ibv_pd;
use crate::device::limits;
use crate::errno::{Errno, code, pointer};
use crate::queue::{Kind, Parts, Queue};
use crate::spin::RawSpin;

/// A queue pair; it begins with the C structure.
#[repr(C)]
pub(crate) struct QueuePair {
    pub(crate) c: ibv_qp_ex,
    pub(crate) shared: Arc<Queue>,
    /// Held from `wr_start` to `wr_complete`.
    pub(crate) building: RawSpin,
    /// Who holds `building` owns this.
    pub(crate) batch: UnsafeCell<Batch>,
}

impl QueuePair {
    /// Returns the object behind a C pointer.
    ///
    /// # Safety
    /// `qp` must come from one of the calls below and not be destroyed.
    pub(crate) unsafe fn of<'a>(qp: *mut ibv_qp) -> &'a Self {
        // SAFETY: our queue pairs begin with the C structure.
        unsafe { &*qp.cast::<Self>() }
    }
}

/// Makes a queue pair for unreliable datagrams.
///
/// # Safety
/// `pd` must be valid, `attr` readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_qp(pd: *mut ibv_pd, attr: *mut ibv_qp_init_attr) -> *mut ibv_qp {
    // SAFETY: the caller vouches for both.
    pointer(|| unsafe {
        if (*attr).qp_type != IBV_QPT_UD {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        create(pd, &*attr, Kind::Unreliable, false)
    })
}

/// Implements `create_qp_ex` of an open device: makes a queue pair for unreliable datagrams, with the calls that build
/// work requests in place.
pub(crate) unsafe extern "C" fn create_qp_ex(
    _: *mut ibv_context,
    attr: *mut ibv_qp_init_attr_ex,
) -> *mut ibv_qp {
    pointer(|| {
        // SAFETY: the caller vouches for it.
        let attr = unsafe { &*attr };
        if attr.comp_mask & IBV_QP_INIT_ATTR_PD == 0 || attr.qp_type != IBV_QPT_UD {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        // SAFETY: the domain is set, as its flag says.
        unsafe { create(attr.pd, &attr.base(), Kind::Unreliable, false) }
    })
}

/// Makes a queue pair of EFA's own kind, scalable reliable datagrams, or one for unreliable datagrams.
///
/// # Safety
/// `attr` must be readable, `efa_attr` for `inlen` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efadv_create_qp_ex(
    _: *mut ibv_context,
    attr: *mut ibv_qp_init_attr_ex,
    efa_attr: *mut efadv_qp_init_attr,
    inlen: u32,
) -> *mut ibv_qp {
    pointer(|| {
        let mut efa = efadv_qp_init_attr::default();
        let known = (inlen as usize).min(size_of::<efadv_qp_init_attr>());
        // SAFETY: the caller vouches for `inlen` bytes; any bytes are a value of the structure.
        unsafe { std::ptr::from_mut(&mut efa).cast::<u8>().copy_from(efa_attr.cast(), known) };
        // SAFETY: the caller vouches for it.
        let attr = unsafe { &*attr };
        if attr.comp_mask & IBV_QP_INIT_ATTR_PD == 0 || efa.comp_mask != 0 {
            return Err(Errno(libc::EINVAL));
        }
        let kind = match attr.qp_type {
            IBV_QPT_UD => Kind::Unreliable,
            IBV_QPT_DRIVER if efa.driver_qp_type == EFADV_QP_DRIVER_TYPE_SRD => Kind::Reliable,
            _ => return Err(Errno(libc::EOPNOTSUPP)),
        };
        // SAFETY: the domain is set, as its flag says.
        unsafe { create(attr.pd, &attr.base(), kind, efa.flags & EFADV_QP_FLAGS_UNSOLICITED_WRITE_RECV != 0) }
    })
}

/// Returns the calls that build work requests, of a queue pair.
#[unsafe(no_mangle)]
pub extern "C" fn ibv_qp_to_qp_ex(qp: *mut ibv_qp) -> *mut ibv_qp_ex {
    qp.cast()
}

/// Refuses direct access to the queue's memory, so that libfabric uses the calls of verbs.
#[unsafe(no_mangle)]
pub extern "C" fn efadv_query_qp_wqs(_: *mut ibv_qp, _: *mut c_void, _: *mut c_void, _: u32) -> c_int {
    libc::EOPNOTSUPP
}

/// Returns null: a queue pair has no EFA part.
#[unsafe(no_mangle)]
pub extern "C" fn efadv_qp_from_ibv_qp_ex(_: *mut ibv_qp_ex) -> *mut c_void {
    Errno(libc::EOPNOTSUPP).set();
    std::ptr::null_mut()
}

/// Returns 0: no order of arriving bytes is promised.
#[unsafe(no_mangle)]
pub extern "C" fn ibv_query_qp_data_in_order(_: *mut ibv_qp, _: c_int, _: u32) -> c_int {
    0
}

/// Changes state, key or retries of a queue pair.
///
/// # Safety
/// `qp` must be valid, `attr` readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_modify_qp(qp: *mut ibv_qp, attr: *mut ibv_qp_attr, mask: c_int) -> c_int {
    code(|| {
        // SAFETY: the caller vouches for both.
        let (queue, attr) = unsafe { (QueuePair::of(qp), &*attr) };
        let set = |flag| mask & flag != 0;
        if set(IBV_QP_STATE) && !(IBV_QPS_RESET..=IBV_QPS_ERR).contains(&attr.qp_state) {
            return Err(Errno(libc::EINVAL));
        }
        let receives = set(IBV_QP_STATE).then_some(matches!(attr.qp_state, IBV_QPS_RTR | IBV_QPS_RTS));
        let qkey = set(IBV_QP_QKEY).then_some(attr.qkey);
        let retries = set(IBV_QP_RNR_RETRY).then_some(u32::from(attr.rnr_retry));
        queue.shared.modify(receives, qkey, retries)?;
        if set(IBV_QP_STATE) {
            // SAFETY: the caller vouches for it; programs don't change a queue pair from two threads.
            unsafe { (*qp).state = attr.qp_state };
        }
        Ok(())
    })
}

/// Destroys a queue pair; what it had not finished, or nobody polled, is dropped.
///
/// # Safety
/// `qp` must be valid and not be used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_qp(qp: *mut ibv_qp) -> c_int {
    code(|| {
        // SAFETY: made by `create` with `Box::into_raw`.
        let queue = unsafe { Box::from_raw(qp.cast::<QueuePair>()) };
        queue.shared.destroy();
        let parts = &queue.shared.parts;
        parts.process.log.line("destroy", format_args!("device={} qp={}", parts.device, queue.shared.qpn));
        Ok(())
    })
}

unsafe fn create(
    pd: *mut ibv_pd,
    attr: &ibv_qp_init_attr,
    kind: Kind,
    unsolicited: bool,
) -> Result<*mut ibv_qp, Errno> {
    let cap = attr.cap;
    let fits = cap.max_send_wr <= limits::SEND_DEPTH
        && cap.max_recv_wr <= limits::RECEIVE_DEPTH
        && cap.max_send_sge <= u32::from(limits::SEND_PIECES)
        && cap.max_recv_sge <= u32::from(limits::RECEIVE_PIECES)
        && cap.max_inline_data <= limits::INLINE as u32;
    if !fits || attr.send_cq.is_null() || attr.recv_cq.is_null() || !attr.srq.is_null() {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: the caller vouches for the domain, which holds an open context.
    let (context, owner) = unsafe { ((*pd).context, Context::of((*pd).context)) };
    // SAFETY: the caller vouches for both completion queues.
    let completions = |cq| unsafe { CompletionQueue::of(cq) }.shared.clone();
    if owner.process.is_gone(owner.device) {
        return Err(Errno(libc::ENODEV));
    }
    let shared = Queue::new(Parts {
        process: owner.process.clone(),
        device: owner.device,
        kind,
        send_completions: completions(attr.send_cq),
        receive_completions: completions(attr.recv_cq),
        send_depth: cap.max_send_wr.max(1),
        receive_depth: cap.max_recv_wr,
        all_signaled: attr.sq_sig_all != 0,
        unsolicited,
    })?;
    owner.process.log.line("create", format_args!("device={} qp={} kind={kind:?}", owner.device, shared.qpn));
    // SAFETY: pointers, integers and optional functions, for which all zeroes is a value; it is also how glibc
    // initialises mutexes and condition variables.
    let mut c: ibv_qp_ex = unsafe { std::mem::zeroed() };
    c.qp_base.context = context;
    c.qp_base.qp_context = attr.qp_context;
    c.qp_base.pd = pd;
    c.qp_base.send_cq = attr.send_cq;
    c.qp_base.recv_cq = attr.recv_cq;
    c.qp_base.handle = u32::from(shared.qpn);
    c.qp_base.qp_num = u32::from(shared.qpn);
    c.qp_base.qp_type = attr.qp_type;
    posting::fill_table(&mut c);
    let batch = UnsafeCell::new(Batch::default());
    Ok(Box::into_raw(Box::new(QueuePair { c, shared, building: RawSpin::default(), batch })).cast())
}
