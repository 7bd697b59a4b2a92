//! Remote writes.

use bytemuck::Pod;

use crate::endpoint::request::Outgoing;
use crate::endpoint::{Endpoint, Op, Scope, ScopedOp};
use crate::error::Result;
use crate::ffi::RemotePlace;
use crate::memory::{Buf, RemoteRegion};

impl Endpoint {
    /// Writes `buf` into a peer's region, `offset` bytes from its start. It is over when the bytes are in place there;
    /// the peer is not told. Writes are not ordered among each other nor with sends: let one complete before the next
    /// thing depends on it.
    pub fn write<B: Buf + Send + 'static>(&self, region: &RemoteRegion, offset: usize, buf: B) -> Op<B> {
        self.submit(write(region, offset, buf.byte_len(), None), buf)
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
        self.submit(write(region, offset, buf.byte_len(), Some(immediate)), buf)
    }

    /// Writes `data` into a peer's region and returns when it is in place.
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) when the region ends before that or is not open for writing;
    /// [`Error::Operation`](crate::Error::Operation) when its owner has closed it; else as
    /// [`Endpoint::send_blocking`].
    pub fn write_blocking<T: Pod>(&self, region: &RemoteRegion, offset: usize, data: &[T]) -> Result<()> {
        self.submit_blocking(write(region, offset, size_of_val(data), None)?, data).map(drop)
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
        self.submit_blocking(write(region, offset, size_of_val(data), Some(immediate))?, data).map(drop)
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Writes to a peer's region, as [`Endpoint::write`] does.
    pub fn write<B: Buf + Send + 'env>(
        &'scope self,
        region: &RemoteRegion,
        offset: usize,
        buf: B,
    ) -> ScopedOp<'scope, 'env, B> {
        self.submit(write(region, offset, buf.byte_len(), None), buf)
    }
}

fn write(region: &RemoteRegion, offset: usize, length: usize, immediate: Option<u32>) -> Result<Outgoing> {
    region.check("write to", false, true)?;
    let (address, key) = region.locate("write", offset, length)?;
    Ok(Outgoing::write(region.rank(), RemotePlace { address, key }, immediate, length))
}
