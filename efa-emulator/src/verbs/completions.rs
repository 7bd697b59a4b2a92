//! Completion queues and channels, as C sees them.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_uint, c_void};
use std::mem::offset_of;
use std::sync::Arc;

use super::context::Context;
use super::polling::{self, Poller};
use crate::abi::context::ibv_context;
use crate::abi::efadv::efadv_cq;
use crate::abi::queue::{ibv_comp_channel, ibv_cq, ibv_cq_ex, ibv_cq_init_attr_ex};
use crate::channel::Channel;
use crate::completion::Completions;
use crate::device::limits;
use crate::errno::{Errno, code, pointer};
use crate::process::Process;
use crate::spin::RawSpin;

/// A completion queue; it begins with the C structure.
#[repr(C)]
pub(crate) struct CompletionQueue {
    pub(crate) c: ibv_cq_ex,
    pub(crate) efa: efadv_cq,
    pub(crate) shared: Arc<Completions>,
    /// Held from `start_poll` to `end_poll`.
    pub(crate) polling: RawSpin,
    /// Who holds `polling` owns this.
    pub(crate) poller: UnsafeCell<Poller>,
}

impl CompletionQueue {
    /// Returns the object behind a C pointer.
    ///
    /// # Safety
    /// `cq` must come from one of the calls below and not be destroyed.
    pub(crate) unsafe fn of<'a>(cq: *mut ibv_cq) -> &'a Self {
        // SAFETY: our completion queues begin with the C structure.
        unsafe { &*cq.cast::<Self>() }
    }

    /// Returns the object behind the EFA part.
    ///
    /// # Safety
    /// `efa` must come from [`efadv_cq_from_ibv_cq_ex`].
    pub(crate) unsafe fn of_efa<'a>(efa: *mut efadv_cq) -> &'a Self {
        // SAFETY: the EFA part lies at this offset of a completion queue of ours.
        unsafe { &*efa.cast::<u8>().sub(offset_of!(Self, efa)).cast::<Self>() }
    }
}

/// A completion channel; it begins with the C structure.
#[repr(C)]
struct CompletionChannel {
    c: ibv_comp_channel,
    shared: Arc<Channel>,
}

/// Makes a completion queue the old way.
///
/// # Safety
/// `context` must be open, `channel` null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_cq(
    context: *mut ibv_context,
    cqe: c_int,
    cq_context: *mut c_void,
    channel: *mut ibv_comp_channel,
    _comp_vector: c_int,
) -> *mut ibv_cq {
    // SAFETY: the caller vouches for context and channel.
    pointer(|| unsafe { create(context, i64::from(cqe), cq_context, channel) }).cast()
}

/// Implements `create_cq_ex` of an open device.
pub(crate) unsafe extern "C" fn create_cq_ex(
    context: *mut ibv_context,
    attr: *mut ibv_cq_init_attr_ex,
) -> *mut ibv_cq_ex {
    // SAFETY: the caller vouches for both.
    pointer(|| unsafe { create(context, i64::from((*attr).cqe), (*attr).cq_context, (*attr).channel) })
}

/// Makes a completion queue that can tell an unknown sender's address.
///
/// # Safety
/// `context` must be open, `attr` readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efadv_create_cq(
    context: *mut ibv_context,
    attr: *mut ibv_cq_init_attr_ex,
    _efa_attr: *mut c_void,
    _inlen: u32,
) -> *mut ibv_cq_ex {
    // SAFETY: the caller vouches for both.
    unsafe { create_cq_ex(context, attr) }
}

/// Returns the EFA part of a completion queue.
///
/// # Safety
/// `cq` must be a valid completion queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efadv_cq_from_ibv_cq_ex(cq: *mut ibv_cq_ex) -> *mut efadv_cq {
    // SAFETY: the caller vouches for it; only an address is taken.
    unsafe { &raw mut (*cq.cast::<CompletionQueue>()).efa }
}

/// Refuses direct access to the queue's memory, so that libfabric uses the calls of verbs.
#[unsafe(no_mangle)]
pub extern "C" fn efadv_query_cq(_: *mut ibv_cq, _: *mut c_void, _: u32) -> c_int {
    libc::EOPNOTSUPP
}

/// Destroys a completion queue. EBUSY while a queue pair uses it.
///
/// # Safety
/// `cq` must be valid and not be used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_cq(cq: *mut ibv_cq) -> c_int {
    code(|| {
        // SAFETY: the caller vouches for it.
        if unsafe { CompletionQueue::of(cq) }.shared.is_used() {
            return Err(Errno(libc::EBUSY));
        }
        // SAFETY: made by `create` with `Box::into_raw`.
        let queue = unsafe { Box::from_raw(cq.cast::<CompletionQueue>()) };
        queue.shared.close();
        Ok(())
    })
}

/// Makes a channel for completion events.
///
/// # Safety
/// `context` must be open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_comp_channel(context: *mut ibv_context) -> *mut ibv_comp_channel {
    pointer(|| {
        let shared = Arc::new(Channel::new()?);
        let c = ibv_comp_channel { context, fd: shared.fd(), refcnt: 0 };
        Ok(Box::into_raw(Box::new(CompletionChannel { c, shared })).cast())
    })
}

/// Destroys a channel.
///
/// # Safety
/// `channel` must be valid and not be used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_comp_channel(channel: *mut ibv_comp_channel) -> c_int {
    code(|| {
        // SAFETY: made by `ibv_create_comp_channel` with `Box::into_raw`.
        drop(unsafe { Box::from_raw(channel.cast::<CompletionChannel>()) });
        Ok(())
    })
}

/// Waits for an event and tells whose it is. -1 with `errno` EAGAIN on a descriptor set not to block.
///
/// # Safety
/// `channel` must be valid, `cq` and `cq_context` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_get_cq_event(
    channel: *mut ibv_comp_channel,
    cq: *mut *mut ibv_cq,
    cq_context: *mut *mut c_void,
) -> c_int {
    // SAFETY: the caller vouches for it; the channel lives through the call.
    let shared = unsafe { (*channel.cast::<CompletionChannel>()).shared.clone() };
    let answer = code(|| {
        let queue = shared.receive()? as *mut ibv_cq;
        // SAFETY: a queue that is destroyed takes its events along, so this one is valid.
        unsafe {
            *cq = queue;
            *cq_context = (*queue).cq_context;
        }
        Ok(())
    });
    if answer == 0 { 0 } else { -1 }
}

/// Events need no acknowledging here: destroying a queue doesn't wait for it.
#[unsafe(no_mangle)]
pub extern "C" fn ibv_ack_cq_events(_: *mut ibv_cq, _: c_uint) {}

/// Implements `req_notify_cq` of an open device: asks for an event at the next completion.
pub(crate) unsafe extern "C" fn req_notify_cq(cq: *mut ibv_cq, _solicited_only: c_int) -> c_int {
    code(|| {
        // SAFETY: the caller vouches for it.
        if unsafe { CompletionQueue::of(cq) }.shared.arm() { Ok(()) } else { Err(Errno(libc::EINVAL)) }
    })
}

/// Makes a completion queue.
unsafe fn create(
    context: *mut ibv_context,
    entries: i64,
    cq_context: *mut c_void,
    channel: *mut ibv_comp_channel,
) -> Result<*mut ibv_cq_ex, Errno> {
    if !(1..=i64::from(limits::COMPLETIONS)).contains(&entries) {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: the caller vouches for the context.
    let process: Arc<Process> = unsafe { Context::of(context) }.process.clone();
    let shared_channel = if channel.is_null() {
        None
    } else {
        // SAFETY: the caller vouches for the channel, which is one of ours.
        Some(unsafe { (*channel.cast::<CompletionChannel>()).shared.clone() })
    };
    // SAFETY: pointers, integers and optional functions, for which all zeroes is a value; it is also how glibc
    // initialises mutexes and condition variables.
    let mut c: ibv_cq_ex = unsafe { std::mem::zeroed() };
    c.base.context = context;
    c.base.channel = channel;
    c.base.cq_context = cq_context;
    c.base.cqe = entries as c_int;
    polling::fill_table(&mut c);
    let efa = polling::efa_table();
    let cq = Box::into_raw(Box::<CompletionQueue>::new_uninit());
    let queue = CompletionQueue {
        c,
        efa,
        shared: Arc::new(Completions::new(process, shared_channel, cq as usize)),
        polling: RawSpin::default(),
        poller: UnsafeCell::new(Poller::default()),
    };
    // SAFETY: just allocated for one of these; no memory is left uninitialised.
    unsafe { cq.cast::<CompletionQueue>().write(queue) };
    Ok(cq.cast())
}
