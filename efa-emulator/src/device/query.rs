//! What the device answers when asked about itself.

use std::ffi::c_char;

use super::limits;
use crate::abi::efadv::{
    EFADV_DEVICE_ATTR_CAPS_CQ_WITH_SGID, EFADV_DEVICE_ATTR_CAPS_RDMA_READ, EFADV_DEVICE_ATTR_CAPS_RDMA_WRITE,
    EFADV_DEVICE_ATTR_CAPS_RNR_RETRY, EFADV_DEVICE_ATTR_CAPS_UNSOLICITED_WRITE_RECV, efadv_device_attr,
};
use crate::abi::verbs::{
    IBV_LINK_LAYER_UNSPECIFIED, IBV_MTU_4096, IBV_PORT_ACTIVE, IBV_PORT_DOWN, ibv_device_attr, ibv_port_attr,
};
use crate::handles::MAX_HANDLES;
use crate::settings::Rdma;
use crate::wire::MAX_MESSAGE;
use crate::wire::process::MAX_REGIONS;

/// Amazon's number among PCI vendors.
pub(crate) const VENDOR: u32 = 0x1d0f;
/// The device generation that can write remote memory.
pub(crate) const PART: u32 = 0xefa2;
/// What stands where a real device tells its firmware's version.
const FIRMWARE: &str = "emulated";

/// Returns the answer to `ibv_query_device`.
pub(crate) fn device(guid: u64, queue_pairs: u32) -> ibv_device_attr {
    // SAFETY: the structure is made of integers, for which all zeroes is a value.
    let mut attr: ibv_device_attr = unsafe { std::mem::zeroed() };
    copy_text(&mut attr.fw_ver, FIRMWARE);
    attr.node_guid = guid;
    attr.sys_image_guid = guid;
    attr.max_mr_size = limits::REGION_BYTES;
    attr.page_size_cap = 0xffff_ffff_ffff_f000;
    attr.vendor_id = VENDOR;
    attr.vendor_part_id = PART;
    attr.max_qp = queue_pairs as i32;
    attr.max_qp_wr = limits::SEND_DEPTH as i32;
    attr.max_sge = i32::from(limits::SEND_PIECES);
    attr.max_sge_rd = 1;
    attr.max_cq = limits::COMPLETION_QUEUES;
    attr.max_cqe = limits::COMPLETIONS;
    attr.max_mr = MAX_REGIONS as i32;
    attr.max_pd = 1024;
    attr.max_ah = i32::from(MAX_HANDLES);
    attr.max_pkeys = 1;
    attr.phys_port_cnt = 1;
    attr
}

/// Returns the answer to `efadv_query_device`.
pub(crate) fn efa(rdma: Rdma) -> efadv_device_attr {
    let read = if rdma >= Rdma::Read { EFADV_DEVICE_ATTR_CAPS_RDMA_READ } else { 0 };
    let write = EFADV_DEVICE_ATTR_CAPS_RDMA_WRITE | EFADV_DEVICE_ATTR_CAPS_UNSOLICITED_WRITE_RECV;
    let write = if rdma >= Rdma::Write { write } else { 0 };
    efadv_device_attr {
        comp_mask: 0,
        max_sq_wr: limits::SEND_DEPTH,
        max_rq_wr: limits::RECEIVE_DEPTH,
        max_sq_sge: limits::SEND_PIECES,
        max_rq_sge: limits::RECEIVE_PIECES,
        inline_buf_size: limits::INLINE as u16,
        reserved: [0; 2],
        device_caps: read | write | EFADV_DEVICE_ATTR_CAPS_RNR_RETRY | EFADV_DEVICE_ATTR_CAPS_CQ_WITH_SGID,
        max_rdma_size: if rdma == Rdma::None { 0 } else { limits::MAX_RDMA },
    }
}

/// Returns the answer to `ibv_query_port`.
pub(crate) fn port(gone: bool) -> ibv_port_attr {
    // SAFETY: the structure is made of integers, for which all zeroes is a value.
    let mut attr: ibv_port_attr = unsafe { std::mem::zeroed() };
    attr.state = if gone { IBV_PORT_DOWN } else { IBV_PORT_ACTIVE };
    attr.max_mtu = IBV_MTU_4096;
    attr.active_mtu = IBV_MTU_4096;
    attr.gid_tbl_len = 1;
    attr.max_msg_sz = MAX_MESSAGE as u32;
    attr.pkey_tbl_len = 1;
    attr.max_vl_num = 1;
    // Four lanes of 25 Gbit/s: 100 Gbit/s, as one interface of an EFA reports.
    attr.active_width = 2;
    attr.active_speed = 32;
    attr.phys_state = if gone { 3 } else { 5 };
    attr.link_layer = IBV_LINK_LAYER_UNSPECIFIED;
    attr
}

/// Copies text into a C array, cut off so that a NUL remains.
pub(crate) fn copy_text(to: &mut [c_char], text: &str) {
    let room = to.len().saturating_sub(1);
    for (to, from) in to.iter_mut().zip(text.bytes().take(room)) {
        *to = from as c_char;
    }
}

/// Copies the first `known` bytes of an answer to a caller whose headers know no more.
///
/// # Safety
/// `to` must be writable for `known` bytes.
pub(crate) unsafe fn answer<T: Copy>(to: *mut T, known: usize, value: &T) {
    let len = known.min(size_of::<T>());
    // SAFETY: the caller vouches for the destination; the source is a value of at least that size.
    unsafe { to.cast::<u8>().copy_from(std::ptr::from_ref(value).cast(), len) };
}
