//! Reading a completion queue.

use std::ffi::{c_int, c_void};

use efa_sys as sys;

use super::{CompletionQueue, text};
use crate::error::Code;

/// How many completions are read at a time.
const BATCH: usize = 16;

/// A completion as the provider wrote it.
#[derive(Clone, Copy)]
pub(crate) struct Entry(sys::fi_cq_tagged_entry);

impl Entry {
    /// The context that the operation was posted with; null for what a peer did to us.
    #[inline]
    pub(crate) fn context(&self) -> *mut c_void {
        self.0.op_context
    }

    /// The immediate that a peer's write carried, when this tells of one. libfabric 2.1's shm does not say that it was a
    /// write, but what is not the completion of a receive is one.
    #[inline]
    pub(crate) fn immediate(&self) -> Option<u64> {
        const EITHER: u64 = sys::FI_REMOTE_CQ_DATA | sys::FI_RECV;
        (self.0.flags & EITHER == sys::FI_REMOTE_CQ_DATA).then_some(self.0.data)
    }

    /// Whether the operation of a peer brought remote data: an immediate or a number.
    #[inline]
    pub(crate) fn has_data(&self) -> bool {
        self.0.flags & sys::FI_REMOTE_CQ_DATA != 0
    }

    /// The remote data of a received message, when it brought some.
    pub(crate) fn number(&self) -> Option<u64> {
        number(self.0.flags, self.0.data)
    }

    /// The length of a received message.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len
    }

    /// The tag of a received message.
    #[inline]
    pub(crate) fn tag(&self) -> u64 {
        self.0.tag
    }
}

fn number(flags: u64, data: u64) -> Option<u64> {
    const MESSAGE: u64 = sys::FI_REMOTE_CQ_DATA | sys::FI_RECV;
    (flags & MESSAGE == MESSAGE).then_some(data)
}

/// Room for a few completions, kept from one poll to the next.
pub(crate) struct Batch([sys::fi_cq_tagged_entry; BATCH]);

impl Batch {
    pub(crate) fn new() -> Self {
        // SAFETY: all-zero is a valid value: integers and null pointers.
        Self(unsafe { std::mem::zeroed() })
    }

    #[inline]
    pub(crate) fn entry(&self, index: usize) -> Entry {
        Entry(self.0[index])
    }
}

/// What a poll of the queue found.
pub(crate) enum Polled {
    /// So many completions.
    Some(usize),
    /// None.
    Nothing,
    /// An operation failed: read the error.
    ErrorIsNext,
    /// The queue itself is broken.
    Broken(Code),
}

/// A failed operation, as the queue reports it.
#[derive(Debug)]
pub(crate) struct CompletionError {
    pub context: *mut c_void,
    pub code: Code,
    /// The provider's own number; meaningless on some.
    pub provider_code: i32,
    /// What the provider tells beside: with a null context on tcp, the fabric address of a peer that was lost.
    pub data: u64,
    /// The tag and the remote data of the message that a receive met, if it met one that brought some.
    pub tag: u64,
    pub number: Option<u64>,
    /// The provider's words for it.
    pub text: String,
}

impl CompletionError {
    /// An operation that was not posted.
    pub(crate) fn posting(code: Code) -> Self {
        let text = super::describe(code);
        Self { context: std::ptr::null_mut(), code, provider_code: 0, data: 0, tag: 0, number: None, text }
    }
}

impl CompletionQueue {
    /// Reads what has completed, and makes the provider progress.
    #[inline]
    pub(crate) fn read(&self, batch: &mut Batch) -> Polled {
        // SAFETY: the queue is open, was opened for this format, and the batch has room for `BATCH` entries.
        let returned = unsafe { sys::fi_cq_read(self.as_ptr(), batch.0.as_mut_ptr().cast(), BATCH) };
        if returned > 0 {
            Polled::Some(returned as usize)
        } else if returned == -(sys::FI_EAGAIN as isize) || returned == 0 {
            Polled::Nothing
        } else if returned == -(sys::FI_EAVAIL as isize) {
            Polled::ErrorIsNext
        } else {
            Polled::Broken(Code(returned.unsigned_abs() as i32))
        }
    }

    /// Reads the error that is next, if there still is one.
    #[cold]
    pub(crate) fn read_error(&self) -> Option<CompletionError> {
        // SAFETY: zeros are valid; `err_data_size` is an input and zero asks for no data.
        let mut entry: sys::fi_cq_err_entry = unsafe { std::mem::zeroed() };
        // SAFETY: the queue is open and the entry is ours.
        let returned = unsafe { sys::fi_cq_readerr(self.as_ptr(), &mut entry, 0) };
        if returned <= 0 {
            return None;
        }
        // SAFETY: the arguments are what `fi_cq_readerr` filled in; the text is copied before the next call.
        let text = unsafe {
            let (code, data): (c_int, *const c_void) = (entry.prov_errno, entry.err_data);
            text(sys::fi_cq_strerror(self.as_ptr(), code, data, std::ptr::null_mut(), 0))
        };
        Some(CompletionError {
            context: entry.op_context,
            code: Code(entry.err.saturating_abs()),
            provider_code: entry.prov_errno,
            data: entry.data,
            tag: entry.tag,
            number: number(entry.flags, entry.data),
            text,
        })
    }
}
