//! `infiniband/verbs.h`: an open device and its tables of functions.

use std::ffi::{c_int, c_void};

use super::Unused;
use super::queue::{
    ibv_cq, ibv_cq_ex, ibv_cq_init_attr_ex, ibv_qp, ibv_qp_init_attr_ex, ibv_recv_wr, ibv_send_wr, ibv_wc,
};
use super::verbs::{ibv_device, ibv_port_attr};

/// `abi_compat` of a context that is the end of a [`verbs_context`].
pub const VERBS_ABI_IS_EXTENDED: usize = usize::MAX;

/// The calls that verbs.h makes through the context without a library symbol.
#[repr(C)]
#[derive(Default)]
pub struct ibv_context_ops {
    /// Query and registration calls of old libraries, then memory windows and queue creation.
    pub _compat: [Unused; 11],
    pub poll_cq: Option<unsafe extern "C" fn(*mut ibv_cq, c_int, *mut ibv_wc) -> c_int>,
    pub req_notify_cq: Option<unsafe extern "C" fn(*mut ibv_cq, c_int) -> c_int>,
    pub _compat_cq_srq: [Unused; 7],
    pub post_srq_recv: Unused,
    pub _compat_qp: [Unused; 4],
    pub post_send:
        Option<unsafe extern "C" fn(*mut ibv_qp, *mut ibv_send_wr, *mut *mut ibv_send_wr) -> c_int>,
    pub post_recv:
        Option<unsafe extern "C" fn(*mut ibv_qp, *mut ibv_recv_wr, *mut *mut ibv_recv_wr) -> c_int>,
    pub _compat_ah: [Unused; 5],
}

/// An open device.
#[repr(C)]
pub struct ibv_context {
    pub device: *mut ibv_device,
    pub ops: ibv_context_ops,
    pub cmd_fd: c_int,
    pub async_fd: c_int,
    pub num_comp_vectors: c_int,
    pub mutex: libc::pthread_mutex_t,
    pub abi_compat: *mut c_void,
}

/// The part in front of an [`ibv_context`], which grows towards lower addresses.
#[repr(C)]
pub struct verbs_context {
    pub query_port: Option<unsafe extern "C" fn(*mut ibv_context, u8, *mut ibv_port_attr, usize) -> c_int>,
    pub _advise_to_query_rt: [Unused; 24],
    pub create_cq_ex:
        Option<unsafe extern "C" fn(*mut ibv_context, *mut ibv_cq_init_attr_ex) -> *mut ibv_cq_ex>,
    pub _priv: *mut c_void,
    pub query_device_ex: Unused,
    pub _flows: [Unused; 4],
    pub open_qp: Unused,
    pub create_qp_ex: Option<unsafe extern "C" fn(*mut ibv_context, *mut ibv_qp_init_attr_ex) -> *mut ibv_qp>,
    pub _srq_xrcd: [Unused; 4],
    pub _abi_placeholder3: u64,
    /// Size of this structure: what lies beyond it is not there.
    pub sz: usize,
    pub context: ibv_context,
}
