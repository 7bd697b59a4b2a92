//! Where data goes that nobody looks at: [`Sink`].

use std::fmt;
use std::sync::Arc;

use super::{Buf, BufMut, RegisteredBuf, Registration};

/// A place for received data that is never read: for benchmarks, and for draining what is not wanted.
///
/// Its clones share one piece of memory, and each may be given to an operation of its own, even at the same time. What
/// ends up there is any mixture of what was received, so there is no way to look at it.
#[derive(Clone)]
pub struct Sink {
    memory: Arc<RegisteredBuf<u8>>,
    len: usize,
}

impl Sink {
    pub(crate) fn new(memory: RegisteredBuf<u8>) -> Self {
        Self { len: memory.len(), memory: Arc::new(memory) }
    }

    /// Takes only `len` bytes from now on, or as many as there are.
    pub fn with_len(mut self, len: usize) -> Self {
        self.len = len.min(self.memory.len());
        self
    }
}

// SAFETY: the mapping stays where it is while any clone lives.
unsafe impl Buf for Sink {
    fn as_ptr(&self) -> *const u8 {
        Buf::as_ptr(&*self.memory)
    }

    fn byte_len(&self) -> usize {
        self.len
    }

    fn registration(&self) -> Option<&Registration> {
        self.memory.registration()
    }
}

// SAFETY: as above. Clones share the bytes, but no reference to them is ever formed, so that only devices write there,
// and they may do so in any order.
unsafe impl BufMut for Sink {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        Buf::as_ptr(&*self.memory).cast_mut()
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("len", &self.len).finish()
    }
}
