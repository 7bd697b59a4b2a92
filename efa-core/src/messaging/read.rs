//! Remote reads.

use bytemuck::Pod;

use super::segment_mut;
use crate::endpoint::engine::backlog::Call;
use crate::endpoint::engine::slot::{Kind, OperationInfo, SlotId};
use crate::endpoint::{Endpoint, Op};
use crate::error::Result;
use crate::ffi::RemotePlace;
use crate::memory::{BufMut, Held, RemoteRegion};

impl Endpoint {
    /// Reads a peer's region into `buf`, from `offset` bytes after its start. The peer is not told.
    pub fn read<B: BufMut + Send + 'static>(&self, region: &RemoteRegion, offset: usize, buf: B) -> Op<B> {
        let mut buf = Held::new(buf);
        // SAFETY: `Op` keeps the buffer, or parks it, until the operation is over.
        let posted = unsafe { self.post_read(region, offset, buf.before(), None) };
        Op::new(self.shared.clone(), posted.into(), buf)
    }

    /// Reads a peer's region into `data` and returns when it is there.
    ///
    /// # Errors
    /// As [`Endpoint::write_blocking`].
    pub fn read_blocking<T: Pod>(
        &self,
        region: &RemoteRegion,
        offset: usize,
        mut data: &mut [T],
    ) -> Result<()> {
        // SAFETY: the memory is borrowed until the wait is over, which it is only when the operation is.
        let posted = unsafe { self.post_read(region, offset, &mut data, None) };
        self.shared.finish(posted.into()).map(drop)
    }

    /// # Safety
    /// The buffer's memory stays valid and is used by nobody else until the operation is over.
    pub(crate) unsafe fn post_read(
        &self,
        region: &RemoteRegion,
        offset: usize,
        buf: &mut impl BufMut,
        group: Option<SlotId>,
    ) -> Result<SlotId> {
        let bytes = buf.byte_len();
        region.check("read from", true, false)?;
        self.check_length("read", bytes)?;
        let (address, key) = region.locate("read", offset, bytes)?;
        let from = self.shared.address(region.rank())?;
        let info = OperationInfo { kind: Kind::Read, peer: Some(region.rank() as u32), tag: 0, bytes, group };
        let call = Call::Read { from, place: RemotePlace { address, key } };
        // SAFETY: passed on to the caller.
        Ok(unsafe { self.shared.start(info, call, &mut [segment_mut(&self.shared, buf)]) })
    }
}
