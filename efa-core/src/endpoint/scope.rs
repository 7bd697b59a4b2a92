//! Overlapping operations on borrowed memory: [`Scope`].

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Endpoint;
use super::driver::{Deadline, Shared};
use super::engine::slot::{SlotId, WakeUp};
use super::op::{OpResult, State, with_buffer};
use super::pending::{self, Handle, Pending};
use super::request::{Description, Use};
use crate::error::Result;
use crate::memory::Held;

/// Lets operations borrow memory: all of them are over when the scope is left, whichever way.
///
/// Made by [`Endpoint::scope`].
pub struct Scope<'scope, 'env: 'scope> {
    endpoint: &'env Endpoint,
    group: SlotId,
    /// Buffers of operations whose handle was dropped before they were over; they go when the scope is left.
    parked: Mutex<Vec<Box<dyn Parked + 'env>>>,
    // Invariant, as in `std::thread::Scope`: neither lifetime may be stretched or shrunk by the caller.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl Endpoint {
    /// Runs `body`, in which operations may borrow memory from outside, and then waits for all of them.
    ///
    /// If `body` panics, the operations that can be cancelled are cancelled: receives that no message has come for, and
    /// whatever still waits for room in the provider. The panic goes on when the others are over.
    ///
    /// ```no_run
    /// # fn example(endpoint: &efa_core::Endpoint) -> efa_core::Result<()> {
    /// let mine = [1.0f32; 1024];
    /// let mut theirs = [0.0f32; 1024];
    /// endpoint.scope(|scope| {
    ///     let receive = scope.recv(1, 7u32, &mut theirs[..]);
    ///     scope.send(1, 7u32, &mine[..]).wait()?;
    ///     let (completion, theirs) = receive.wait()?;
    ///     println!("{} bytes, the first value is {}", completion.bytes, theirs[0]);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// What was borrowed can't escape:
    ///
    /// ```compile_fail
    /// # fn example(endpoint: &efa_core::Endpoint) {
    /// let escaped = endpoint.scope(|scope| {
    ///     let mut local = [0u8; 64];
    ///     scope.recv(0, 7u32, &mut local[..])
    /// });
    /// # }
    /// ```
    pub fn scope<'env, R>(&'env self, body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R) -> R {
        let shared = &self.shared;
        let group = shared.lock().open_group(shared.clock.now());
        let scope = Scope {
            endpoint: self,
            group,
            parked: Mutex::new(Vec::new()),
            scope: PhantomData,
            env: PhantomData,
        };
        // Waits even when `body` panics: the memory is borrowed until the device is done with it. Dropped before
        // `scope`, which holds the rest of the memory.
        let mut seal = Seal { shared, group, is_unwinding: true };
        let result = body(&scope);
        seal.is_unwinding = false;
        result
    }
}

/// A buffer of any type that is only to be dropped some time.
trait Parked: Send {}

impl<B: Send> Parked for B {}

struct Seal<'a> {
    shared: &'a Shared,
    group: SlotId,
    /// `body` panicked.
    is_unwinding: bool,
}

impl Drop for Seal<'_> {
    fn drop(&mut self) {
        let mut core = self.shared.lock();
        if self.is_unwinding {
            // A receive whose message never comes would keep the panic back until its time is over.
            core.cancel_group(self.group, self.shared.clock.now());
        }
        core.seal_group(self.group);
        let (mut core, over) = self.shared.wait_locked(core, self.group, Deadline::NONE);
        debug_assert!(over);
        core.release(self.group);
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Starts an operation whose buffer may be borrowed from outside of the scope.
    #[inline]
    pub(crate) fn submit<M: Use<B>, B: Send + 'env>(
        &'scope self,
        description: Result<Description<M>>,
        buffer: B,
    ) -> ScopedOp<'scope, 'env, B> {
        let mut buffer = Held::new(buffer);
        // SAFETY: the scope outlasts the operation, `'env` outlasts the scope, and `ScopedOp` keeps the buffer or
        // parks it in the scope.
        let submitted = unsafe { self.endpoint.post_with(description, buffer.before(), Some(self.group)) };
        ScopedOp { scope: self, state: submitted.into(), buffer: ManuallyDrop::new(buffer) }
    }

    fn shared(&self) -> &Shared {
        &self.endpoint.shared
    }

    fn park(&self, buffer: Box<dyn Parked + 'env>) {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// An operation on borrowed memory. Dropped without waiting, it goes on until the scope is left.
#[must_use = "the result tells whether the operation went well"]
pub struct ScopedOp<'scope, 'env: 'scope, B: Send + 'env> {
    scope: &'scope Scope<'scope, 'env>,
    state: State,
    /// Present until it is given back or this is dropped.
    buffer: ManuallyDrop<Held<B>>,
}

impl<'scope, 'env, B: Send + 'env> ScopedOp<'scope, 'env, B> {
    /// Waits until the operation is over, and returns its completion and its buffer.
    ///
    /// # Errors
    /// [`OpError`](super::OpError): why the operation failed, and its buffer.
    #[inline]
    pub fn wait(self) -> OpResult<B> {
        let (scope, state, buffer) = self.into_parts();
        let result = scope.shared().finish(state);
        with_buffer(result, buffer)
    }

    /// Waits until the operation is over, but for a limited time. Returns whether it is over; then
    /// [`wait`](Self::wait) returns at once.
    pub fn wait_timeout(&self, at_most: Duration) -> bool {
        let deadline = Deadline(Instant::now().checked_add(at_most));
        pending::first_over(std::slice::from_ref(self), deadline).is_some()
    }

    /// Leaves the buffer to the scope, so that operations on buffers of different types can be kept in one list: see
    /// [`wait_any`](super::wait_any). Borrowed memory may be used again when the scope is left. An owned buffer is
    /// dropped then; keeping it takes an allocation.
    pub fn without_buffer(self) -> ScopedOp<'scope, 'env, ()> {
        let (scope, state, buffer) = self.into_parts();
        if std::mem::needs_drop::<B>() {
            scope.park(Box::new(ManuallyDrop::into_inner(buffer)));
        }
        ScopedOp { scope, state, buffer: ManuallyDrop::new(Held::new(())) }
    }

    /// Takes the handle apart.
    #[inline]
    fn into_parts(self) -> (&'scope Scope<'scope, 'env>, State, ManuallyDrop<Held<B>>) {
        let this = ManuallyDrop::new(self);
        // SAFETY: as in `Op::into_parts`.
        unsafe { (this.scope, ptr::read(&this.state), ptr::read(&this.buffer)) }
    }

    /// Returns whether the operation is over. Polls the device once.
    pub fn is_done(&self) -> bool {
        self.scope.shared().is_done(&self.state)
    }

    /// Asks for the operation to be cancelled, as [`Op::cancel`](super::Op::cancel) does.
    pub fn cancel(&self) {
        self.scope.shared().ask_to_cancel(&self.state);
    }
}

impl<'env, B: Send + 'env> Pending for ScopedOp<'_, 'env, B> {}

#[expect(private_interfaces, reason = "as in `Handle`")]
impl<'env, B: Send + 'env> Handle for ScopedOp<'_, 'env, B> {
    fn handle(&self) -> (&Shared, &State) {
        (self.scope.shared(), &self.state)
    }
}

impl<'env, B: Send + 'env> Drop for ScopedOp<'_, 'env, B> {
    #[inline]
    fn drop(&mut self) {
        match self.state {
            State::Posted(id) => self.leave(id),
            // SAFETY: it has not been given back, and is not used after this.
            _ => unsafe { ManuallyDrop::drop(&mut self.buffer) },
        }
    }
}

impl<'env, B: Send + 'env> ScopedOp<'_, 'env, B> {
    #[cold]
    fn leave(&mut self, id: SlotId) {
        // SAFETY: it has not been given back, and is not used after this.
        let buffer = unsafe { ManuallyDrop::take(&mut self.buffer) };
        self.scope.shared().leave(id, buffer, |buffer| {
            // What is borrowed stays valid by itself; what is owned must not be dropped under the device.
            if std::mem::needs_drop::<B>() {
                self.scope.park(Box::new(buffer));
            }
            WakeUp::None
        });
    }
}
