//! Memory of this rank that other ranks may read and write: [`Region`].

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use super::{Buf, RegisteredBuf, Registration, RemoteRegion, copy};
use crate::error::{Error, Result};
use crate::ffi::AccessFlags;

/// What the other ranks may do with a region.
///
/// The rank that reads or writes checks this before it asks its device, and tcp and shared memory check it once more at
/// the region's owner. libfabric's efa provider registers all memory for remote reads, and for remote writes where the
/// device can: there nothing but the checks of this library keeps a rank that knows the region's key from doing the other.
/// The same goes for memory that is only registered, not exposed, whose key nobody is told.
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
        let base = if registered.uses_virtual_addresses() { Buf::as_ptr(self.buffer()) as u64 } else { 0 };
        let bytes = self.buffer().byte_len() as u64;
        RemoteRegion::of_ours(self.buffer().rank() as u32, self.access, base, registered.key(), bytes)
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
            copy::from_shared(source.cast(), into.as_mut_ptr().cast(), size_of_val(into));
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
            copy::to_shared(from.as_ptr().cast(), target.cast(), size_of_val(from));
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
            buffer.retire(window, self.access);
        }
    }
}

impl<T: Pod> fmt::Debug for Region<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.len()).field("access", &self.access).finish()
    }
}
