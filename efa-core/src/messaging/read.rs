//! Remote reads.

use bytemuck::Pod;

use crate::endpoint::request::Incoming;
use crate::endpoint::{Endpoint, Op, Scope, ScopedOp};
use crate::error::Result;
use crate::ffi::RemotePlace;
use crate::memory::{BufMut, RemoteRegion};

impl Endpoint {
    /// Reads a peer's region into `buf`, from `offset` bytes after its start. The peer is not told.
    pub fn read<B: BufMut + Send + 'static>(&self, region: &RemoteRegion, offset: usize, buf: B) -> Op<B> {
        self.submit(read(region, offset, buf.byte_len()), buf)
    }

    /// Reads a peer's region into `data` and returns when it is there.
    ///
    /// # Errors
    /// As [`Endpoint::write_blocking`].
    pub fn read_blocking<T: Pod>(&self, region: &RemoteRegion, offset: usize, data: &mut [T]) -> Result<()> {
        self.submit_blocking(read(region, offset, size_of_val(data))?, data).map(drop)
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Reads a peer's region, as [`Endpoint::read`] does.
    pub fn read<B: BufMut + Send + 'env>(
        &'scope self,
        region: &RemoteRegion,
        offset: usize,
        buf: B,
    ) -> ScopedOp<'scope, 'env, B> {
        self.submit(read(region, offset, buf.byte_len()), buf)
    }
}

fn read(region: &RemoteRegion, offset: usize, length: usize) -> Result<Incoming> {
    region.check("read from", true, false)?;
    let (address, key) = region.locate("read", offset, length)?;
    Ok(Incoming::read(region.rank(), RemotePlace { address, key }, length))
}
