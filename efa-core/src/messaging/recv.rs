//! Receiving messages.

use bytemuck::Pod;

use super::{check_segments, segment, segment_mut};
use crate::endpoint::engine::backlog::Call;
use crate::endpoint::engine::slot::{Kind, OperationInfo, SlotId};
use crate::endpoint::tag::Space;
use crate::endpoint::{Completion, Endpoint, Op, Source, State, TagMatch};
use crate::error::Result;
use crate::ffi::Segment;
use crate::memory::{BufMut, Held};

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
        self.recv_op(Space::User, from.into(), tag.into(), buf)
    }

    #[inline]
    pub(crate) fn recv_op<B: BufMut + Send + 'static>(
        &self,
        space: Space,
        from: Source,
        tag: TagMatch,
        buf: B,
    ) -> Op<B> {
        let mut buf = Held::new(buf);
        // SAFETY: `Op` keeps the buffer, or parks it, until the operation is over.
        let state = unsafe { self.post_recv(space, from, tag, buf.before(), None) };
        Op::new(self.shared.clone(), state, buf)
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
        mut data: &mut [T],
    ) -> Result<Completion> {
        self.recv_in(Space::User, from.into(), tag.into(), &mut data)
    }

    #[inline]
    pub(crate) fn recv_in(
        &self,
        space: Space,
        from: Source,
        tag: TagMatch,
        buf: &mut impl BufMut,
    ) -> Result<Completion> {
        let shared = &*self.shared;
        self.check_source(from)?;
        let bytes = buf.byte_len();
        let mut core = shared.lock();
        let (info, call) = self.receive_call(space, from, tag, bytes, None);
        // SAFETY: the memory is borrowed until the wait below is over, which it is only when the operation is.
        let id = unsafe { shared.start_locked(&mut core, info, call, &mut [segment_mut(shared, buf)]) };
        let (core, _) = shared.wait_locked(core, id, Default::default());
        shared.take_result(core, id)
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
        let from = from.into();
        check_segments("receive", pieces.len(), self.shared.limits.receive_segments)?;
        self.check_source(from)?;
        let shared = &*self.shared;
        let mut segments: [Segment; crate::ffi::MAX_SEGMENTS] = [segment(shared, &&[0u8; 0][..]); _];
        for (slot, piece) in segments.iter_mut().zip(pieces.iter_mut()) {
            *slot = segment_mut(shared, piece);
        }
        let segments = &mut segments[..pieces.len()];
        let bytes = segments.iter().map(|segment| segment.len).sum();
        let (info, call) = self.receive_call(Space::User, from, tag.into(), bytes, None);
        // SAFETY: as in `recv_in`.
        let id = unsafe { self.shared.start(info, call, segments) };
        self.shared.finish(State::Posted(id))
    }

    /// # Safety
    /// The buffer's memory stays valid and is used by nobody else until the operation is over.
    #[inline]
    pub(crate) unsafe fn post_recv(
        &self,
        space: Space,
        from: Source,
        tag: TagMatch,
        buf: &mut impl BufMut,
        group: Option<SlotId>,
    ) -> State {
        if let Err(error) = self.check_source(from) {
            return error.into();
        }
        let bytes = buf.byte_len();
        let mut core = self.shared.lock();
        let (info, call) = self.receive_call(space, from, tag, bytes, group);
        // SAFETY: passed on to the caller.
        let id =
            unsafe { self.shared.start_locked(&mut core, info, call, &mut [segment_mut(&self.shared, buf)]) };
        State::Posted(id)
    }

    /// Checks that messages can come from there.
    #[inline]
    pub(super) fn check_source(&self, from: Source) -> Result<()> {
        match from {
            Source::Rank(rank) => self.shared.address(rank).map(drop),
            Source::Any => Ok(()),
        }
    }

    // Infallible: a `Result` would hide from the compiler which call it is, and what depends on that would be decided at
    // run time.
    #[inline(always)]
    fn receive_call(
        &self,
        space: Space,
        from: Source,
        tag: TagMatch,
        bytes: usize,
        group: Option<SlotId>,
    ) -> (OperationInfo, Call) {
        let (fabric_tag, ignore) = self.shared.tags.pack_match(space, from, tag);
        let info =
            OperationInfo { kind: Kind::Receive, peer: from.rank(), tag: tag.tag().value(), bytes, group };
        (info, Call::Receive { tag: fabric_tag, ignore })
    }
}
