//! Posting work: the calls that build requests in place, and the older ones that take lists.
//!
//! `wr_start` takes a lock, `wr_send` and its like begin a request, `wr_set_*` complete it, `wr_complete` gives the
//! batch to the device. What is wrong with a request is told by `wr_complete`, which then posts none of the batch.

use std::ffi::{c_int, c_void};

use super::handles::AddressHandle;
use super::queues::QueuePair;
use crate::abi::queue::{
    IBV_SEND_INLINE, IBV_SEND_SIGNALED, IBV_WR_SEND, IBV_WR_SEND_WITH_IMM, ibv_data_buf, ibv_qp, ibv_qp_ex,
    ibv_recv_wr, ibv_send_wr, ibv_sge,
};
use crate::abi::verbs::ibv_ah;
use crate::device::limits;
use crate::errno::{Errno, code};
use crate::receive::{MAX_RECEIVE_PIECES, Receive};
use crate::transmit;
use crate::work::{Data, MAX_PIECES, Operation, Work};

/// Requests being built.
#[derive(Default)]
pub(crate) struct Batch {
    work: Vec<Work>,
    error: Option<Errno>,
}

/// Fills in the calls of a queue pair.
pub(crate) fn fill_table(c: &mut ibv_qp_ex) {
    c.wr_rdma_read = Some(wr_rdma_read);
    c.wr_rdma_write = Some(wr_rdma_write);
    c.wr_rdma_write_imm = Some(wr_rdma_write_imm);
    c.wr_send = Some(wr_send);
    c.wr_send_imm = Some(wr_send_imm);
    c.wr_set_ud_addr = Some(wr_set_ud_addr);
    c.wr_set_inline_data = Some(wr_set_inline_data);
    c.wr_set_inline_data_list = Some(wr_set_inline_data_list);
    c.wr_set_sge = Some(wr_set_sge);
    c.wr_set_sge_list = Some(wr_set_sge_list);
    c.wr_start = Some(wr_start);
    c.wr_complete = Some(wr_complete);
    c.wr_abort = Some(wr_abort);
}

/// Implements `post_recv` of an open device.
pub(crate) unsafe extern "C" fn post_recv(
    qp: *mut ibv_qp,
    first: *mut ibv_recv_wr,
    bad: *mut *mut ibv_recv_wr,
) -> c_int {
    // SAFETY: the caller vouches for the queue pair.
    let queue = unsafe { QueuePair::of(qp) };
    let mut next = first;
    let outcome = code(|| {
        while !next.is_null() {
            // SAFETY: the caller vouches for the list.
            let wr = unsafe { &*next };
            let count = usize::try_from(wr.num_sge).map_err(|_| Errno(libc::EINVAL))?;
            if count > MAX_RECEIVE_PIECES {
                return Err(Errno(libc::EINVAL));
            }
            let mut receive = Receive { wr_id: wr.wr_id, count, ..Receive::default() };
            for (index, piece) in receive.pieces.iter_mut().take(count).enumerate() {
                // SAFETY: the caller's list has that many pieces.
                *piece = unsafe { *wr.sg_list.add(index) };
            }
            queue.shared.post_receive(receive)?;
            next = wr.next;
        }
        Ok(())
    });
    if outcome != 0 && !bad.is_null() {
        // SAFETY: the caller vouches for it.
        unsafe { *bad = next };
    }
    outcome
}

/// Implements `post_send` of an open device, for sends only.
pub(crate) unsafe extern "C" fn post_send(
    qp: *mut ibv_qp,
    first: *mut ibv_send_wr,
    bad: *mut *mut ibv_send_wr,
) -> c_int {
    // SAFETY: the caller vouches for the queue pair.
    let queue = unsafe { QueuePair::of(qp) };
    let mut next = first;
    let outcome = code(|| {
        while !next.is_null() {
            // SAFETY: the caller vouches for the list.
            let wr = unsafe { &*next };
            let mut work = Work::new(Operation::Send, wr.wr_id, wr.send_flags & IBV_SEND_SIGNALED != 0);
            work.imm = match wr.opcode {
                IBV_WR_SEND => None,
                IBV_WR_SEND_WITH_IMM => Some(wr.imm_data),
                _ => return Err(Errno(libc::EINVAL)),
            };
            let count = usize::try_from(wr.num_sge).map_err(|_| Errno(libc::EINVAL))?;
            // SAFETY: the caller's list has that many pieces.
            unsafe { set_pieces(&mut work, count, wr.sg_list)? };
            if wr.send_flags & IBV_SEND_INLINE != 0 {
                take_inline(&mut work)?;
            }
            // SAFETY: the caller vouches for the address handle.
            unsafe { set_address(&mut work, wr.ud.ah, wr.ud.remote_qpn, wr.ud.remote_qkey) };
            transmit::post_all(&queue.shared, std::iter::once(work))?;
            next = wr.next;
        }
        Ok(())
    });
    if outcome != 0 && !bad.is_null() {
        // SAFETY: the caller vouches for it.
        unsafe { *bad = next };
    }
    outcome
}

unsafe extern "C" fn wr_start(qp: *mut ibv_qp_ex) {
    // SAFETY: the caller vouches for the queue pair.
    let queue = unsafe { QueuePair::of(qp.cast()) };
    queue.building.lock();
    // SAFETY: the lock was just taken.
    let batch = unsafe { &mut *queue.batch.get() };
    batch.work.clear();
    batch.error = None;
}

unsafe extern "C" fn wr_complete(qp: *mut ibv_qp_ex) -> c_int {
    // SAFETY: the caller vouches for the queue pair and holds its lock since `wr_start`.
    let queue = unsafe { QueuePair::of(qp.cast()) };
    // SAFETY: as above.
    let batch = unsafe { &mut *queue.batch.get() };
    let outcome = code(|| match batch.error {
        Some(error) => Err(error),
        None => transmit::post_all(&queue.shared, batch.work.drain(..)),
    });
    queue.building.unlock();
    outcome
}

unsafe extern "C" fn wr_abort(qp: *mut ibv_qp_ex) {
    // SAFETY: the caller vouches for the queue pair and holds its lock since `wr_start`.
    let queue = unsafe { QueuePair::of(qp.cast()) };
    // SAFETY: as above.
    unsafe { (*queue.batch.get()).work.clear() };
    queue.building.unlock();
}

unsafe extern "C" fn wr_send(qp: *mut ibv_qp_ex) {
    // SAFETY: the caller builds on this queue pair.
    unsafe { begin(qp, Operation::Send) };
}

unsafe extern "C" fn wr_send_imm(qp: *mut ibv_qp_ex, imm: u32) {
    // SAFETY: the caller builds on this queue pair.
    unsafe { begin(qp, Operation::Send) }.imm = Some(imm);
}

unsafe extern "C" fn wr_rdma_read(qp: *mut ibv_qp_ex, key: u32, address: u64) {
    // SAFETY: the caller builds on this queue pair.
    let work = unsafe { begin(qp, Operation::Read) };
    (work.remote_key, work.remote_address) = (key, address);
}

unsafe extern "C" fn wr_rdma_write(qp: *mut ibv_qp_ex, key: u32, address: u64) {
    // SAFETY: the caller builds on this queue pair.
    let work = unsafe { begin(qp, Operation::Write) };
    (work.remote_key, work.remote_address) = (key, address);
}

unsafe extern "C" fn wr_rdma_write_imm(qp: *mut ibv_qp_ex, key: u32, address: u64, imm: u32) {
    // SAFETY: the caller builds on this queue pair.
    let work = unsafe { begin(qp, Operation::Write) };
    (work.remote_key, work.remote_address, work.imm) = (key, address, Some(imm));
}

unsafe extern "C" fn wr_set_ud_addr(qp: *mut ibv_qp_ex, ah: *mut ibv_ah, qpn: u32, qkey: u32) {
    // SAFETY: the caller builds on this queue pair, and vouches for the address handle.
    unsafe { change(qp, |work| set_address(work, ah, qpn, qkey)) };
}

unsafe extern "C" fn wr_set_sge(qp: *mut ibv_qp_ex, lkey: u32, addr: u64, length: u32) {
    let piece = ibv_sge { addr, length, lkey };
    // SAFETY: the caller builds on this queue pair.
    unsafe { wr_set_sge_list(qp, 1, &piece) };
}

unsafe extern "C" fn wr_set_sge_list(qp: *mut ibv_qp_ex, count: usize, list: *const ibv_sge) {
    // SAFETY: the caller builds on this queue pair, and its list has that many pieces.
    unsafe { change_or_fail(qp, |work| set_pieces(work, count, list)) };
}

unsafe extern "C" fn wr_set_inline_data(qp: *mut ibv_qp_ex, addr: *mut c_void, length: usize) {
    let buffer = ibv_data_buf { addr, length };
    // SAFETY: the caller builds on this queue pair, and vouches for the memory.
    unsafe { wr_set_inline_data_list(qp, 1, &buffer) };
}

unsafe extern "C" fn wr_set_inline_data_list(qp: *mut ibv_qp_ex, count: usize, list: *const ibv_data_buf) {
    let set = |work: &mut Work| {
        let mut bytes = [0; limits::INLINE];
        let mut used = 0;
        for index in 0..count {
            // SAFETY: the caller's list has that many pieces.
            let piece = unsafe { *list.add(index) };
            let room = bytes
                .get_mut(used..)
                .and_then(|rest| rest.get_mut(..piece.length))
                .ok_or(Errno(libc::EINVAL))?;
            // SAFETY: the caller vouches for its memory, and the room is as long.
            unsafe { room.as_mut_ptr().copy_from(piece.addr.cast(), piece.length) };
            used += piece.length;
        }
        work.data = Data::Inline(bytes, used);
        Ok(())
    };
    // SAFETY: the caller builds on this queue pair.
    unsafe { change_or_fail(qp, set) };
}

/// Begins a request.
unsafe fn begin<'a>(qp: *mut ibv_qp_ex, operation: Operation) -> &'a mut Work {
    // SAFETY: the caller builds on this queue pair, hence holds its lock.
    let (queue, wr_id, flags) = unsafe { (QueuePair::of(qp.cast()), (*qp).wr_id, (*qp).wr_flags) };
    // SAFETY: as above.
    let batch = unsafe { &mut *queue.batch.get() };
    batch.work.push(Work::new(operation, wr_id, flags & IBV_SEND_SIGNALED != 0));
    let last = batch.work.len() - 1;
    &mut batch.work[last]
}

/// Changes the request begun last; without one the batch fails.
unsafe fn change(qp: *mut ibv_qp_ex, how: impl FnOnce(&mut Work)) {
    // SAFETY: as the caller's.
    unsafe {
        change_or_fail(qp, |work| {
            how(work);
            Ok(())
        });
    }
}

unsafe fn change_or_fail(qp: *mut ibv_qp_ex, how: impl FnOnce(&mut Work) -> Result<(), Errno>) {
    // SAFETY: the caller builds on this queue pair, hence holds its lock.
    let batch = unsafe { &mut *QueuePair::of(qp.cast()).batch.get() };
    if let Err(error) = batch.work.last_mut().map_or(Err(Errno(libc::EINVAL)), how) {
        batch.error = Some(error);
    }
}

unsafe fn set_pieces(work: &mut Work, count: usize, list: *const ibv_sge) -> Result<(), Errno> {
    let mut pieces = [ibv_sge::default(); MAX_PIECES];
    if count > MAX_PIECES {
        return Err(Errno(libc::EINVAL));
    }
    for (index, piece) in pieces.iter_mut().take(count).enumerate() {
        // SAFETY: the caller's list has that many pieces.
        *piece = unsafe { *list.add(index) };
    }
    work.data = Data::Pieces(pieces, count);
    Ok(())
}

unsafe fn set_address(work: &mut Work, ah: *mut ibv_ah, qpn: u32, qkey: u32) {
    // SAFETY: the caller vouches for the handle, which is null or one of ours.
    work.to = unsafe { ah.cast::<AddressHandle>().as_ref() }.map(|handle| handle.destination.clone());
    (work.to_qpn, work.to_qkey) = (qpn, qkey);
}

/// Takes the bytes of a request now, whatever their keys.
fn take_inline(work: &mut Work) -> Result<(), Errno> {
    let mut bytes = [0; limits::INLINE];
    let len = work.len() as usize;
    if len > bytes.len() {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: there is room for that many bytes, and inline data needs no key: the caller vouches for its memory.
    unsafe { work.gather(bytes.as_mut_ptr()) };
    work.data = Data::Inline(bytes, len);
    Ok(())
}
