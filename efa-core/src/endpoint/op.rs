//! An operation under way: [`Op`].

use std::fmt;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::driver::{Deadline, FirstFailure, Locked, Shared};
use super::engine::slot::{CancelReason, Outcome, SlotId, Stage, WakeUp};
use super::pending::{self, AnyBuffer, Handle, Pending};
use super::request::Operation;
use super::tag::Tag;
use crate::error::{Code, Error, Explanation, Result};
use crate::memory::Held;

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The rank at the other end: of a receive, the one that sent.
    pub peer: usize,
    /// The message's tag; zero for remote reads, writes and atomics.
    pub tag: Tag,
    /// How many bytes were moved: of a receive, the message's length, which may be less than the buffer's.
    pub bytes: usize,
}

/// The result of waiting for an operation: its completion and its buffer, or the error and the buffer.
///
/// In a function that returns [`Result`], `?` turns the error into an [`Error`] and drops the buffer.
pub type OpResult<B> = Result<(Completion, B), OpError<B>>;

/// The error of an operation that failed, and its buffer.
///
/// It converts into an [`Error`], so `op.wait()?` works in functions that return [`Result`].
pub struct OpError<B> {
    /// Why the operation failed.
    pub error: Error,
    /// The operation's buffer, which the device is done with. Of a failed receive or read, some bytes may be overwritten.
    pub buffer: B,
}

impl<B> OpError<B> {
    // Out of the way of a wait that succeeds.
    #[cold]
    pub(super) fn new(error: Error, buffer: B) -> Self {
        Self { error, buffer }
    }
}

impl<B> From<OpError<B>> for Error {
    fn from(failed: OpError<B>) -> Self {
        failed.error
    }
}

/// Shows the error as its own `Debug` does, without the buffer.
impl<B> fmt::Debug for OpError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl<B> fmt::Display for OpError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<B> std::error::Error for OpError<B> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// An operation under way, with the buffer that the device is using.
///
/// It is a [`Future`] that works under any executor, and can be waited for without one. Either way the buffer comes
/// back with the result, with success or not:
///
/// ```no_run
/// # fn example(endpoint: &efa_core::Endpoint) -> efa_core::Result<()> {
/// // Who needs no buffer:
/// endpoint.send(1, 7u32, vec![1.0f32; 1024]).wait()?;
/// // Who does:
/// let (completion, values) = endpoint.recv(1, 7u32, vec![0.0f32; 1024]).wait()?;
/// println!("rank {} sent {} bytes", completion.peer, completion.bytes);
/// // Who does even if the operation fails:
/// let values = match endpoint.send(1, 7u32, values).wait() {
///     Ok((_, values)) => values,
///     Err(failed) => failed.buffer,
/// };
/// # drop(values);
/// # Ok(())
/// # }
/// ```
///
/// Dropping it does not stop the operation: the buffer is kept until the device is done with it, and nobody learns how
/// it went. [`Pending`] has the ways to wait for several operations.
#[must_use = "an operation's buffer and result come back when it is waited for"]
pub struct Op<B: Send + 'static> {
    shared: Arc<Shared>,
    state: State,
    /// Present unless the state is `Taken`. An `Option` would say so once more, in each operation.
    buffer: ManuallyDrop<Held<B>>,
}

/// How far an operation has got.
pub(crate) enum State {
    /// The device has it, or will.
    Posted(SlotId),
    /// It is over; the result is still to be taken.
    Done(Completion),
    /// It failed, perhaps before it began. Boxed, since every state is moved and few are this.
    Failed(Box<Error>),
    Taken,
}

impl From<Result<SlotId>> for State {
    #[inline]
    fn from(posted: Result<SlotId>) -> Self {
        match posted {
            Ok(id) => Self::Posted(id),
            Err(error) => error.into(),
        }
    }
}

impl From<Error> for State {
    #[inline]
    fn from(error: Error) -> Self {
        Self::Failed(boxed(error))
    }
}

// Not the state itself, which would be returned through memory, and then be read from there when all is well, too.
#[cold]
fn boxed(error: Error) -> Box<Error> {
    Box::new(error)
}

impl<B: Send + 'static> Op<B> {
    #[inline]
    pub(crate) fn new(shared: Arc<Shared>, state: State, buffer: Held<B>) -> Self {
        Self { shared, state, buffer: ManuallyDrop::new(buffer) }
    }

    /// Waits until the operation is over, and returns its completion and its buffer. The endpoint's `timeout` bounds the
    /// wait.
    ///
    /// # Errors
    /// [`OpError`]: why the operation failed, and its buffer.
    ///
    /// # Panics
    /// If the operation's result has been taken, by polling the operation as a future.
    // Passing an operation to a function and its result back would take as long as taking the result does.
    #[inline(always)]
    pub fn wait(self) -> OpResult<B> {
        let (shared, state, buffer) = self.into_parts();
        let result = shared.finish(state);
        with_buffer(result, buffer)
    }

    /// Waits until the operation is over, but for a limited time. Returns whether it is over; then
    /// [`wait`](Self::wait) returns at once.
    pub fn wait_timeout(&self, at_most: Duration) -> bool {
        let deadline = Deadline(Instant::now().checked_add(at_most));
        pending::first_over(std::slice::from_ref(self), deadline).is_some()
    }

    /// Erases the type of the buffer, so that operations on buffers of different types can be kept in one list:
    /// see [`wait_any`](super::wait_any). Moves the buffer into an allocation of its own; [`AnyBuffer::downcast`]
    /// returns the buffer.
    ///
    /// # Panics
    /// If the operation's result has been taken, by polling the operation as a future.
    pub fn into_any(self) -> Op<AnyBuffer> {
        assert!(!matches!(self.state, State::Taken), "the result of the operation has been taken");
        let (shared, state, buffer) = self.into_parts();
        Op::new(shared, state, Held::new(AnyBuffer::new(ManuallyDrop::into_inner(buffer))))
    }

    /// Takes the handle apart. The buffer is absent if the state is `Taken`.
    #[inline(always)]
    fn into_parts(self) -> (Arc<Shared>, State, ManuallyDrop<Held<B>>) {
        let this = ManuallyDrop::new(self);
        // SAFETY: each field is moved out once, and `this` is neither used again nor dropped. A panic in a wait can't
        // drop the buffer under the device: it ends the process.
        unsafe { (ptr::read(&this.shared), ptr::read(&this.state), ptr::read(&this.buffer)) }
    }

    /// Returns whether the operation is over. Polls the device once.
    pub fn is_done(&self) -> bool {
        self.shared.is_done(&self.state)
    }

    /// Asks for the operation to be cancelled. Only a receive that no message has come for can be; for anything else this
    /// does nothing. Wait for the operation as usual: the result is [`Error::Cancelled`] or a completion.
    pub fn cancel(&self) {
        self.shared.ask_to_cancel(&self.state);
    }

    /// Takes the result, if it is there.
    fn take(&mut self) -> Option<Result<Completion>> {
        if let State::Posted(id) = self.state {
            let mut core = self.shared.lock();
            if !core.slots.get(id).is_over() {
                return None;
            }
            // Giving the lock back may run code of others.
            self.state = State::Taken;
            return Some(self.shared.take_result(core, id));
        }
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Taken => None,
            over => Some(self.shared.finish(over)),
        }
    }
}

/// Adds the buffer to the result of its operation, which is over. The result was still to be taken, so the buffer is
/// present.
#[inline(always)]
pub(super) fn with_buffer<B>(result: Result<Completion>, buffer: ManuallyDrop<Held<B>>) -> OpResult<B> {
    let buffer = ManuallyDrop::into_inner(buffer).into_inner();
    match result {
        Ok(completion) => Ok((completion, buffer)),
        Err(error) => Err(OpError::new(error, buffer)),
    }
}

impl<B: Send + 'static> Pending for Op<B> {}

#[expect(private_interfaces, reason = "as in `Handle`")]
impl<B: Send + 'static> Handle for Op<B> {
    fn handle(&self) -> (&Shared, &State) {
        (&self.shared, &self.state)
    }
}

impl Shared {
    /// Waits until an operation is over, and takes its result.
    #[inline(always)]
    pub(crate) fn finish(&self, state: State) -> Result<Completion> {
        match state {
            State::Posted(id) => {
                let (core, _) = self.wait_locked(self.lock(), id, Deadline::NONE);
                self.take_result(core, id)
            }
            State::Done(completion) => Ok(completion),
            State::Failed(error) => Err(self.noted(error)),
            State::Taken => panic!("the result of the operation has been taken"),
        }
    }

    /// Notes a failure, and returns it.
    #[cold]
    fn noted(&self, error: Box<Error>) -> Error {
        self.note_failure(&error);
        *error
    }

    /// Polls once, and tells whether the operation is over.
    pub(super) fn is_done(&self, state: &State) -> bool {
        let &State::Posted(id) = state else { return true };
        let mut core = self.lock();
        core.poll();
        core.slots.get(id).is_over()
    }

    /// Cancels an operation, if it is one that can be.
    pub(super) fn ask_to_cancel(&self, state: &State) {
        let &State::Posted(id) = state else { return };
        let mut core = self.lock();
        let record = core.slots.get(id);
        if !record.is_over() && record.request.operation.can_cancel() {
            core.cancel(id, CancelReason::Cancelled, self.clock.now());
        }
    }

    /// Leaves an operation to itself. `park` keeps the buffer of one that is not over until the device is done with it,
    /// itself or in the notice that it returns; the endpoint is locked meanwhile.
    #[cold]
    pub(super) fn leave<B>(&self, id: SlotId, buffer: B, park: impl FnOnce(B) -> WakeUp) {
        let mut core = self.lock();
        if core.slots.get(id).is_over() {
            core.abandon(id, WakeUp::None);
            // The buffer's drop is code of others: not under the lock.
            drop(core);
            drop(buffer);
        } else {
            core.abandon(id, park(buffer));
        }
    }

    /// Takes the result of an operation that is over, and releases its slot.
    #[inline(always)]
    pub(crate) fn take_result(&self, mut core: Locked<'_>, id: SlotId) -> Result<Completion> {
        let record = core.slots.get(id);
        let Some(&Outcome::Done { bytes, tag }) = record.outcome() else {
            return Err(self.take_failure(core, id));
        };
        let request = record.request;
        let completion = match request.operation {
            Operation::Receive { .. } | Operation::Probe { .. } => {
                let (peer, tag) = core.tags.unpack(tag);
                if peer >= self.peers.len() {
                    return Err(self.take_stranger(core, id, peer));
                }
                Completion { peer, tag, bytes }
            }
            _ => Completion {
                peer: request.peer.map_or(self.me, |rank| rank as usize),
                tag: request.tag,
                bytes: request.length,
            },
        };
        core.release(id);
        drop(core);
        Ok(completion)
    }

    /// Ends an operation that met a message of no rank of the job. Only a process outside the job can have sent it, over a
    /// provider that lets everybody connect.
    #[cold]
    fn take_stranger(&self, mut core: Locked<'_>, id: SlotId, rank: usize) -> Error {
        let request = core.slots.get(id).request;
        core.release(id);
        drop(core);
        let what = format!("the {} met a message of rank {rank}", self.describe(&request));
        let why =
            format!("the job has {} ranks: a process outside of it has sent the message", self.peers.len());
        let remedy = "let no other process reach the ports of the job, or use the built-in libfabric (feature vendored)";
        let error = Error::Operation {
            code: Code(libc::EBADMSG),
            provider_code: 0,
            text: Explanation::new(what, why, remedy),
        };
        self.note_failure(&error);
        error
    }

    #[cold]
    fn take_failure(&self, mut locked: Locked<'_>, id: SlotId) -> Error {
        let core = &mut *locked;
        let record = core.slots.get(id);
        let cancel_reason = record.cancel_reason.map(|(cancel_reason, _)| cancel_reason);
        // Moved out, as the error may be part of it. What is left in its place goes with the slot, right below.
        let Stage::Over(outcome) = std::mem::replace(&mut record.stage, Stage::Over(Outcome::Closed)) else {
            unreachable!("the operation is over")
        };
        let error =
            self.explain(&record.request, record.started, cancel_reason, outcome, core.closed.as_deref());
        core.release(id);
        drop(locked);
        self.note_failure(&error);
        error
    }

    /// Notes the first failure, which the other ranks are told of if this one gives up because of it.
    #[cold]
    pub(crate) fn note_failure(&self, error: &Error) {
        if matches!(error, Error::Cancelled(_)) {
            return;
        }
        self.first_failure.get_or_init(|| FirstFailure {
            text: error.to_string(),
            lost: match error {
                Error::PeerLost { peer, .. } => Some(peer.rank).filter(|&rank| rank != self.me),
                _ => None,
            },
        });
    }
}

impl<B: Send + 'static> Future for Op<B> {
    type Output = OpResult<B>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // `Op` is never pinned structurally: the device uses the buffer's memory, not the place of the handle.
        let this = &mut *self;
        if let State::Posted(id) = this.state {
            let mut core = this.shared.lock();
            if !core.slots.get(id).is_over() {
                core.poll();
            }
            if !core.slots.get(id).is_over() && !core.wakes(id, context.waker()) {
                // Cloning a waker runs code of others, which may use this very endpoint.
                drop(core);
                let waker = context.waker().clone();
                core = this.shared.lock();
                if core.slots.get(id).is_over() {
                    // Dropped without the lock, for the same reason.
                    drop(core);
                    drop(waker);
                    core = this.shared.lock();
                } else {
                    core.wake_when_over(id, waker);
                }
            }
            if !core.slots.get(id).is_over() {
                if !core.led {
                    this.shared.wake_progress();
                }
                return Poll::Pending;
            }
        }
        let result = this.take().expect("polled again after it was ready");
        // SAFETY: `take` gives the result once, and leaves the state at `Taken`; nothing uses the buffer after that.
        let buffer = unsafe { ptr::read(&this.buffer) };
        Poll::Ready(with_buffer(result, buffer))
    }
}

impl<B: Send + 'static> Unpin for Op<B> {}

impl<B: Send + 'static> Drop for Op<B> {
    #[inline]
    fn drop(&mut self) {
        match self.state {
            State::Posted(id) => self.leave(id),
            // SAFETY: it is present in these states, and not used after this.
            State::Done(_) | State::Failed(_) => unsafe { ManuallyDrop::drop(&mut self.buffer) },
            State::Taken => {}
        }
    }
}

impl<B: Send + 'static> Op<B> {
    #[cold]
    fn leave(&mut self, id: SlotId) {
        // SAFETY: it is present in the state `Posted`, and not used after this.
        let buffer = unsafe { ManuallyDrop::take(&mut self.buffer) };
        self.shared.leave(id, buffer, |buffer| WakeUp::Drop(Box::new(buffer)));
    }
}

impl<B: Send + 'static> fmt::Debug for Op<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Op").field("posted", &matches!(self.state, State::Posted(_))).finish_non_exhaustive()
    }
}
