//! Open devices: queries and protection domains.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::sync::Arc;

use super::devices::Device;
use super::{completions, polling, posting, queues};
use crate::abi::context::{VERBS_ABI_IS_EXTENDED, ibv_context, ibv_context_ops, verbs_context};
use crate::abi::efadv::efadv_device_attr;
use crate::abi::verbs::{ibv_device, ibv_device_attr, ibv_gid, ibv_pd, ibv_port_attr};
use crate::device::query;
use crate::errno::{Errno, code, pointer};
use crate::process::Process;

/// An open device. Programs hold a pointer to the [`ibv_context`] at the end of its first field.
#[repr(C)]
pub(crate) struct Context {
    c: verbs_context,
    pub(crate) process: Arc<Process>,
    pub(crate) device: u8,
}

impl Context {
    /// Returns the object behind a C pointer.
    ///
    /// # Safety
    /// `context` must come from [`ibv_open_device`] and be open.
    pub(crate) unsafe fn of<'a>(context: *mut ibv_context) -> &'a Self {
        // SAFETY: the C structure lies at this offset of a context of ours.
        unsafe { &*context.cast::<u8>().sub(offset_of!(verbs_context, context)).cast::<Self>() }
    }
}

/// Opens a device. Null with `errno` ENODEV if it went away.
///
/// # Safety
/// `device` must come from `ibv_get_device_list`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_open_device(device: *mut ibv_device) -> *mut ibv_context {
    // SAFETY: the caller vouches for the pointer, and our devices begin with the C structure.
    let (process, index) =
        unsafe { ((*device.cast::<Device>()).process.clone(), (*device.cast::<Device>()).index) };
    pointer(|| {
        if process.is_gone(index) {
            return Err(Errno(libc::ENODEV));
        }
        // SAFETY: pointers, integers and optional functions, for which all zeroes is a value.
        let mut c: verbs_context = unsafe { std::mem::zeroed() };
        c.query_port = Some(query_port);
        c.create_cq_ex = Some(completions::create_cq_ex);
        c.create_qp_ex = Some(queues::create_qp_ex);
        c.sz = size_of::<verbs_context>();
        c.context.device = device;
        c.context.ops = ibv_context_ops {
            poll_cq: Some(polling::poll_cq),
            req_notify_cq: Some(completions::req_notify_cq),
            post_send: Some(posting::post_send),
            post_recv: Some(posting::post_recv),
            ..ibv_context_ops::default()
        };
        c.context.cmd_fd = -1;
        c.context.async_fd = -1;
        c.context.num_comp_vectors = 1;
        c.context.abi_compat = VERBS_ABI_IS_EXTENDED as *mut c_void;
        let context = Box::into_raw(Box::new(Context { c, process, device: index }));
        // SAFETY: just allocated.
        Ok(unsafe { &raw mut (*context).c.context })
    })
}

/// Closes a device.
///
/// # Safety
/// `context` must be open, and nothing made with it may be used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_close_device(context: *mut ibv_context) -> c_int {
    code(|| {
        let start = context.cast::<u8>().wrapping_sub(offset_of!(verbs_context, context)).cast::<Context>();
        // SAFETY: made by `ibv_open_device` with `Box::into_raw`.
        drop(unsafe { Box::from_raw(start) });
        Ok(())
    })
}

/// Tells what the device can do.
///
/// # Safety
/// `context` must be open, `attr` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_device(context: *mut ibv_context, attr: *mut ibv_device_attr) -> c_int {
    code(|| {
        // SAFETY: the caller vouches for both.
        unsafe {
            let context = Context::of(context);
            *attr = query::device(guid(context), context.process.queue_pairs);
        }
        Ok(())
    })
}

/// Tells what the device can do beyond verbs.
///
/// # Safety
/// `context` must be open, `attr` writable for `inlen` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efadv_query_device(
    context: *mut ibv_context,
    attr: *mut efadv_device_attr,
    inlen: u32,
) -> c_int {
    code(|| {
        // SAFETY: the caller vouches for it.
        unsafe { query::answer(attr, inlen as usize, &query::efa(Context::of(context).process.rdma)) };
        Ok(())
    })
}

/// Tells about the port, for programs built against old headers.
///
/// # Safety
/// `context` must be open, `attr` writable for what such headers know: all but the last four bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_port(
    context: *mut ibv_context,
    port: u8,
    attr: *mut ibv_port_attr,
) -> c_int {
    // SAFETY: the caller vouches for both.
    unsafe { query_port(context, port, attr, offset_of!(ibv_port_attr, flags)) }
}

unsafe extern "C" fn query_port(
    context: *mut ibv_context,
    port: u8,
    attr: *mut ibv_port_attr,
    len: usize,
) -> c_int {
    code(|| {
        if port != 1 {
            return Err(Errno(libc::EINVAL));
        }
        // SAFETY: verbs.h passes an open context.
        let context = unsafe { Context::of(context) };
        let answer = query::port(context.process.is_gone(context.device));
        // SAFETY: the caller says how much is writable.
        unsafe { query::answer(attr, len, &answer) };
        Ok(())
    })
}

/// Tells the device's address, the only entry of its table.
///
/// # Safety
/// `context` must be open, `gid` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_gid(
    context: *mut ibv_context,
    port: u8,
    index: c_int,
    gid: *mut ibv_gid,
) -> c_int {
    let answer = code(|| {
        if port != 1 || index != 0 {
            return Err(Errno(libc::EINVAL));
        }
        // SAFETY: the caller vouches for both; the address may be unaligned in the caller's structure.
        unsafe {
            let context = Context::of(context);
            gid.cast::<[u8; 16]>().write_unaligned(context.process.address(context.device).gid().raw);
        }
        Ok(())
    });
    if answer == 0 { 0 } else { -1 }
}

/// Returns the only entry of the partition key table, the default.
///
/// # Safety
/// `pkey` must be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_pkey(
    _: *mut ibv_context,
    port: u8,
    index: c_int,
    pkey: *mut u16,
) -> c_int {
    if port != 1 || index != 0 {
        Errno(libc::EINVAL).set();
        return -1;
    }
    // SAFETY: the caller vouches for it.
    unsafe { *pkey = 0xffff };
    0
}

/// Makes a protection domain.
///
/// # Safety
/// `context` must be open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_alloc_pd(context: *mut ibv_context) -> *mut ibv_pd {
    pointer(|| Ok(Box::into_raw(Box::new(ibv_pd { context, handle: 1 }))))
}

/// Frees a protection domain.
///
/// # Safety
/// `pd` must come from [`ibv_alloc_pd`] and not be used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_dealloc_pd(pd: *mut ibv_pd) -> c_int {
    code(|| {
        // SAFETY: made by `ibv_alloc_pd` with `Box::into_raw`.
        drop(unsafe { Box::from_raw(pd) });
        Ok(())
    })
}

fn guid(context: &Context) -> u64 {
    let raw = context.process.address(context.device).gid().raw;
    let mut low = [0; 8];
    low.copy_from_slice(&raw[8..]);
    // In network order already, as the field is.
    u64::from_ne_bytes(low)
}
