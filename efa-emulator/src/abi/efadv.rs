//! `infiniband/efadv.h`: what EFA has beyond verbs. The structures grow at their end, so each call carries the size
//! that its caller knows.

use std::ffi::c_int;

use super::verbs::ibv_gid;

/// The only driver-specific kind of queue pair: scalable reliable datagrams.
pub const EFADV_QP_DRIVER_TYPE_SRD: u32 = 0;
/// Writes with immediate data don't take a posted receive.
pub const EFADV_QP_FLAGS_UNSOLICITED_WRITE_RECV: u16 = 1;
/// The device can read remote memory.
pub const EFADV_DEVICE_ATTR_CAPS_RDMA_READ: u32 = 1;
/// The number of retries for a receiver that is not ready can be set.
pub const EFADV_DEVICE_ATTR_CAPS_RNR_RETRY: u32 = 1 << 1;
/// A completion can tell the address of an unknown sender.
pub const EFADV_DEVICE_ATTR_CAPS_CQ_WITH_SGID: u32 = 1 << 2;
/// The device can write remote memory.
pub const EFADV_DEVICE_ATTR_CAPS_RDMA_WRITE: u32 = 1 << 3;
/// The device can do without a receive for a write with immediate data.
pub const EFADV_DEVICE_ATTR_CAPS_UNSOLICITED_WRITE_RECV: u32 = 1 << 4;

/// What `efadv_query_device` answers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct efadv_device_attr {
    pub comp_mask: u64,
    pub max_sq_wr: u32,
    pub max_rq_wr: u32,
    pub max_sq_sge: u16,
    pub max_rq_sge: u16,
    pub inline_buf_size: u16,
    pub reserved: [u8; 2],
    pub device_caps: u32,
    pub max_rdma_size: u32,
}

/// What `efadv_create_qp_ex` is given.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct efadv_qp_init_attr {
    pub comp_mask: u64,
    pub driver_qp_type: u32,
    pub flags: u16,
    pub sl: u8,
    pub reserved: [u8; 1],
}

/// What `efadv_query_ah` answers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct efadv_ah_attr {
    pub comp_mask: u64,
    pub ahn: u16,
    pub reserved: [u8; 6],
}

/// The calls that a completion queue has beyond verbs.
#[repr(C)]
pub struct efadv_cq {
    pub comp_mask: u64,
    pub wc_read_sgid: Option<unsafe extern "C" fn(*mut efadv_cq, *mut ibv_gid) -> c_int>,
    pub wc_is_unsolicited: Option<unsafe extern "C" fn(*mut efadv_cq) -> bool>,
}

/// What `efadv_query_mr` answers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct efadv_mr_attr {
    pub comp_mask: u64,
    pub ic_id_validity: u16,
    pub recv_ic_id: u16,
    pub rdma_read_ic_id: u16,
    pub rdma_recv_ic_id: u16,
}
