//! Memory that other ranks may read and write: [`Region`] here, [`RemoteRegion`] there.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use super::{Buf, RegisteredBuf, Registration};
use crate::error::{Error, Result};
use crate::ffi::AccessFlags;

/// What the other ranks may do with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Remote reads.
    Read,
    /// Remote writes.
    Write,
    /// Remote reads, writes and atomics.
    ReadWrite,
}

impl Access {
    pub(super) fn flags(self) -> AccessFlags {
        match self {
            Self::Read => AccessFlags::REMOTE_READ,
            Self::Write => AccessFlags::REMOTE_WRITE,
            Self::ReadWrite => AccessFlags::REMOTE_READ | AccessFlags::REMOTE_WRITE,
        }
    }

    /// Whether remote reads are among it.
    pub fn allows_read(self) -> bool {
        self != Self::Write
    }

    /// Whether remote writes are among it.
    pub fn allows_write(self) -> bool {
        self != Self::Read
    }
}

/// Memory of this rank that other ranks can reach for as long as the region lives.
///
/// A peer may write at any time, so there is no way to a `&[T]` here: elements are copied in and out. A copy that
/// overlaps a peer's write may see part of it; wait for an immediate or a message that says the write is done.
///
/// It can be moved to another thread, but not shared between threads: their copies would race with each other.
///
/// ```compile_fail
/// fn shared(region: &efa_core::memory::Region<u64>) -> impl Sync {
///     region
/// }
/// ```
///
/// Closing or dropping it shuts the other ranks out, but a write that was on its way may still arrive. So its memory is
/// not freed before the endpoint is closed: keep regions and use them again rather than open new ones all the time.
pub struct Region<T: Pod> {
    /// Both are there until the region is dropped.
    inner: Option<(Registration, RegisteredBuf<T>)>,
    access: Access,
    /// Copying needs no `&mut`, so it must not happen from two threads at a time.
    not_sync: PhantomData<Cell<()>>,
}

impl<T: Pod> Region<T> {
    pub(super) fn new(window: Registration, buffer: RegisteredBuf<T>, access: Access) -> Self {
        Self { inner: Some((window, buffer)), access, not_sync: PhantomData }
    }

    fn buffer(&self) -> &RegisteredBuf<T> {
        &self.inner.as_ref().expect("there until the region is dropped").1
    }

    fn window(&self) -> &Registration {
        &self.inner.as_ref().expect("there until the region is dropped").0
    }

    /// What the other ranks need in order to reach this region. Send it to them.
    pub fn remote(&self) -> RemoteRegion {
        let registered = self.window().registered();
        RemoteRegion {
            rank: self.buffer().rank() as u32,
            access: self.access,
            base: if registered.uses_virtual_addresses() { Buf::as_ptr(self.buffer()) as u64 } else { 0 },
            key: registered.key(),
            bytes: self.buffer().byte_len() as u64,
        }
    }

    /// How many elements the region has.
    pub fn len(&self) -> usize {
        self.buffer().len()
    }

    /// Whether the region has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `into.len()` elements out, from element `start` on.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the region ends before that.
    pub fn copy_out(&self, start: usize, into: &mut [T]) -> Result<()> {
        let range = self.check(start, into.len())?;
        // SAFETY: the range is within the buffer and `into` is other memory. A device may be writing meanwhile; no
        // reference to the region's memory exists, and every bit pattern that comes of it is a valid `Pod`.
        unsafe {
            let source = Buf::as_ptr(self.buffer()).cast::<T>().add(range.start);
            std::ptr::copy_nonoverlapping(source, into.as_mut_ptr(), into.len());
        }
        Ok(())
    }

    /// Copies `from` in, from element `start` on.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the region ends before that.
    pub fn copy_in(&self, start: usize, from: &[T]) -> Result<()> {
        let range = self.check(start, from.len())?;
        // SAFETY: as in `copy_out`. The pages were mapped writable, and we form no reference to them.
        unsafe {
            let target = Buf::as_ptr(self.buffer()).cast::<T>().cast_mut().add(range.start);
            std::ptr::copy_nonoverlapping(from.as_ptr(), target, from.len());
        }
        Ok(())
    }

    /// Copies all elements out.
    pub fn to_vec(&self) -> Vec<T> {
        let mut all = vec![T::zeroed(); self.len()];
        self.copy_out(0, &mut all).expect("the whole is within the region");
        all
    }

    /// Shuts the other ranks out. Dropping the region does the same.
    pub fn close(self) {
        drop(self);
    }

    fn check(&self, start: usize, count: usize) -> Result<Range<usize>> {
        match start.checked_add(count) {
            Some(end) if end <= self.len() => Ok(start..end),
            _ => Err(Error::misuse(
                format!("cannot copy {count} elements at element {start}"),
                format!("the region has {} elements", self.len()),
                "copy less, or expose a larger buffer",
            )),
        }
    }
}

impl<T: Pod> Drop for Region<T> {
    fn drop(&mut self) {
        if let Some((window, buffer)) = self.inner.take() {
            drop(window);
            buffer.retire();
        }
    }
}

impl<T: Pod> fmt::Debug for Region<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.len()).field("access", &self.access).finish()
    }
}

/// Where a region of another rank is: plain data, to be sent to whoever shall use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRegion {
    rank: u32,
    access: Access,
    base: u64,
    key: u64,
    bytes: u64,
}

impl RemoteRegion {
    /// How many bytes [`RemoteRegion::to_bytes`] makes.
    pub const WIRE_SIZE: usize = 32;

    /// The rank whose memory it is.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// The region's size in bytes.
    pub fn byte_len(&self) -> usize {
        self.bytes as usize
    }

    /// What may be done with it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The region as bytes, to be sent in a message: little-endian, of fixed size.
    pub fn to_bytes(&self) -> [u8; Self::WIRE_SIZE] {
        let mut wire = [0; Self::WIRE_SIZE];
        wire[0..4].copy_from_slice(&self.rank.to_le_bytes());
        wire[4] = self.access.allows_read() as u8 | (self.access.allows_write() as u8) << 1;
        wire[8..16].copy_from_slice(&self.base.to_le_bytes());
        wire[16..24].copy_from_slice(&self.key.to_le_bytes());
        wire[24..32].copy_from_slice(&self.bytes.to_le_bytes());
        wire
    }

    /// What [`RemoteRegion::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Setting`] when the bytes are not from there.
    pub fn from_bytes(wire: &[u8]) -> Result<Self> {
        let bad = |why: String| {
            Error::setting("cannot read a remote region", why, "send it with RemoteRegion::to_bytes")
        };
        let wire: &[u8; Self::WIRE_SIZE] = wire
            .try_into()
            .map_err(|_| bad(format!("it has {} bytes, not {}", wire.len(), Self::WIRE_SIZE)))?;
        let word = |at: usize| u64::from_le_bytes(wire[at..at + 8].try_into().expect("eight bytes"));
        let access = match (wire[4], &wire[5..8]) {
            (1, [0, 0, 0]) => Access::Read,
            (2, [0, 0, 0]) => Access::Write,
            (3, [0, 0, 0]) => Access::ReadWrite,
            (other, _) => return Err(bad(format!("its access is {other}"))),
        };
        let region = Self {
            rank: u32::from_le_bytes(wire[0..4].try_into().expect("four bytes")),
            access,
            base: word(8),
            key: word(16),
            bytes: word(24),
        };
        match region.base.checked_add(region.bytes) {
            Some(_) => Ok(region),
            None => Err(bad("it goes past the end of the address space".into())),
        }
    }

    /// The fabric address and key of `count` bytes at `offset`.
    pub(crate) fn locate(&self, verb: &str, offset: usize, count: usize) -> Result<(u64, u64)> {
        match (offset as u64).checked_add(count as u64) {
            Some(end) if end <= self.bytes => Ok((self.base + offset as u64, self.key)),
            _ => Err(Error::misuse(
                format!("cannot {verb} {count} bytes at offset {offset} of a region of rank {}", self.rank),
                format!("the region has {} bytes", self.bytes),
                "stay within the region, or let its owner expose a larger one",
            )),
        }
    }

    /// Checks that the region may be used in this way.
    pub(crate) fn check(&self, verb: &str, read: bool, write: bool) -> Result<()> {
        if (read && !self.access.allows_read()) || (write && !self.access.allows_write()) {
            return Err(Error::misuse(
                format!("cannot {verb} a region of rank {}", self.rank),
                format!("its owner opened it for {:?} only", self.access),
                "let its owner expose it with more access",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: RemoteRegion =
        RemoteRegion { rank: 3, access: Access::Write, base: 0x1000, key: u64::MAX - 1, bytes: 64 };

    #[test]
    fn a_region_survives_the_wire_and_damage_is_noticed() {
        let wire = REGION.to_bytes();
        assert_eq!(RemoteRegion::from_bytes(&wire).unwrap(), REGION);
        assert!(RemoteRegion::from_bytes(&wire[1..]).is_err());
        let mut damaged = wire;
        damaged[4] = 9;
        assert!(RemoteRegion::from_bytes(&damaged).is_err());
        let endless = RemoteRegion { bytes: u64::MAX, ..REGION };
        assert!(RemoteRegion::from_bytes(&endless.to_bytes()).is_err());
    }

    #[test]
    fn an_access_outside_the_region_or_its_rights_is_refused_here() {
        assert_eq!(REGION.locate("write", 60, 4).unwrap(), (0x103c, u64::MAX - 1));
        assert!(REGION.locate("write", 60, 5).is_err());
        assert!(REGION.locate("write", usize::MAX, 5).is_err());
        assert!(REGION.check("read", true, false).is_err());
        assert!(REGION.check("write", false, true).is_ok());
    }
}
