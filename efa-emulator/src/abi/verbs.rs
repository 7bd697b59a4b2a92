//! `infiniband/verbs.h`: devices, attributes, regions and address handles.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::Unused;
use super::context::ibv_context;

/// Longest name of a device, with its NUL.
pub const IBV_SYSFS_NAME_MAX: usize = 64;
/// Longest path of a device's folder, with its NUL.
pub const IBV_SYSFS_PATH_MAX: usize = 256;
/// `ibv_node_type` of a device that is none of the classic kinds, as EFA reports itself.
pub const IBV_NODE_UNSPECIFIED: c_int = 7;
/// `ibv_transport_type` of a device with a transport of its own.
pub const IBV_TRANSPORT_UNSPECIFIED: c_int = 4;
/// `ibv_port_state`: no link.
pub const IBV_PORT_DOWN: c_int = 1;
/// `ibv_port_state`: link up.
pub const IBV_PORT_ACTIVE: c_int = 4;
/// `ibv_mtu`: 4096 bytes.
pub const IBV_MTU_4096: c_int = 5;
/// Link layer of a device that is neither InfiniBand nor Ethernet.
pub const IBV_LINK_LAYER_UNSPECIFIED: u8 = 0;
/// `ibv_fork_status`: nothing has to be done for fork.
pub const IBV_FORK_UNNEEDED: c_int = 2;

/// Local memory may be written by the device.
pub const IBV_ACCESS_LOCAL_WRITE: u32 = 1;
/// A peer may write.
pub const IBV_ACCESS_REMOTE_WRITE: u32 = 1 << 1;
/// A peer may read.
pub const IBV_ACCESS_REMOTE_READ: u32 = 1 << 2;

/// A port's address: 16 bytes, printed like an IPv6 address.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ibv_gid {
    /// The bytes, in network order.
    pub raw: [u8; 16],
}

/// One device of the list that `ibv_get_device_list` returns.
#[repr(C)]
pub struct ibv_device {
    /// Obsolete calls.
    pub _ops: [Unused; 2],
    /// `ibv_node_type`.
    pub node_type: c_int,
    /// `ibv_transport_type`.
    pub transport_type: c_int,
    /// Name, such as `efa_0`.
    pub name: [c_char; IBV_SYSFS_NAME_MAX],
    /// Name of the kernel's device file.
    pub dev_name: [c_char; IBV_SYSFS_NAME_MAX],
    /// Folder of the device file in sysfs.
    pub dev_path: [c_char; IBV_SYSFS_PATH_MAX],
    /// Folder of the device in sysfs.
    pub ibdev_path: [c_char; IBV_SYSFS_PATH_MAX],
}

/// What `ibv_query_device` answers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ibv_device_attr {
    pub fw_ver: [c_char; 64],
    pub node_guid: u64,
    pub sys_image_guid: u64,
    pub max_mr_size: u64,
    pub page_size_cap: u64,
    pub vendor_id: u32,
    pub vendor_part_id: u32,
    pub hw_ver: u32,
    pub max_qp: c_int,
    pub max_qp_wr: c_int,
    pub device_cap_flags: c_uint,
    pub max_sge: c_int,
    pub max_sge_rd: c_int,
    pub max_cq: c_int,
    pub max_cqe: c_int,
    pub max_mr: c_int,
    pub max_pd: c_int,
    pub max_qp_rd_atom: c_int,
    pub max_ee_rd_atom: c_int,
    pub max_res_rd_atom: c_int,
    pub max_qp_init_rd_atom: c_int,
    pub max_ee_init_rd_atom: c_int,
    pub atomic_cap: c_int,
    pub max_ee: c_int,
    pub max_rdd: c_int,
    pub max_mw: c_int,
    pub max_raw_ipv6_qp: c_int,
    pub max_raw_ethy_qp: c_int,
    pub max_mcast_grp: c_int,
    pub max_mcast_qp_attach: c_int,
    pub max_total_mcast_qp_attach: c_int,
    pub max_ah: c_int,
    pub max_fmr: c_int,
    pub max_map_per_fmr: c_int,
    pub max_srq: c_int,
    pub max_srq_wr: c_int,
    pub max_srq_sge: c_int,
    pub max_pkeys: u16,
    pub local_ca_ack_delay: u8,
    pub phys_port_cnt: u8,
}

/// What `ibv_query_port` answers. Newer headers append fields, which is why the caller passes its size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ibv_port_attr {
    pub state: c_int,
    pub max_mtu: c_int,
    pub active_mtu: c_int,
    pub gid_tbl_len: c_int,
    pub port_cap_flags: u32,
    pub max_msg_sz: u32,
    pub bad_pkey_cntr: u32,
    pub qkey_viol_cntr: u32,
    pub pkey_tbl_len: u16,
    pub lid: u16,
    pub sm_lid: u16,
    pub lmc: u8,
    pub max_vl_num: u8,
    pub sm_sl: u8,
    pub subnet_timeout: u8,
    pub init_type_reply: u8,
    pub active_width: u8,
    pub active_speed: u8,
    pub phys_state: u8,
    pub link_layer: u8,
    pub flags: u8,
    pub port_cap_flags2: u16,
}

/// A protection domain.
#[repr(C)]
pub struct ibv_pd {
    pub context: *mut ibv_context,
    pub handle: u32,
}

/// A registered region.
#[repr(C)]
pub struct ibv_mr {
    pub context: *mut ibv_context,
    pub pd: *mut ibv_pd,
    pub addr: *mut c_void,
    pub length: usize,
    pub handle: u32,
    pub lkey: u32,
    pub rkey: u32,
}

/// Where a packet goes.
#[repr(C)]
pub struct ibv_global_route {
    pub dgid: ibv_gid,
    pub flow_label: u32,
    pub sgid_index: u8,
    pub hop_limit: u8,
    pub traffic_class: u8,
}

/// The header that precedes a received datagram.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ibv_grh {
    pub version_tclass_flow: u32,
    pub paylen: u16,
    pub next_hdr: u8,
    pub hop_limit: u8,
    pub sgid: ibv_gid,
    pub dgid: ibv_gid,
}

/// What `ibv_create_ah` is given.
#[repr(C)]
pub struct ibv_ah_attr {
    pub grh: ibv_global_route,
    pub dlid: u16,
    pub sl: u8,
    pub src_path_bits: u8,
    pub static_rate: u8,
    pub is_global: u8,
    pub port_num: u8,
}

/// An address handle.
#[repr(C)]
pub struct ibv_ah {
    pub context: *mut ibv_context,
    pub pd: *mut ibv_pd,
    pub handle: u32,
}
