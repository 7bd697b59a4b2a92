//! Sending messages.

use bytemuck::Pod;

use super::{check_segments, segment};
use crate::endpoint::driver::Locked;
use crate::endpoint::engine::backlog::Call;
use crate::endpoint::engine::slot::{Kind, OperationInfo, SlotId};
use crate::endpoint::tag::Space;
use crate::endpoint::{Completion, Endpoint, Op, State, Tag};
use crate::error::{Error, Result};
use crate::ffi::{Posted, Segment};
use crate::memory::{Buf, Held};

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
        self.send_op(Space::User, to, tag.into(), buf)
    }

    pub(crate) fn send_op<B: Buf + Send + 'static>(
        &self,
        space: Space,
        to: usize,
        tag: Tag,
        buf: B,
    ) -> Op<B> {
        let mut buf = Held::new(buf);
        // SAFETY: `Op` keeps the buffer, or parks it, until the operation is over.
        let state = unsafe { self.post_send(space, to, tag, buf.before(), None) };
        Op::new(self.shared.clone(), state, buf)
    }

    /// Sends `data` and returns when it may be used again.
    ///
    /// # Errors
    /// [`Error::PeerLost`], [`Error::Timeout`], [`Error::Operation`] or [`Error::Closed`], and [`Error::Misuse`] for a
    /// rank outside the job or a message that is longer than the provider's longest.
    #[inline]
    pub fn send_blocking<T: Pod>(&self, to: usize, tag: impl Into<Tag>, data: &[T]) -> Result<()> {
        self.send_in(Space::User, to, tag.into(), &data)
    }

    #[inline]
    pub(crate) fn send_in(&self, space: Space, to: usize, tag: Tag, buf: &impl Buf) -> Result<()> {
        // SAFETY: the memory is borrowed until the wait is over, which it is only when the operation is.
        let state = unsafe { self.post_send(space, to, tag, buf, None) };
        self.shared.finish(state).map(drop)
    }

    /// Sends one message gathered from several pieces; at most [`Limits::send_segments`](crate::fabric::Limits).
    ///
    /// # Errors
    /// As [`Endpoint::send_blocking`]; [`Error::Misuse`] for more pieces than the provider takes.
    pub fn send_gathered<T: Pod>(&self, to: usize, tag: impl Into<Tag>, pieces: &[&[T]]) -> Result<()> {
        let (shared, tag) = (&*self.shared, tag.into());
        check_segments("send", pieces.len(), shared.limits.send_segments)?;
        let address = shared.address(to)?;
        let mut segments: [Segment; crate::ffi::MAX_SEGMENTS] = [segment(shared, &pieces[0]); _];
        for (slot, piece) in segments.iter_mut().zip(pieces) {
            *slot = segment(shared, piece);
        }
        let segments = &mut segments[..pieces.len()];
        let bytes = segments.iter().map(|segment| segment.len).sum();
        self.check_length("send", bytes)?;
        let info =
            OperationInfo { kind: Kind::Send, peer: Some(to as u32), tag: tag.value(), bytes, group: None };
        let call = Call::Send { to: address, tag: shared.tags.pack(Space::User, tag) };
        // SAFETY: as in `send_in`.
        let id = unsafe { shared.start(info, call, segments) };
        shared.finish(State::Posted(id)).map(drop)
    }

    /// Sends a message. A short one is copied at once, where the provider has room for it, and is over then.
    ///
    /// # Safety
    /// The buffer's memory stays valid and unchanged until the operation is over.
    #[inline]
    pub(crate) unsafe fn post_send(
        &self,
        space: Space,
        to: usize,
        tag: Tag,
        buf: &impl Buf,
        group: Option<SlotId>,
    ) -> State {
        let shared = &*self.shared;
        let address = match shared.address(to) {
            Ok(address) => address,
            Err(error) => return error.into(),
        };
        let bytes = buf.byte_len();
        let fabric_tag = shared.tags.pack(space, tag);
        let info = OperationInfo { kind: Kind::Send, peer: Some(to as u32), tag: tag.value(), bytes, group };
        if !shared.limits.injects(bytes) {
            if let Err(error) = self.check_length("send", bytes) {
                return error.into();
            }
            let call = Call::Send { to: address, tag: fabric_tag };
            // SAFETY: passed on to the caller.
            return State::Posted(unsafe { shared.start(info, call, &mut [segment(shared, buf)]) });
        }
        let mut core = shared.lock();
        // SAFETY: the bytes are copied before the call returns.
        if unsafe { core.inject(to, address, fabric_tag, buf.as_ptr(), bytes) } == Posted::Yes {
            return State::Done(Completion { peer: to, tag, bytes });
        }
        // SAFETY: passed on to the caller.
        unsafe {
            self.inject_later(core, info, Call::Inject { to: address, tag: fabric_tag }, segment(shared, buf))
        }
    }

    /// # Safety
    /// As [`Endpoint::post_send`].
    #[cold]
    unsafe fn inject_later(
        &self,
        mut core: Locked<'_>,
        info: OperationInfo,
        call: Call,
        segment: Segment,
    ) -> State {
        // SAFETY: passed on to the caller.
        State::Posted(unsafe { self.shared.start_locked(&mut core, info, call, &mut [segment]) })
    }

    #[inline]
    pub(super) fn check_length(&self, verb: &str, bytes: usize) -> Result<()> {
        let longest = self.shared.limits.max_message_size;
        if bytes <= longest {
            return Ok(());
        }
        Err(Error::misuse(
            format!("cannot {verb} {bytes} bytes at once"),
            format!("the provider's longest message has {longest}"),
            "do it in parts",
        ))
    }
}
