//! Posting operations on an endpoint.

use std::ffi::c_void;
use std::ptr;

use efa_sys as sys;

use super::EndpointHandle;
use crate::error::Code;

/// What became of an attempt to post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// The provider has it.
    Yes,
    /// No room now, or no connection yet: poll and try again.
    Again,
    /// It was refused.
    Failed(Code),
}

impl Posted {
    #[inline]
    fn from(returned: isize) -> Self {
        const AGAIN: isize = -(sys::FI_EAGAIN as isize);
        match returned {
            0 => Self::Yes,
            AGAIN => Self::Again,
            other => Self::Failed(Code(other.unsigned_abs() as i32)),
        }
    }
}

/// A piece of local memory with the provider's descriptor of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub start: *mut u8,
    pub len: usize,
    pub descriptor: *mut c_void,
}

/// A place in a peer's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemotePlace {
    pub address: u64,
    pub key: u64,
}

/// The atomic operations we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicCall {
    FetchAdd,
    Swap,
    CompareSwap,
}

impl AtomicCall {
    fn op(self) -> sys::fi_op {
        match self {
            Self::FetchAdd => sys::FI_SUM,
            Self::Swap => sys::FI_ATOMIC_WRITE,
            Self::CompareSwap => sys::FI_CSWAP,
        }
    }
}

/// The integers that atomics work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicWidth {
    U32,
    U64,
}

impl AtomicWidth {
    fn datatype(self) -> sys::fi_datatype {
        match self {
            Self::U32 => sys::FI_UINT32,
            Self::U64 => sys::FI_UINT64,
        }
    }
}

/// The most pieces that a message is ever gathered from.
pub(crate) const MAX_SEGMENTS: usize = 8;

/// The system's and the provider's halves of a list of segments.
fn split(segments: &[Segment]) -> ([libc::iovec; MAX_SEGMENTS], [*mut c_void; MAX_SEGMENTS]) {
    let mut pieces = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; MAX_SEGMENTS];
    let mut descriptors = [ptr::null_mut(); MAX_SEGMENTS];
    for (index, segment) in segments.iter().enumerate() {
        pieces[index] = libc::iovec { iov_base: segment.start.cast(), iov_len: segment.len };
        descriptors[index] = segment.descriptor;
    }
    (pieces, descriptors)
}

/// For all of these: the segments' memory and the context stay valid, and the memory is not used otherwise than the
/// operation allows, until the completion with this context has been read or the endpoint is closed.
impl EndpointHandle {
    /// Sends a message and forgets it: the bytes have been copied when this returns, and no completion comes.
    ///
    /// # Safety
    /// `len` bytes from `start` can be read, and are no more than the provider injects.
    #[inline]
    pub(crate) unsafe fn inject(&mut self, to: u64, tag: u64, start: *const u8, len: usize) -> Posted {
        // SAFETY: the endpoint is open and was opened with FI_TAGGED; the caller vouches for the memory.
        Posted::from(unsafe { sys::fi_tinject(self.as_ptr(), start.cast(), len, to, tag) })
    }

    /// Sends a message.
    ///
    /// # Safety
    /// See above.
    #[inline]
    pub(crate) unsafe fn send(
        &mut self,
        to: u64,
        tag: u64,
        from: &[Segment],
        context: *mut c_void,
    ) -> Posted {
        if let [one] = from {
            // SAFETY: as in `inject`, and see above.
            return Posted::from(unsafe {
                sys::fi_tsend(self.as_ptr(), one.start.cast(), one.len, one.descriptor, to, tag, context)
            });
        }
        let (pieces, mut descriptors) = split(from);
        // SAFETY: as above.
        Posted::from(unsafe {
            let descriptors = descriptors.as_mut_ptr();
            sys::fi_tsendv(self.as_ptr(), pieces.as_ptr(), descriptors, from.len(), to, tag, context)
        })
    }

    /// [`EndpointHandle::send`] with remote data.
    ///
    /// # Safety
    /// See above.
    pub(crate) unsafe fn send_with(
        &mut self,
        to: u64,
        tag: u64,
        data: u64,
        from: &[Segment],
        context: *mut c_void,
    ) -> Posted {
        let (pieces, mut descriptors) = split(from);
        let message = sys::fi_msg_tagged {
            msg_iov: pieces.as_ptr(),
            desc: descriptors.as_mut_ptr(),
            iov_count: from.len(),
            addr: to,
            tag,
            ignore: 0,
            context,
            data,
        };
        // SAFETY: as above.
        Posted::from(unsafe {
            sys::fi_tsendmsg(self.as_ptr(), &message, sys::FI_COMPLETION | sys::FI_REMOTE_CQ_DATA)
        })
    }

    /// Posts memory for a message whose tag agrees with `tag` outside `ignore`.
    ///
    /// # Safety
    /// See above.
    #[inline]
    pub(crate) unsafe fn receive(
        &mut self,
        tag: u64,
        ignore: u64,
        into: &[Segment],
        context: *mut c_void,
    ) -> Posted {
        let any = super::ADDRESS_UNSPECIFIED;
        if let [one] = into {
            // SAFETY: as in `send`.
            return Posted::from(unsafe {
                sys::fi_trecv(
                    self.as_ptr(),
                    one.start.cast(),
                    one.len,
                    one.descriptor,
                    any,
                    tag,
                    ignore,
                    context,
                )
            });
        }
        let (pieces, mut descriptors) = split(into);
        // SAFETY: as above.
        Posted::from(unsafe {
            let descriptors = descriptors.as_mut_ptr();
            sys::fi_trecvv(self.as_ptr(), pieces.as_ptr(), descriptors, into.len(), any, tag, ignore, context)
        })
    }

    /// Asks whether a message is there, without receiving it.
    ///
    /// # Safety
    /// The context stays valid as above.
    pub(crate) unsafe fn peek(&mut self, tag: u64, ignore: u64, context: *mut c_void) -> Posted {
        let message = sys::fi_msg_tagged {
            msg_iov: ptr::null(),
            desc: ptr::null_mut(),
            iov_count: 0,
            addr: super::ADDRESS_UNSPECIFIED,
            tag,
            ignore,
            context,
            data: 0,
        };
        // SAFETY: a peek touches no memory but the context.
        Posted::from(unsafe { sys::fi_trecvmsg(self.as_ptr(), &message, sys::FI_PEEK | sys::FI_COMPLETION) })
    }

    /// Throws a message away that came before it was asked for, if there is one; the completion tells.
    ///
    /// # Safety
    /// The context stays valid until its completion has been read.
    #[cold]
    pub(crate) unsafe fn discard_one(&mut self, context: *mut c_void) -> Posted {
        let message = sys::fi_msg_tagged {
            msg_iov: ptr::null(),
            desc: ptr::null_mut(),
            iov_count: 0,
            addr: super::ADDRESS_UNSPECIFIED,
            tag: 0,
            ignore: u64::MAX,
            context,
            data: 0,
        };
        let flags = sys::FI_PEEK | sys::FI_DISCARD | sys::FI_COMPLETION;
        // SAFETY: passed on to the caller.
        Posted::from(unsafe { sys::fi_trecvmsg(self.as_ptr(), &message, flags) })
    }

    /// Writes to a peer's memory. It completes when the bytes are in place there.
    ///
    /// # Safety
    /// See above.
    pub(crate) unsafe fn write(
        &mut self,
        to: u64,
        place: RemotePlace,
        from: &[Segment],
        immediate: Option<u32>,
        context: *mut c_void,
    ) -> Posted {
        let flags = sys::FI_COMPLETION | sys::FI_DELIVERY_COMPLETE;
        let flags = if immediate.is_some() { flags | sys::FI_REMOTE_CQ_DATA } else { flags };
        // SAFETY: passed on to the caller.
        unsafe {
            with_remote_message(to, place, from, immediate, context, |message| {
                sys::fi_writemsg(self.as_ptr(), message, flags)
            })
        }
    }

    /// Reads a peer's memory.
    ///
    /// # Safety
    /// See above.
    pub(crate) unsafe fn read(
        &mut self,
        from: u64,
        place: RemotePlace,
        into: &[Segment],
        context: *mut c_void,
    ) -> Posted {
        // SAFETY: passed on to the caller.
        unsafe {
            with_remote_message(from, place, into, None, context, |message| {
                sys::fi_readmsg(self.as_ptr(), message, sys::FI_COMPLETION)
            })
        }
    }

    /// Changes a number in a peer's memory and brings back what it was.
    ///
    /// # Safety
    /// See above, for all three numbers. The endpoint was opened with FI_ATOMIC.
    #[expect(clippy::too_many_arguments)]
    pub(crate) unsafe fn atomic(
        &mut self,
        call: AtomicCall,
        width: AtomicWidth,
        at: u64,
        place: RemotePlace,
        operand: *const c_void,
        compare: *const c_void,
        result: *mut c_void,
        context: *mut c_void,
    ) -> Posted {
        let (op, datatype) = (call.op(), width.datatype());
        let none = ptr::null_mut();
        // SAFETY: the numbers are of the width that the datatype says; passed on to the caller.
        Posted::from(unsafe {
            if call == AtomicCall::CompareSwap {
                sys::fi_compare_atomic(
                    self.as_ptr(),
                    operand,
                    1,
                    none,
                    compare,
                    none,
                    result,
                    none,
                    at,
                    place.address,
                    place.key,
                    datatype,
                    op,
                    context,
                )
            } else {
                sys::fi_fetch_atomic(
                    self.as_ptr(),
                    operand,
                    1,
                    none,
                    result,
                    none,
                    at,
                    place.address,
                    place.key,
                    datatype,
                    op,
                    context,
                )
            }
        })
    }

    /// Whether the provider can do this atomic operation.
    pub(crate) fn can_do_atomic(&self, call: AtomicCall, width: AtomicWidth) -> bool {
        let mut count = 0;
        // SAFETY: the endpoint is open; a provider without atomics has no table, which the call checks.
        let returned = unsafe {
            if call == AtomicCall::CompareSwap {
                sys::fi_compare_atomicvalid(self.as_ptr(), width.datatype(), call.op(), &mut count)
            } else {
                sys::fi_fetch_atomicvalid(self.as_ptr(), width.datatype(), call.op(), &mut count)
            }
        };
        returned == 0 && count > 0
    }
}

/// Builds the message of a remote read or write and hands it to `post`.
///
/// # Safety
/// See `EndpointHandle`'s operations.
unsafe fn with_remote_message(
    peer: u64,
    place: RemotePlace,
    local: &[Segment],
    immediate: Option<u32>,
    context: *mut c_void,
    post: impl FnOnce(*const sys::fi_msg_rma) -> isize,
) -> Posted {
    let (pieces, mut descriptors) = split(local);
    let len = local.iter().map(|segment| segment.len).sum();
    let remote = sys::fi_rma_iov { addr: place.address, len, key: place.key };
    let message = sys::fi_msg_rma {
        msg_iov: pieces.as_ptr(),
        desc: descriptors.as_mut_ptr(),
        iov_count: local.len(),
        addr: peer,
        rma_iov: &remote,
        rma_iov_count: 1,
        context,
        data: immediate.unwrap_or_default().into(),
    };
    Posted::from(post(&message))
}
