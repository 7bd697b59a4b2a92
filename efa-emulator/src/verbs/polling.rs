//! Reading completions in place.
//!
//! `start_poll` takes the polling lock and finds a completion, `read_*` tell about it, `next_poll` goes on, `end_poll`
//! gives the lock back. Sends may be posted in between: they never take this lock.

use std::ffi::{c_int, c_uint};
use std::sync::Arc;

use super::completions::CompletionQueue;
use crate::abi::efadv::efadv_cq;
use crate::abi::queue::{IBV_WC_GRH, IBV_WC_WITH_IMM, ibv_cq, ibv_cq_ex, ibv_poll_cq_attr, ibv_wc};
use crate::abi::verbs::ibv_gid;
use crate::completion::{Attached, Completion};
use crate::letters;
use crate::status::Status;

/// Sender's number in a completion when there is no address handle for it.
const UNKNOWN_SENDER: u32 = 0xffff;
/// Empty polls before the processor is offered to others, where each process has one.
const SPINS: u32 = 64;
/// Empty polls between looks at how many processes there are.
const CROWD_CHECK: u32 = 4096;

/// What the thread that polls knows.
pub(crate) struct Poller {
    current: Completion,
    receivers: Vec<Arc<dyn Attached>>,
    version: u64,
    /// Whose turn it is among the receivers, so that a busy one doesn't starve the others.
    turn: usize,
    /// Alternates, so that neither finished sends nor receives starve.
    receives_first: bool,
    /// Empty polls since the last completion.
    empty: u32,
    /// Empty polls until the next look at how many processes there are.
    until_check: u32,
    crowded: bool,
}

impl Default for Poller {
    fn default() -> Self {
        Self {
            current: Completion::new(0, 0, Status::Ok, 0),
            receivers: Vec::new(),
            version: 0,
            turn: 0,
            receives_first: false,
            empty: 0,
            until_check: 0,
            crowded: false,
        }
    }
}

/// Fills in the calls of a completion queue.
pub(crate) fn fill_table(c: &mut ibv_cq_ex) {
    c.start_poll = Some(start_poll);
    c.next_poll = Some(next_poll);
    c.end_poll = Some(end_poll);
    c.read_opcode = Some(read_opcode);
    c.read_vendor_err = Some(read_vendor_err);
    c.read_byte_len = Some(read_byte_len);
    c.read_imm_data = Some(read_imm_data);
    c.read_qp_num = Some(read_qp_num);
    c.read_src_qp = Some(read_src_qp);
    c.read_wc_flags = Some(read_wc_flags);
    c.read_slid = Some(read_slid);
    c.read_sl = Some(read_zero);
    c.read_dlid_path_bits = Some(read_zero);
}

/// Returns the calls that EFA adds.
pub(crate) fn efa_table() -> efadv_cq {
    efadv_cq { comp_mask: 0, wc_read_sgid: Some(read_sgid), wc_is_unsolicited: Some(is_unsolicited) }
}

/// Implements `poll_cq` of an open device: copies out up to `count` completions.
pub(crate) unsafe extern "C" fn poll_cq(cq: *mut ibv_cq, count: c_int, to: *mut ibv_wc) -> c_int {
    // SAFETY: the caller vouches for the queue.
    let queue = unsafe { CompletionQueue::of(cq) };
    queue.polling.lock();
    let mut done = 0;
    while done < count && find(queue) {
        // SAFETY: this thread holds the polling lock.
        let c = unsafe { &(*queue.poller.get()).current };
        let wc = ibv_wc {
            wr_id: c.wr_id,
            status: c.status.verbs(),
            opcode: c.opcode,
            vendor_err: c.status.number(),
            byte_len: c.len,
            imm_data: c.imm.unwrap_or(0),
            qp_num: c.qpn,
            src_qp: c.source_qpn,
            wc_flags: flags(c),
            slid: c.source_handle.unwrap_or(UNKNOWN_SENDER as u16),
            ..ibv_wc::default()
        };
        // SAFETY: the caller has room for `count` completions.
        unsafe { to.add(done as usize).write(wc) };
        done += 1;
    }
    queue.polling.unlock();
    done
}

unsafe extern "C" fn start_poll(cq: *mut ibv_cq_ex, attr: *mut ibv_poll_cq_attr) -> c_int {
    // SAFETY: the caller vouches for both.
    let (queue, options) = unsafe { (CompletionQueue::of(cq.cast()), (*attr).comp_mask) };
    if options != 0 {
        return libc::EINVAL;
    }
    queue.polling.lock();
    if find(queue) {
        // SAFETY: as above.
        unsafe { show(cq) };
        return 0;
    }
    let crowded = idle(queue);
    queue.polling.unlock();
    if crowded {
        std::thread::yield_now();
    }
    libc::ENOENT
}

unsafe extern "C" fn next_poll(cq: *mut ibv_cq_ex) -> c_int {
    // SAFETY: the caller vouches for the queue and holds its polling lock since `start_poll`.
    let queue = unsafe { CompletionQueue::of(cq.cast()) };
    if !find(queue) {
        return libc::ENOENT;
    }
    // SAFETY: as above.
    unsafe { show(cq) };
    0
}

unsafe extern "C" fn end_poll(cq: *mut ibv_cq_ex) {
    // SAFETY: the caller vouches for the queue and holds its polling lock since `start_poll`.
    unsafe { CompletionQueue::of(cq.cast()) }.polling.unlock();
}

/// Makes the next completion the current one; false if there is none. The caller holds the polling lock.
fn find(queue: &CompletionQueue) -> bool {
    // SAFETY: the polling lock makes this thread the only one.
    let poller = unsafe { &mut *queue.poller.get() };
    if let Some(receivers) = queue.shared.receivers_since(&mut poller.version) {
        poller.receivers = receivers;
    }
    poller.receives_first = !poller.receives_first;
    let found = if poller.receives_first {
        receive(poller).or_else(|| queue.shared.pop())
    } else {
        queue.shared.pop().or_else(|| receive(poller))
    };
    let Some(mut completion) = found else { return false };
    if let Some(sender) = completion.sender.take() {
        sender.end();
    }
    poller.empty = 0;
    poller.current = completion;
    true
}

/// Takes the next message of any queue pair.
fn receive(poller: &mut Poller) -> Option<Completion> {
    for _ in 0..poller.receivers.len() {
        poller.turn = if poller.turn + 1 < poller.receivers.len() { poller.turn + 1 } else { 0 };
        if let Some(completion) = poller.receivers.get(poller.turn).and_then(|queue| queue.receive()) {
            return Some(completion);
        }
    }
    None
}

/// Counts an empty poll; true if the processor should be offered to others.
fn idle(queue: &CompletionQueue) -> bool {
    // SAFETY: the polling lock makes this thread the only one.
    let poller = unsafe { &mut *queue.poller.get() };
    if poller.until_check == 0 {
        poller.until_check = CROWD_CHECK;
        let process = &queue.shared.process;
        poller.crowded = process.job.table().taken() > process.processors;
        letters::attend(process);
    }
    poller.until_check -= 1;
    poller.empty = poller.empty.saturating_add(1);
    poller.crowded || poller.empty > SPINS
}

/// Writes the fields that users read without a call.
unsafe fn show(cq: *mut ibv_cq_ex) {
    // SAFETY: a completion queue of ours whose polling lock this thread holds.
    unsafe {
        let current = current(cq);
        (*cq).wr_id = current.wr_id;
        (*cq).status = current.status.verbs();
    }
}

unsafe fn current<'a>(cq: *mut ibv_cq_ex) -> &'a Completion {
    // SAFETY: the caller polls this queue, hence owns the poller.
    unsafe { &(*CompletionQueue::of(cq.cast()).poller.get()).current }
}

fn flags(completion: &Completion) -> c_uint {
    let imm = if completion.imm.is_some() { IBV_WC_WITH_IMM } else { 0 };
    imm | if completion.has_route_header { IBV_WC_GRH } else { 0 }
}

unsafe extern "C" fn read_opcode(cq: *mut ibv_cq_ex) -> c_int {
    // SAFETY: the caller polls this queue.
    unsafe { current(cq) }.opcode
}

unsafe extern "C" fn read_vendor_err(cq: *mut ibv_cq_ex) -> u32 {
    // SAFETY: the caller polls this queue.
    unsafe { current(cq) }.status.number()
}

unsafe extern "C" fn read_byte_len(cq: *mut ibv_cq_ex) -> u32 {
    // SAFETY: the caller polls this queue.
    unsafe { current(cq) }.len
}

unsafe extern "C" fn read_imm_data(cq: *mut ibv_cq_ex) -> u32 {
    // SAFETY: the caller polls this queue.
    unsafe { current(cq) }.imm.unwrap_or(0)
}

unsafe extern "C" fn read_qp_num(cq: *mut ibv_cq_ex) -> u32 {
    // SAFETY: the caller polls this queue.
    unsafe { current(cq) }.qpn
}

unsafe extern "C" fn read_src_qp(cq: *mut ibv_cq_ex) -> u32 {
    // SAFETY: the caller polls this queue.
    unsafe { current(cq) }.source_qpn
}

unsafe extern "C" fn read_wc_flags(cq: *mut ibv_cq_ex) -> c_uint {
    // SAFETY: the caller polls this queue.
    flags(unsafe { current(cq) })
}

unsafe extern "C" fn read_slid(cq: *mut ibv_cq_ex) -> u32 {
    // SAFETY: the caller polls this queue.
    unsafe { current(cq) }.source_handle.map_or(UNKNOWN_SENDER, u32::from)
}

unsafe extern "C" fn read_zero(_: *mut ibv_cq_ex) -> u8 {
    0
}

/// Returns the sender's address, only if it has no address handle here: ENOENT otherwise, negative.
unsafe extern "C" fn read_sgid(efa: *mut efadv_cq, gid: *mut ibv_gid) -> c_int {
    // SAFETY: the caller polls the queue that this is part of.
    let current = unsafe { &(*CompletionQueue::of_efa(efa).poller.get()).current };
    match (current.source, current.source_handle) {
        (Some(source), None) => {
            // SAFETY: the caller vouches for it; it may be unaligned.
            unsafe { gid.cast::<[u8; 16]>().write_unaligned(source.gid().raw) };
            0
        }
        _ => -libc::ENOENT,
    }
}

unsafe extern "C" fn is_unsolicited(efa: *mut efadv_cq) -> bool {
    // SAFETY: the caller polls the queue that this is part of.
    unsafe { (*CompletionQueue::of_efa(efa).poller.get()).current.unsolicited }
}
