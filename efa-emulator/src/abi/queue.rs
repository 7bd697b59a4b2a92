//! `infiniband/verbs.h`: completion queues, queue pairs and work requests.

use std::ffi::{c_int, c_uint, c_void};

use super::Unused;
use super::context::ibv_context;
use super::verbs::{ibv_ah, ibv_ah_attr, ibv_pd};

/// `ibv_qp_type`: unreliable datagrams.
pub const IBV_QPT_UD: c_int = 4;
/// `ibv_qp_type`: what the driver says, for EFA its scalable reliable datagrams.
pub const IBV_QPT_DRIVER: c_int = 0xff;
/// The protection domain of `ibv_qp_init_attr_ex` is set.
pub const IBV_QP_INIT_ATTR_PD: u32 = 1;

/// `ibv_qp_state`: just created.
pub const IBV_QPS_RESET: c_int = 0;
/// `ibv_qp_state`: may receive.
pub const IBV_QPS_RTR: c_int = 2;
/// `ibv_qp_state`: may send.
pub const IBV_QPS_RTS: c_int = 3;
/// `ibv_qp_state`: failed.
pub const IBV_QPS_ERR: c_int = 6;
/// `ibv_modify_qp` sets the state.
pub const IBV_QP_STATE: c_int = 1;
/// `ibv_modify_qp` sets the queue key.
pub const IBV_QP_QKEY: c_int = 1 << 6;
/// `ibv_modify_qp` sets how often to retry when the receiver is not ready.
pub const IBV_QP_RNR_RETRY: c_int = 1 << 11;

/// `ibv_wr_opcode`: write.
pub const IBV_WR_RDMA_WRITE: c_int = 0;
/// `ibv_wr_opcode`: write that tells the target.
pub const IBV_WR_RDMA_WRITE_WITH_IMM: c_int = 1;
/// `ibv_wr_opcode`: send.
pub const IBV_WR_SEND: c_int = 2;
/// `ibv_wr_opcode`: send with four bytes for the completion.
pub const IBV_WR_SEND_WITH_IMM: c_int = 3;
/// `ibv_wr_opcode`: read.
pub const IBV_WR_RDMA_READ: c_int = 4;

/// `ibv_send_flags`: give a completion.
pub const IBV_SEND_SIGNALED: c_uint = 1 << 1;
/// `ibv_send_flags`: the data is taken when the call returns.
pub const IBV_SEND_INLINE: c_uint = 1 << 3;

/// `ibv_wc_opcode`: send.
pub const IBV_WC_SEND: c_int = 0;
/// `ibv_wc_opcode`: write.
pub const IBV_WC_RDMA_WRITE: c_int = 1;
/// `ibv_wc_opcode`: receive.
pub const IBV_WC_RECV: c_int = 1 << 7;
/// `ibv_wc_opcode`: a peer wrote and tells so.
pub const IBV_WC_RECV_RDMA_WITH_IMM: c_int = (1 << 7) + 1;
/// `ibv_wc_flags`: a route header precedes the data.
pub const IBV_WC_GRH: c_uint = 1;
/// `ibv_wc_flags`: immediate data is there.
pub const IBV_WC_WITH_IMM: c_uint = 1 << 1;

/// Where completion events arrive.
#[repr(C)]
pub struct ibv_comp_channel {
    pub context: *mut ibv_context,
    pub fd: c_int,
    pub refcnt: c_int,
}

/// A completion queue, as seen by older calls.
#[repr(C)]
pub struct ibv_cq {
    pub context: *mut ibv_context,
    pub channel: *mut ibv_comp_channel,
    pub cq_context: *mut c_void,
    pub handle: u32,
    pub cqe: c_int,
    pub mutex: libc::pthread_mutex_t,
    pub cond: libc::pthread_cond_t,
    pub comp_events_completed: u32,
    pub async_events_completed: u32,
}

/// Options of `start_poll`; none exist.
#[repr(C)]
pub struct ibv_poll_cq_attr {
    pub comp_mask: u32,
}

/// A completion queue read in place; it begins like an [`ibv_cq`].
#[repr(C)]
pub struct ibv_cq_ex {
    pub base: ibv_cq,
    pub comp_mask: u32,
    /// `ibv_wc_status` of the current completion.
    pub status: c_int,
    /// Identifier of the current completion.
    pub wr_id: u64,
    pub start_poll: Option<unsafe extern "C" fn(*mut ibv_cq_ex, *mut ibv_poll_cq_attr) -> c_int>,
    pub next_poll: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> c_int>,
    pub end_poll: Option<unsafe extern "C" fn(*mut ibv_cq_ex)>,
    pub read_opcode: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> c_int>,
    pub read_vendor_err: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> u32>,
    pub read_byte_len: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> u32>,
    pub read_imm_data: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> u32>,
    pub read_qp_num: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> u32>,
    pub read_src_qp: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> u32>,
    pub read_wc_flags: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> c_uint>,
    pub read_slid: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> u32>,
    pub read_sl: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> u8>,
    pub read_dlid_path_bits: Option<unsafe extern "C" fn(*mut ibv_cq_ex) -> u8>,
    pub _timestamps_tags: [Unused; 5],
}

/// What `ibv_create_cq_ex` is given.
#[repr(C)]
pub struct ibv_cq_init_attr_ex {
    pub cqe: u32,
    pub cq_context: *mut c_void,
    pub channel: *mut ibv_comp_channel,
    pub comp_vector: u32,
    pub wc_flags: u64,
    pub comp_mask: u32,
    pub flags: u32,
    pub parent_domain: *mut ibv_pd,
}

/// A completion as `ibv_poll_cq` writes it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ibv_wc {
    pub wr_id: u64,
    pub status: c_int,
    pub opcode: c_int,
    pub vendor_err: u32,
    pub byte_len: u32,
    pub imm_data: u32,
    pub qp_num: u32,
    pub src_qp: u32,
    pub wc_flags: c_uint,
    pub pkey_index: u16,
    pub slid: u16,
    pub sl: u8,
    pub dlid_path_bits: u8,
}

/// Sizes of a queue pair.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct ibv_qp_cap {
    pub max_send_wr: u32,
    pub max_recv_wr: u32,
    pub max_send_sge: u32,
    pub max_recv_sge: u32,
    pub max_inline_data: u32,
}

/// What `ibv_create_qp` is given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ibv_qp_init_attr {
    pub qp_context: *mut c_void,
    pub send_cq: *mut ibv_cq,
    pub recv_cq: *mut ibv_cq,
    pub srq: *mut c_void,
    pub cap: ibv_qp_cap,
    pub qp_type: c_int,
    pub sq_sig_all: c_int,
}

/// What `ibv_create_qp_ex` is given; it begins like [`ibv_qp_init_attr`], but for that one's padding.
#[repr(C)]
pub struct ibv_qp_init_attr_ex {
    pub qp_context: *mut c_void,
    pub send_cq: *mut ibv_cq,
    pub recv_cq: *mut ibv_cq,
    pub srq: *mut c_void,
    pub cap: ibv_qp_cap,
    pub qp_type: c_int,
    pub sq_sig_all: c_int,
    pub comp_mask: u32,
    pub pd: *mut ibv_pd,
    pub xrcd: *mut c_void,
    pub create_flags: u32,
    pub max_tso_header: u16,
    pub rwq_ind_tbl: *mut c_void,
    pub rx_hash_conf: [u64; 3],
    pub source_qpn: u32,
    pub send_ops_flags: u64,
}

impl ibv_qp_init_attr_ex {
    /// The part that older calls have too.
    pub fn base(&self) -> ibv_qp_init_attr {
        ibv_qp_init_attr {
            qp_context: self.qp_context,
            send_cq: self.send_cq,
            recv_cq: self.recv_cq,
            srq: self.srq,
            cap: self.cap,
            qp_type: self.qp_type,
            sq_sig_all: self.sq_sig_all,
        }
    }
}

/// What `ibv_modify_qp` is given.
#[repr(C)]
pub struct ibv_qp_attr {
    pub qp_state: c_int,
    pub cur_qp_state: c_int,
    pub path_mtu: c_int,
    pub path_mig_state: c_int,
    pub qkey: u32,
    pub rq_psn: u32,
    pub sq_psn: u32,
    pub dest_qp_num: u32,
    pub qp_access_flags: c_uint,
    pub cap: ibv_qp_cap,
    pub ah_attr: ibv_ah_attr,
    pub alt_ah_attr: ibv_ah_attr,
    pub pkey_index: u16,
    pub alt_pkey_index: u16,
    pub en_sqd_async_notify: u8,
    pub sq_draining: u8,
    pub max_rd_atomic: u8,
    pub max_dest_rd_atomic: u8,
    pub min_rnr_timer: u8,
    pub port_num: u8,
    pub timeout: u8,
    pub retry_cnt: u8,
    pub rnr_retry: u8,
    pub alt_port_num: u8,
    pub alt_timeout: u8,
    pub rate_limit: u32,
}

/// A queue pair.
#[repr(C)]
pub struct ibv_qp {
    pub context: *mut ibv_context,
    pub qp_context: *mut c_void,
    pub pd: *mut ibv_pd,
    pub send_cq: *mut ibv_cq,
    pub recv_cq: *mut ibv_cq,
    pub srq: *mut c_void,
    pub handle: u32,
    pub qp_num: u32,
    pub state: c_int,
    pub qp_type: c_int,
    pub mutex: libc::pthread_mutex_t,
    pub cond: libc::pthread_cond_t,
    pub events_completed: u32,
}

/// A queue pair with the calls that build work requests in place; it begins with its [`ibv_qp`].
#[repr(C)]
pub struct ibv_qp_ex {
    pub qp_base: ibv_qp,
    pub comp_mask: u64,
    pub wr_id: u64,
    pub wr_flags: c_uint,
    pub _atomics_windows: [Unused; 4],
    pub wr_rdma_read: Option<unsafe extern "C" fn(*mut ibv_qp_ex, u32, u64)>,
    pub wr_rdma_write: Option<unsafe extern "C" fn(*mut ibv_qp_ex, u32, u64)>,
    pub wr_rdma_write_imm: Option<unsafe extern "C" fn(*mut ibv_qp_ex, u32, u64, u32)>,
    pub wr_send: Option<unsafe extern "C" fn(*mut ibv_qp_ex)>,
    pub wr_send_imm: Option<unsafe extern "C" fn(*mut ibv_qp_ex, u32)>,
    pub _wr_send_inv: Unused,
    pub _wr_send_tso: Unused,
    pub wr_set_ud_addr: Option<unsafe extern "C" fn(*mut ibv_qp_ex, *mut ibv_ah, u32, u32)>,
    pub _wr_set_xrc_srqn: Unused,
    pub wr_set_inline_data: Option<unsafe extern "C" fn(*mut ibv_qp_ex, *mut c_void, usize)>,
    pub wr_set_inline_data_list: Option<unsafe extern "C" fn(*mut ibv_qp_ex, usize, *const ibv_data_buf)>,
    pub wr_set_sge: Option<unsafe extern "C" fn(*mut ibv_qp_ex, u32, u64, u32)>,
    pub wr_set_sge_list: Option<unsafe extern "C" fn(*mut ibv_qp_ex, usize, *const ibv_sge)>,
    pub wr_start: Option<unsafe extern "C" fn(*mut ibv_qp_ex)>,
    pub wr_complete: Option<unsafe extern "C" fn(*mut ibv_qp_ex) -> c_int>,
    pub wr_abort: Option<unsafe extern "C" fn(*mut ibv_qp_ex)>,
    pub _wr_atomic_write: Unused,
    /// Newer headers have `wr_flush` here.
    pub _wr_flush: Unused,
}

/// Data to be taken at once.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ibv_data_buf {
    pub addr: *mut c_void,
    pub length: usize,
}

/// A piece of registered memory.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct ibv_sge {
    pub addr: u64,
    pub length: u32,
    pub lkey: u32,
}

/// A receive to post.
#[repr(C)]
pub struct ibv_recv_wr {
    pub wr_id: u64,
    pub next: *mut ibv_recv_wr,
    pub sg_list: *mut ibv_sge,
    pub num_sge: c_int,
}

/// A send to post, the part of its union that datagrams use.
#[repr(C)]
pub struct ibv_send_wr {
    pub wr_id: u64,
    pub next: *mut ibv_send_wr,
    pub sg_list: *mut ibv_sge,
    pub num_sge: c_int,
    pub opcode: c_int,
    pub send_flags: c_uint,
    pub imm_data: u32,
    pub ud: ibv_send_wr_ud,
    pub _qp_type: u64,
    pub _bind_tso: [u64; 6],
}

/// The destination of a datagram, in a union of 32 bytes.
#[repr(C)]
pub struct ibv_send_wr_ud {
    pub ah: *mut ibv_ah,
    pub remote_qpn: u32,
    pub remote_qkey: u32,
    pub _rest_of_union: [u64; 2],
}
