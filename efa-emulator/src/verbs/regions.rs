//! The exported calls that register memory and give it back.

use std::ffi::{c_int, c_void};

use super::context::Context;
use crate::abi::efadv::efadv_mr_attr;
use crate::abi::verbs::{
    IBV_ACCESS_LOCAL_WRITE, IBV_ACCESS_REMOTE_READ, IBV_ACCESS_REMOTE_WRITE, ibv_mr, ibv_pd,
};
use crate::device::{limits, query};
use crate::errno::{Errno, code, pointer};
use crate::letters;
use crate::pages;
use crate::settings::Rdma;
use crate::wire::process::RegionInfo;

/// Registers memory; the key admits exactly this range with these rights.
///
/// As the kernel does for a device, this faults the pages in, for writing if the device may write there: null with
/// `errno` EFAULT if they are not mapped, or read-only. They are not pinned. Rights that the device can't use are
/// refused with EOPNOTSUPP, remote writes without local ones with EINVAL.
///
/// # Safety
/// `pd` must be valid, and the memory must stay mapped until [`ibv_dereg_mr`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    access: c_int,
) -> *mut ibv_mr {
    // SAFETY: the caller vouches for it.
    unsafe { ibv_reg_mr_iova2(pd, addr, length, addr as u64, access as u32) }
}

/// Registers memory as [`ibv_reg_mr`] does. The device addresses memory as the program does, and in no other way.
///
/// # Safety
/// As [`ibv_reg_mr`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_iova(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    access: c_int,
) -> *mut ibv_mr {
    // SAFETY: the caller vouches for it.
    unsafe { ibv_reg_mr_iova2(pd, addr, length, iova, access as u32) }
}

/// Registers memory as [`ibv_reg_mr_iova`] does. Access rights beyond the first twenty change nothing here.
///
/// # Safety
/// As [`ibv_reg_mr`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_iova2(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    access: u32,
) -> *mut ibv_mr {
    pointer(|| {
        let known = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
        if iova != addr as u64
            || iova.checked_add(length as u64).is_none()
            || length as u64 > limits::REGION_BYTES
        {
            return Err(Errno(libc::EINVAL));
        }
        // SAFETY: the caller vouches for the domain, which holds an open context.
        let owner = unsafe { Context::of((*pd).context) };
        let access = access & known;
        let rdma = owner.process.rdma;
        if access & IBV_ACCESS_REMOTE_READ != 0 && rdma < Rdma::Read
            || access & IBV_ACCESS_REMOTE_WRITE != 0 && rdma < Rdma::Write
        {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        if access & IBV_ACCESS_REMOTE_WRITE != 0 && access & IBV_ACCESS_LOCAL_WRITE == 0 {
            return Err(Errno(libc::EINVAL));
        }
        pages::populate(addr as usize, length, access & IBV_ACCESS_LOCAL_WRITE != 0)?;
        letters::attend(&owner.process);
        let info = RegionInfo { address: iova, len: length as u64, access, device: owner.device };
        let key = owner.process.regions.add(info)?;
        let log = &owner.process.log;
        log.line(
            "register",
            format_args!("device={} key={key:#x} bytes={length} access={access:#x}", owner.device),
        );
        // SAFETY: as above.
        let context = unsafe { (*pd).context };
        Ok(Box::into_raw(Box::new(ibv_mr { context, pd, addr, length, handle: key, lkey: key, rkey: key })))
    })
}

/// Returns null with `errno` EOPNOTSUPP: memory of other devices can't be emulated.
///
/// # Safety
/// None of the arguments is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_dmabuf_mr(
    _: *mut ibv_pd,
    _: u64,
    _: usize,
    _: u64,
    _: c_int,
    _: c_int,
) -> *mut ibv_mr {
    pointer(|| Err(Errno(libc::EOPNOTSUPP)))
}

/// Takes a registration back: from here on its key is refused.
///
/// # Safety
/// `mr` must come from one of the above and not be used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_dereg_mr(mr: *mut ibv_mr) -> c_int {
    code(|| {
        // SAFETY: made by `ibv_reg_mr_iova2` with `Box::into_raw`; its context is still open.
        let (mr, owner) = unsafe { (Box::from_raw(mr), Context::of((*mr).context)) };
        owner.process.regions.remove(mr.rkey);
        owner.process.log.line("deregister", format_args!("device={} key={:#x}", owner.device, mr.rkey));
        Ok(())
    })
}

/// Tells that nothing is known about the interconnects that a region is reached through.
///
/// # Safety
/// `attr` must be writable for `inlen` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efadv_query_mr(_: *mut ibv_mr, attr: *mut efadv_mr_attr, inlen: u32) -> c_int {
    let nothing = efadv_mr_attr {
        comp_mask: 0,
        ic_id_validity: 0,
        recv_ic_id: 0,
        rdma_read_ic_id: 0,
        rdma_recv_ic_id: 0,
    };
    code(|| {
        // SAFETY: the caller vouches for it.
        unsafe { query::answer(attr, inlen as usize, &nothing) };
        Ok(())
    })
}
