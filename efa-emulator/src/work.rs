//! One work request: what a program wants sent, read or written.

use std::ffi::c_int;
use std::sync::Arc;

use crate::abi::queue::{IBV_WC_RDMA_WRITE, IBV_WC_SEND, ibv_sge};
use crate::abi::verbs::IBV_ACCESS_LOCAL_WRITE;
use crate::device::limits;
use crate::handles::Destination;
use crate::regions::Regions;
use crate::status::Status;

/// Pieces of memory that one request may have.
pub(crate) const MAX_PIECES: usize = 2;

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Send,
    Write,
    Read,
}

impl Operation {
    /// Returns the `ibv_wc_opcode` of its completion. EFA gives reads the opcode of sends.
    pub(crate) fn completion_opcode(self) -> c_int {
        match self {
            Self::Send | Self::Read => IBV_WC_SEND,
            Self::Write => IBV_WC_RDMA_WRITE,
        }
    }
}

/// Where the bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// In registered memory.
    Pieces([ibv_sge; MAX_PIECES], usize),
    /// Taken when the request was posted.
    Inline([u8; limits::INLINE], usize),
    /// Taken when the request was held back.
    Owned(Vec<u8>),
}

/// A work request.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) operation: Operation,
    pub(crate) wr_id: u64,
    /// Gives a completion also when all goes well.
    pub(crate) signaled: bool,
    pub(crate) imm: Option<u32>,
    pub(crate) remote_key: u32,
    pub(crate) remote_address: u64,
    pub(crate) to: Option<Arc<Destination>>,
    pub(crate) to_qpn: u32,
    pub(crate) to_qkey: u32,
    pub(crate) data: Data,
}

impl Work {
    /// Makes a request without destination or data.
    pub(crate) fn new(operation: Operation, wr_id: u64, signaled: bool) -> Self {
        Self {
            operation,
            wr_id,
            signaled,
            imm: None,
            remote_key: 0,
            remote_address: 0,
            to: None,
            to_qpn: 0,
            to_qkey: 0,
            data: Data::Pieces([ibv_sge::default(); MAX_PIECES], 0),
        }
    }

    /// Returns `true` if it takes one of the receiver's receives.
    pub(crate) fn takes_receive(&self) -> bool {
        self.operation == Operation::Send || self.imm.is_some()
    }

    /// Returns how many bytes it moves.
    pub(crate) fn len(&self) -> u64 {
        self.ranges().iter().map(|(_, len)| *len as u64).sum()
    }

    /// Returns the local memory, piece by piece.
    pub(crate) fn ranges(&self) -> Ranges {
        let mut ranges = Ranges { list: [(std::ptr::null_mut(), 0); MAX_PIECES], count: 1 };
        match &self.data {
            Data::Inline(bytes, len) => ranges.list[0] = (bytes.as_ptr().cast_mut(), (*len).min(bytes.len())),
            Data::Owned(bytes) => ranges.list[0] = (bytes.as_ptr().cast_mut(), bytes.len()),
            Data::Pieces(pieces, count) => {
                ranges.count = (*count).min(MAX_PIECES);
                for (range, piece) in ranges.list.iter_mut().zip(pieces) {
                    *range = (piece.addr as *mut u8, piece.length as usize);
                }
            }
        }
        ranges
    }

    /// Returns whether the local keys cover the local memory.
    pub(crate) fn check_local(&self, regions: &Regions) -> Result<(), Status> {
        let Data::Pieces(pieces, count) = &self.data else { return Ok(()) };
        let access = if self.operation == Operation::Read { IBV_ACCESS_LOCAL_WRITE } else { 0 };
        let covered = |p: &ibv_sge| regions.allows(p.lkey, p.addr, u64::from(p.length), access);
        if pieces.iter().take(*count).all(covered) { Ok(()) } else { Err(Status::InvalidLocalKey) }
    }

    /// Copies the bytes to send to `to`, which has room for [`Self::len`] bytes.
    ///
    /// # Safety
    /// `to` must be writable for that many bytes, and the local keys must have been checked.
    pub(crate) unsafe fn gather(&self, mut to: *mut u8) {
        for (from, len) in self.ranges().iter() {
            // SAFETY: the caller vouches for both sides.
            unsafe {
                to.copy_from(*from, *len);
                to = to.add(*len);
            }
        }
    }

    /// Takes the bytes of a send now, so that it can be held back while the program goes on.
    pub(crate) fn take_data(&mut self, regions: &Regions) -> Result<(), Status> {
        self.check_local(regions)?;
        let mut bytes = vec![0; self.len() as usize];
        // SAFETY: the vector has that many bytes, and the keys were just checked.
        unsafe { self.gather(bytes.as_mut_ptr()) };
        self.data = Data::Owned(bytes);
        Ok(())
    }
}

/// Pieces of local memory.
pub(crate) struct Ranges {
    list: [(*mut u8, usize); MAX_PIECES],
    count: usize,
}

impl Ranges {
    /// Returns the pieces, address and length.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, (*mut u8, usize)> {
        self.list.get(..self.count).unwrap_or_default().iter()
    }
}
