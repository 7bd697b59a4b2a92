//! Address handles.

use std::ffi::c_int;
use std::sync::Arc;

use super::context::Context;
use crate::abi::efadv::efadv_ah_attr;
use crate::abi::verbs::{ibv_ah, ibv_ah_attr, ibv_gid, ibv_pd};
use crate::device::query;
use crate::errno::{Errno, code, pointer};
use crate::handles::Destination;
use crate::wire::Address;

/// An address handle; it begins with the C structure.
#[repr(C)]
pub(crate) struct AddressHandle {
    c: ibv_ah,
    pub(crate) destination: Arc<Destination>,
    number: u16,
}

/// Makes an address handle. Null with `errno` EINVAL if the address isn't one of an emulated device.
///
/// # Safety
/// `pd` must be valid, `attr` readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_ah(pd: *mut ibv_pd, attr: *mut ibv_ah_attr) -> *mut ibv_ah {
    pointer(|| {
        // SAFETY: the caller vouches for both.
        let (raw, context) = unsafe { ((*attr).grh.dgid.raw, (*pd).context) };
        // SAFETY: a protection domain holds an open context.
        let owner = unsafe { Context::of(context) };
        let address = Address::from_gid(ibv_gid { raw }).ok_or(Errno(libc::EINVAL))?;
        let device = owner.process.device(owner.device).ok_or(Errno(libc::ENODEV))?;
        let number = device.handles.acquire(address)?;
        owner.process.regions.file().set_known(owner.device, address, true);
        let destination = Arc::new(Destination::new(address));
        let c = ibv_ah { context, pd, handle: u32::from(number) };
        Ok(Box::into_raw(Box::new(AddressHandle { c, destination, number })).cast())
    })
}

/// Ends an address handle. Work posted with it is still carried out.
///
/// # Safety
/// `ah` must come from [`ibv_create_ah`] and not be used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_ah(ah: *mut ibv_ah) -> c_int {
    code(|| {
        // SAFETY: made by `ibv_create_ah` with `Box::into_raw`; its context is still open.
        let (handle, owner) =
            unsafe { (Box::from_raw(ah.cast::<AddressHandle>()), Context::of((*ah).context)) };
        let device = owner.process.device(owner.device).ok_or(Errno(libc::ENODEV))?;
        if device.handles.release(handle.destination.address) {
            owner.process.regions.file().set_known(owner.device, handle.destination.address, false);
        }
        Ok(())
    })
}

/// Tells the handle's number on the device.
///
/// # Safety
/// `ah` must be valid, `attr` writable for `inlen` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efadv_query_ah(ah: *mut ibv_ah, attr: *mut efadv_ah_attr, inlen: u32) -> c_int {
    code(|| {
        // SAFETY: the caller vouches for the handle, which is one of ours.
        let ahn = unsafe { (*ah.cast::<AddressHandle>()).number };
        // SAFETY: the caller vouches for it.
        unsafe {
            query::answer(attr, inlen as usize, &efadv_ah_attr { comp_mask: 0, ahn, reserved: [0; 6] })
        };
        Ok(())
    })
}
