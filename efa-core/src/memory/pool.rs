//! Equal buffers from one registered block: [`BufferPool`].

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Buf, BufMut, RegisteredBuf, Registration};
use crate::error::{Error, Result};

/// Buffers start on their own cache lines.
const ALIGNMENT: usize = 64;

/// A set of equal buffers, registered once, that are taken and come back when dropped. No allocation, no
/// registration and no system call after it is made.
#[derive(Clone)]
pub struct BufferPool {
    inner: Arc<Inner>,
}

struct Inner {
    block: RegisteredBuf<u8>,
    size: usize,
    stride: usize,
    count: usize,
    free: Mutex<Vec<usize>>,
}

impl BufferPool {
    pub(crate) fn new(
        size: usize,
        count: usize,
        allocate: impl FnOnce(usize) -> Result<RegisteredBuf<u8>>,
    ) -> Result<Self> {
        let too_large = || {
            Error::misuse(
                format!("cannot make a pool of {count} buffers of {size} bytes"),
                "that is more than an address space holds",
                "make a smaller pool",
            )
        };
        let stride = size.max(1).checked_next_multiple_of(ALIGNMENT).ok_or_else(too_large)?;
        let bytes = stride.checked_mul(count).ok_or_else(too_large)?;
        let mut free = Vec::new();
        free.try_reserve_exact(count).map_err(|_| too_large())?;
        let block = allocate(bytes)?;
        free.extend((0..count).rev());
        Ok(Self { inner: Arc::new(Inner { block, size, stride, count, free: Mutex::new(free) }) })
    }

    /// Takes a buffer, or none when all are out. Its contents are what the last user left.
    pub fn take(&self) -> Option<PooledBuf> {
        let index = self.inner.free().pop()?;
        Some(PooledBuf { pool: self.inner.clone(), index, len: self.inner.size })
    }

    /// How many buffers there are in all.
    pub fn count(&self) -> usize {
        self.inner.count
    }

    /// How many buffers can be taken now.
    pub fn available(&self) -> usize {
        self.inner.free().len()
    }
}

impl Inner {
    fn free(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        // Pushing and popping an index can't leave the list half changed.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("size", &self.inner.size)
            .field("count", &self.inner.count)
            .field("available", &self.available())
            .finish()
    }
}

/// A buffer on loan from a [`BufferPool`].
pub struct PooledBuf {
    pool: Arc<Inner>,
    index: usize,
    len: usize,
}

impl PooledBuf {
    /// Uses only the first `len` bytes of the buffer from now on.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the pool's buffers are smaller.
    pub fn set_len(&mut self, len: usize) -> Result<()> {
        if len > self.pool.size {
            return Err(Error::misuse(
                format!("cannot use {len} bytes of a pooled buffer"),
                format!("the pool's buffers have {} bytes", self.pool.size),
                "make the pool with larger buffers",
            ));
        }
        self.len = len;
        Ok(())
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: the index is below the count, so the offset is within the block.
        unsafe { self.pool.block.as_ptr().cast_mut().add(self.index * self.pool.stride) }
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        self.pool.free().push(self.index);
    }
}

impl Deref for PooledBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: this part of the block is ours alone until we are dropped, and is initialised.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes it exclusive. The pool forms no reference to the whole block.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl fmt::Debug for PooledBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuf").field("len", &self.len).finish()
    }
}

// SAFETY: the block stays where it is while any buffer of it lives.
unsafe impl Buf for PooledBuf {
    fn as_ptr(&self) -> *const u8 {
        self.start()
    }

    fn byte_len(&self) -> usize {
        self.len
    }

    fn registration(&self) -> Option<&Registration> {
        self.pool.block.registration()
    }
}

// SAFETY: as above; this part of the block is ours alone.
unsafe impl BufMut for PooledBuf {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start()
    }
}
