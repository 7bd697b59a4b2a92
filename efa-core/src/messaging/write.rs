//! Remote writes.

use bytemuck::Pod;

use super::segment;
use crate::endpoint::engine::backlog::Call;
use crate::endpoint::engine::slot::{Kind, OperationInfo, SlotId};
use crate::endpoint::{Endpoint, Op};
use crate::error::Result;
use crate::fabric::Provider;
use crate::ffi::RemotePlace;
use crate::memory::{Buf, Held, RemoteRegion};

impl Endpoint {
    /// Writes `buf` into a peer's region, `offset` bytes from its start. It is over when the bytes are in place there;
    /// the peer is not told. Writes are not ordered among each other nor with sends: let one complete before the next
    /// thing depends on it.
    pub fn write<B: Buf + Send + 'static>(&self, region: &RemoteRegion, offset: usize, buf: B) -> Op<B> {
        let mut buf = Held::new(buf);
        // SAFETY: `Op` keeps the buffer, or parks it, until the operation is over.
        let posted = unsafe { self.post_write(region, offset, buf.before(), None, None) };
        Op::new(self.shared.clone(), posted.into(), buf)
    }

    /// [`Endpoint::write`] that leaves an immediate at the peer when the bytes are in place: see
    /// [`Endpoint::immediate_data`].
    pub fn write_immediate<B: Buf + Send + 'static>(
        &self,
        region: &RemoteRegion,
        offset: usize,
        buf: B,
        immediate: u32,
    ) -> Op<B> {
        let mut buf = Held::new(buf);
        // SAFETY: as in `write`.
        let posted = unsafe { self.post_write(region, offset, buf.before(), Some(immediate), None) };
        Op::new(self.shared.clone(), posted.into(), buf)
    }

    /// Writes `data` into a peer's region and returns when it is in place.
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) when the region ends before that or is not open for writing;
    /// [`Error::Operation`](crate::Error::Operation) when its owner has closed it; else as
    /// [`Endpoint::send_blocking`].
    pub fn write_blocking<T: Pod>(&self, region: &RemoteRegion, offset: usize, data: &[T]) -> Result<()> {
        // SAFETY: the memory is borrowed until the wait is over, which it is only when the operation is.
        let posted = unsafe { self.post_write(region, offset, &data, None, None) };
        self.shared.finish(posted.into()).map(drop)
    }

    /// [`Endpoint::write_blocking`] that leaves an immediate at the peer.
    ///
    /// # Errors
    /// As [`Endpoint::write_blocking`].
    pub fn write_immediate_blocking<T: Pod>(
        &self,
        region: &RemoteRegion,
        offset: usize,
        data: &[T],
        immediate: u32,
    ) -> Result<()> {
        // SAFETY: as in `write_blocking`.
        let posted = unsafe { self.post_write(region, offset, &data, Some(immediate), None) };
        self.shared.finish(posted.into()).map(drop)
    }

    /// # Safety
    /// The buffer's memory stays valid and unchanged until the operation is over.
    pub(crate) unsafe fn post_write(
        &self,
        region: &RemoteRegion,
        offset: usize,
        buf: &impl Buf,
        immediate: Option<u32>,
        group: Option<SlotId>,
    ) -> Result<SlotId> {
        let bytes = buf.byte_len();
        region.check("write to", false, true)?;
        self.check_length("write", bytes)?;
        let (address, key) = region.locate("write", offset, bytes)?;
        let to = self.shared.address(region.rank())?;
        let info =
            OperationInfo { kind: Kind::Write, peer: Some(region.rank() as u32), tag: 0, bytes, group };
        let place = RemotePlace { address, key };
        if self.provider() == Provider::Efa && region.rank() == self.shared.me && immediate.is_some() {
            // libfabric's efa provider 2.1 refuses immediates to oneself: it has not shaken hands with itself.
            let mut core = self.shared.lock();
            let call = Call::Write { to, place, immediate: None };
            // SAFETY: passed on to the caller.
            let id =
                unsafe { self.shared.start_locked(&mut core, info, call, &mut [segment(&self.shared, buf)]) };
            core.slots.get(id).special().announce = immediate;
            return Ok(id);
        }
        let call = Call::Write { to, place, immediate };
        // SAFETY: passed on to the caller.
        Ok(unsafe { self.shared.start(info, call, &mut [segment(&self.shared, buf)]) })
    }
}
