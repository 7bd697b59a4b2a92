//! `rdma/fi_cm.h`: an endpoint's own address and that of its peer, see `fi_cm(3)`.

use std::os::raw::{c_int, c_void};

use crate::inline::endpoint::endpoint_of;
use crate::inline::forward;
use crate::{fid, fid_ep};

forward! {
    /// The address of the peer that an endpoint is connected to.
    fn fi_getpeer(ep: *mut fid_ep, addr: *mut c_void, addrlen: *mut usize) -> c_int = cm.getpeer;
}

/// Sets an endpoint's own address.
#[inline]
pub unsafe fn fi_setname(fid: *mut fid, addr: *mut c_void, addrlen: usize) -> c_int {
    // SAFETY: the caller vouches that the handle is an endpoint's, and for the address.
    unsafe { (*(*endpoint_of(fid)).cm).setname.unwrap_unchecked()(fid, addr, addrlen) }
}

/// An endpoint's own address, as it goes into the address vectors of its peers.
#[inline]
pub unsafe fn fi_getname(fid: *mut fid, addr: *mut c_void, addrlen: *mut usize) -> c_int {
    // SAFETY: the caller vouches that the handle is an endpoint's, and for the buffer.
    unsafe { (*(*endpoint_of(fid)).cm).getname.unwrap_unchecked()(fid, addr, addrlen) }
}
