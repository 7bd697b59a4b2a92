//! Receiving messages.

use bytemuck::Pod;

use super::check_segments;
use crate::endpoint::request::{Incoming, PiecesMut};
use crate::endpoint::tag::Space;
use crate::endpoint::{Completion, Endpoint, Op, Scope, ScopedOp, Source, TagMatch};
use crate::error::Result;
use crate::memory::BufMut;

impl Endpoint {
    /// Receives a message into `buf`: one that comes from `from`, a rank or [`Source::Any`], and whose tag agrees with
    /// `tag`. Messages of one sender with one tag are received in the order in which they were sent.
    ///
    /// The result tells who sent it, with which tag, and how long it is. A message that is longer than the buffer is
    /// [`Error::Truncated`](crate::Error::Truncated).
    #[inline]
    pub fn recv<B: BufMut + Send + 'static>(
        &self,
        from: impl Into<Source>,
        tag: impl Into<TagMatch>,
        buf: B,
    ) -> Op<B> {
        self.submit(Ok(receive(from, tag, buf.byte_len())), buf)
    }

    /// Receives a message into `data` and returns when it is there.
    ///
    /// # Errors
    /// As [`Endpoint::send_blocking`]; [`Error::Truncated`](crate::Error::Truncated) when the message is longer than
    /// `data`.
    #[inline]
    pub fn recv_blocking<T: Pod>(
        &self,
        from: impl Into<Source>,
        tag: impl Into<TagMatch>,
        data: &mut [T],
    ) -> Result<Completion> {
        self.submit_blocking(receive(from, tag, size_of_val(data)), data)
    }

    /// Receives one message scattered over several pieces; at most
    /// [`Limits::receive_segments`](crate::fabric::Limits). They are filled one after the other.
    ///
    /// # Errors
    /// As [`Endpoint::recv_blocking`]; [`Error::Misuse`](crate::Error::Misuse) for more pieces than the provider takes.
    pub fn recv_scattered<T: Pod>(
        &self,
        from: impl Into<Source>,
        tag: impl Into<TagMatch>,
        pieces: &mut [&mut [T]],
    ) -> Result<Completion> {
        check_segments("receive", pieces.len(), self.limits().receive_segments)?;
        let length = pieces.iter().map(|piece| size_of_val(*piece)).sum();
        self.submit_blocking(receive(from, tag, length), PiecesMut(pieces))
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Receives a message, as [`Endpoint::recv`] does.
    pub fn recv<B: BufMut + Send + 'env>(
        &'scope self,
        from: impl Into<Source>,
        tag: impl Into<TagMatch>,
        buf: B,
    ) -> ScopedOp<'scope, 'env, B> {
        self.submit(Ok(receive(from, tag, buf.byte_len())), buf)
    }
}

#[inline(always)]
fn receive(from: impl Into<Source>, tag: impl Into<TagMatch>, length: usize) -> Incoming {
    Incoming::receive(Space::User, from.into(), tag.into(), length)
}
