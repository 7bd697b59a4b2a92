//! How an operation begins: the one door that every verb and every collective goes through.
//!
//! There are four ways in, by who keeps the memory while the device uses it. Owned ([`Endpoint::submit`]): the [`Op`] keeps
//! the buffer. Borrowed and blocking ([`Endpoint::submit_blocking`]): the call returns when the device is done. Scoped
//! (`Scope::submit`): the scope does. Tracked (`BorrowTracker::submit`): the tracker knows which parts are in use. All of
//! them end in [`Endpoint::post`]. Operations without memory of the program have functions of their own.

use std::ptr;

use super::Endpoint;
use super::driver::{Deadline, Locked, Shared};
use super::engine::Engine;
use super::engine::slot::{CallMemory, Operands, Outcome, SlotId};
use super::op::{Completion, Op, State};
use super::request::{Bufferless, Description, Operation, Request, Use};
use crate::error::{Code, Error, Result};
use crate::ffi::{AccessFlags, AtomicCall, AtomicWidth, Posted, Segment};
use crate::memory::{self, Held};

/// What became of a request.
pub(super) enum Submitted<'a> {
    /// The operation is in this slot. The engine is still locked.
    Posted(Locked<'a>, SlotId),
    /// It is over already.
    Done(Completion),
    /// It could not begin.
    Failed(Box<Error>),
}

impl From<Submitted<'_>> for State {
    #[inline(always)]
    fn from(submitted: Submitted<'_>) -> Self {
        match submitted {
            Submitted::Posted(_, id) => Self::Posted(id),
            Submitted::Done(completion) => Self::Done(completion),
            Submitted::Failed(error) => Self::Failed(error),
        }
    }
}

impl From<Error> for Submitted<'_> {
    #[cold]
    fn from(error: Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl Endpoint {
    /// Starts an operation that owns its buffer. A description that is an error becomes an operation that has failed.
    #[inline(always)]
    pub(crate) fn submit<M: Use<B>, B: Send + 'static>(
        &self,
        description: Result<Description<M>>,
        buffer: B,
    ) -> Op<B> {
        let mut buffer = Held::new(buffer);
        // SAFETY: `Op` keeps the buffer, or parks it, until the operation is over.
        let state = unsafe { self.post_with(description, buffer.before(), None) }.into();
        Op::new(self.shared.clone(), state, buffer)
    }

    /// Starts an operation on borrowed memory, and waits until it is over.
    #[inline(always)]
    pub(crate) fn submit_blocking<M: Use<B>, B>(
        &self,
        description: Description<M>,
        mut memory: B,
    ) -> Result<Completion> {
        // SAFETY: `memory` lives until the wait below is over, which it is only when the operation is.
        match unsafe { self.post_with(Ok(description), &mut memory, None) } {
            Submitted::Posted(engine, id) => {
                let (engine, _) = self.shared.wait_locked(engine, id, Deadline::NONE);
                self.shared.take_result(engine, id)
            }
            Submitted::Done(completion) => Ok(completion),
            Submitted::Failed(error) => self.shared.finish(State::Failed(error)),
        }
    }

    /// Changes an integer in a peer's memory, and returns what was there.
    pub(crate) fn submit_atomic(&self, description: Bufferless, operand: u64, compare: u64) -> Result<u64> {
        let shared = &*self.shared;
        let request = self.request(description, None).map_err(|error| *error)?;
        let mut engine = shared.lock();
        let id = engine.slots.take(request, shared.clock.now());
        engine.slots.set_operands(id, Operands { operand, compare, result: 0 });
        // SAFETY: the operands are in the slot, which is not released before the operation is over.
        unsafe { engine.start(id, request, &[]) };
        let (mut engine, _) = shared.wait_locked(engine, id, Deadline::NONE);
        let result = engine.slots.read_operands(id).result;
        shared.take_result(engine, id)?;
        Ok(result)
    }

    /// Returns `true` if the provider has the atomic operation.
    pub(crate) fn can_do_atomic(&self, call: AtomicCall, width: AtomicWidth) -> bool {
        let engine = self.shared.lock();
        // A closed endpoint has a better error to give.
        self.shared.limits.atomics
            && engine.endpoint().is_none_or(|endpoint| endpoint.can_do_atomic(call, width))
    }

    /// Asks whether a message is there, without waiting for one.
    pub(crate) fn submit_probe(&self, description: Bufferless) -> Result<Option<Completion>> {
        let request = self.request(description, None).map_err(|error| *error)?;
        let mut engine = self.shared.lock();
        // What has come in over the wire is seen only after a poll.
        engine.poll();
        match engine.probe(request, self.shared.clock.now()) {
            Some(id) => self.shared.take_result(engine, id).map(Some),
            None => Ok(None),
        }
    }

    /// Starts an operation on memory of whatever kind, as a member of a group if there is one.
    ///
    /// # Safety
    /// As [`Endpoint::post`], for the memory that `memory` stands for.
    #[inline(always)]
    pub(super) unsafe fn post_with<M: Use<B>, B>(
        &self,
        description: Result<Description<M>>,
        memory: &mut B,
        group: Option<SlotId>,
    ) -> Submitted<'_> {
        let description = match description {
            Ok(description) => description,
            Err(error) => return error.into(),
        };
        let request = match self.request(description, group) {
            Ok(request) => request,
            Err(error) => return Submitted::Failed(error),
        };
        let mut segments = M::segments(memory, self.shared.identity());
        // SAFETY: passed on to the caller.
        unsafe { self.post(request, segments.as_mut()) }
    }

    /// Starts an operation. A short message is copied at once, where the provider has room for it, and is over then.
    ///
    /// # Safety
    /// The segments' memory is what the request's operation may read, or write, and stays valid and is not used otherwise
    /// until the operation is over.
    #[inline(always)]
    pub(super) unsafe fn post(&self, request: Request, memory: &mut [Segment]) -> Submitted<'_> {
        let shared = &*self.shared;
        if !request.operation.is_receive() && request.length > shared.limits.max_message_size {
            return self.too_long(request.operation.name(), request.length).into();
        }
        let mut engine = shared.lock();
        if let (Operation::Send { .. }, [one]) = (request.operation, &*memory)
            && shared.quirks.injects(one.len)
        {
            // SAFETY: the bytes are copied before the call returns.
            if unsafe { engine.inject(request, one.start, one.len) } == Posted::Yes {
                let peer = request.peer.map_or(shared.me, |rank| rank as usize);
                return Submitted::Done(Completion { peer, tag: request.tag, bytes: one.len });
            }
        }
        // SAFETY: passed on to the caller.
        let id = unsafe { self.begin(&mut engine, request, memory) };
        Submitted::Posted(engine, id)
    }

    /// Starts an operation in a slot, where it is noted how the operation ends, even at once.
    ///
    /// # Safety
    /// As [`Endpoint::post`].
    #[inline(always)]
    unsafe fn begin(&self, engine: &mut Engine, request: Request, memory: &mut [Segment]) -> SlotId {
        let shared = &*self.shared;
        let id = engine.slots.take(request, shared.clock.now());
        if let Some(group) = request.group {
            engine.join_group(group);
        }
        if shared.limits.local_registration {
            // SAFETY: passed on to the caller.
            if let Err(error) = unsafe { register(shared, engine, id, memory) } {
                engine.finish(id, Outcome::Unregistered(Box::new(error)));
                return id;
            }
        }
        // SAFETY: passed on to the caller.
        unsafe { engine.start(id, request, memory) };
        id
    }

    /// Returns the request of a description, if its peer is a rank of the job.
    #[inline(always)]
    pub(super) fn request<M>(
        &self,
        description: Description<M>,
        group: Option<SlotId>,
    ) -> Result<Request, Box<Error>> {
        match description.request(self.shared.peers.len(), group) {
            Ok(request) => Ok(request),
            Err(rank) => Err(self.no_such_rank(rank)),
        }
    }

    // Boxed, since every request is moved and few are an error.
    #[cold]
    fn no_such_rank(&self, rank: usize) -> Box<Error> {
        Box::new(Error::misuse(
            format!("cannot reach rank {rank}"),
            format!("the job has {} ranks, numbered from 0", self.shared.peers.len()),
            "use a rank of the job",
        ))
    }

    #[cold]
    fn too_long(&self, name: &str, length: usize) -> Error {
        Error::misuse(
            format!("cannot start a {name} of {length} bytes"),
            format!("the provider's longest message has {}", self.shared.limits.max_message_size),
            "do it in parts",
        )
    }
}

/// Registers what is not registered for the time of one operation.
// Looks the request up in the slot: a request whose address is taken would be written to memory by all, and read again.
///
/// # Safety
/// As [`Endpoint::post`].
#[cold]
unsafe fn register(shared: &Shared, engine: &mut Engine, id: SlotId, memory: &mut [Segment]) -> Result<()> {
    let Request { operation, length, .. } = engine.slots.get(id).request;
    if let (true, [one]) = (operation.is_send(), &*memory)
        && one.len <= shared.limits.inject_size
    {
        // efa copies it, or has the device take it out of ordinary memory: registering would cost more than both.
        return Ok(());
    }
    if operation.is_send() && length >= shared.quirks.unread_from {
        memory.iter_mut().for_each(|segment| segment.descriptor = ptr::null_mut());
        return Ok(());
    }
    for segment in memory.iter_mut().filter(|segment| segment.descriptor.is_null()) {
        let mut len = segment.len;
        if len == 0 {
            if !operation.is_remote() {
                continue;
            }
            // efa looks at the descriptor of a remote read of nothing, too. What nobody uses is the slot's own.
            segment.start = engine.slots.operands(id).cast();
            len = 1;
        }
        // SAFETY: the caller keeps the memory until the outcome is there, and the slot ends the registration
        // when it is released, which is after that.
        let registered = unsafe { register_or_copy(shared, segment, len, operation.local_access())? };
        segment.descriptor = registered.registered.descriptor();
        engine.slots.get(id).special().registered.push(registered);
    }
    Ok(())
}

/// Registers a segment, or a copy of it where the device can't reach the memory itself.
///
/// A device that may write to whatever is registered refuses memory that the program can only read, such as a mapped
/// file or a constant: efa registers all memory so, whatever it was asked for (`efa_mr_reg_impl`).
///
/// # Safety
/// The memory stays allocated until the registration has ended.
unsafe fn register_or_copy(
    shared: &Shared,
    segment: &mut Segment,
    len: usize,
    access: AccessFlags,
) -> Result<CallMemory> {
    // SAFETY: passed on to the caller.
    let refused = match unsafe { shared.domain.register(segment.start, len, access, shared.keys.next()) } {
        Ok(registered) => return Ok(CallMemory { registered, copy: None }),
        Err(error) => error,
    };
    let is_read_only = matches!(refused, Error::Fabric { code: Code(libc::EFAULT), .. });
    if !is_read_only || access != AccessFlags::LOCAL_READ {
        return Err(refused);
    }
    // SAFETY: the caller vouches for the memory, and the device would only have read it.
    let Some(mut copy) = (unsafe { memory::copy_of(segment.start, len) }) else { return Err(refused) };
    // SAFETY: the copy is dropped after its registration.
    let registered = unsafe { shared.domain.register(copy.as_mut_ptr(), len, access, shared.keys.next())? };
    segment.start = copy.as_mut_ptr();
    Ok(CallMemory { registered, copy: Some(copy) })
}
