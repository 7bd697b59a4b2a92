//! Sending messages.

use bytemuck::Pod;

use super::check_segments;
use crate::endpoint::request::{Outgoing, Pieces};
use crate::endpoint::tag::Space;
use crate::endpoint::{Endpoint, Op, Scope, ScopedOp, Tag};
use crate::error::Result;
use crate::memory::Buf;

impl Endpoint {
    /// Sends `buf` to rank `to`, labelled `tag`. It is over when the buffer may be used again; whether the message has
    /// been received by then is the provider's business.
    ///
    /// ```no_run
    /// # fn example(endpoint: &efa_core::Endpoint) -> efa_core::Result<()> {
    /// let op = endpoint.send(1, 7u32, vec![1.0f32; 1024]);
    /// let (completion, buffer) = op.wait()?;
    /// assert_eq!((completion.bytes, buffer.len()), (4096, 1024));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Elements are plain data ([`bytemuck::Pod`]); pointers, for one, are not:
    ///
    /// ```compile_fail
    /// # fn example(endpoint: &efa_core::Endpoint) {
    /// let op = endpoint.send(1, 7u32, vec![String::new()]);
    /// # }
    /// ```
    pub fn send<B: Buf + Send + 'static>(&self, to: usize, tag: impl Into<Tag>, buf: B) -> Op<B> {
        self.submit(Ok(send(to, tag, buf.byte_len())), buf)
    }

    /// Sends `data` and returns when it may be used again.
    ///
    /// # Errors
    /// [`PeerLost`](crate::Error::PeerLost), [`Timeout`](crate::Error::Timeout),
    /// [`Operation`](crate::Error::Operation) or [`Closed`](crate::Error::Closed), and [`Misuse`](crate::Error::Misuse)
    /// for a rank outside the job or a message that is longer than the provider's longest.
    #[inline]
    pub fn send_blocking<T: Pod>(&self, to: usize, tag: impl Into<Tag>, data: &[T]) -> Result<()> {
        self.submit_blocking(send(to, tag, size_of_val(data)), data).map(drop)
    }

    /// Sends one message gathered from several pieces; at most [`Limits::send_segments`](crate::fabric::Limits).
    ///
    /// # Errors
    /// As [`Endpoint::send_blocking`]; [`Misuse`](crate::Error::Misuse) for more pieces than the provider takes.
    pub fn send_gathered<T: Pod>(&self, to: usize, tag: impl Into<Tag>, pieces: &[&[T]]) -> Result<()> {
        check_segments("send", pieces.len(), self.limits().send_segments)?;
        let length = pieces.iter().map(|piece| size_of_val(*piece)).sum();
        self.submit_blocking(send(to, tag, length), Pieces(pieces)).map(drop)
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Sends a message, as [`Endpoint::send`] does.
    pub fn send<B: Buf + Send + 'env>(
        &'scope self,
        to: usize,
        tag: impl Into<Tag>,
        buf: B,
    ) -> ScopedOp<'scope, 'env, B> {
        self.submit(Ok(send(to, tag, buf.byte_len())), buf)
    }
}

#[inline(always)]
fn send(to: usize, tag: impl Into<Tag>, length: usize) -> Outgoing {
    Outgoing::send(Space::User, to, tag.into(), length)
}
