//! Overlapping operations on borrowed memory: [`Scope`].

use std::marker::PhantomData;

use super::op::Completion;
use super::shared::{Deadline, Shared};
use super::slot::{Notice, SlotId};
use super::tag::Space;
use super::{Endpoint, Source, Tag, TagMatch};
use crate::error::Result;
use crate::memory::{Buf, BufMut, RemoteRegion};

/// Lets operations borrow memory: all of them are over when the scope is left, whichever way.
///
/// Made by [`Endpoint::scope`].
pub struct Scope<'scope, 'env: 'scope> {
    pub(crate) endpoint: &'env Endpoint,
    group: SlotId,
    // Invariant, as in `std::thread::Scope`: neither lifetime may be stretched or shrunk by the caller.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl Endpoint {
    /// Runs `body`, in which operations may borrow memory from outside, and then waits for all of them.
    ///
    /// ```no_run
    /// # fn example(endpoint: &efa_core::Endpoint) -> efa_core::Result<()> {
    /// let mine = [1.0f32; 1024];
    /// let mut theirs = [0.0f32; 1024];
    /// endpoint.scope(|scope| {
    ///     let receive = scope.recv(1, 7u32, &mut theirs[..]);
    ///     scope.send(1, 7u32, &mine[..]).wait().0?;
    ///     receive.wait().0
    /// })?;
    /// # Ok(())
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
        // Waits even when `body` panics: the memory is borrowed until the device is done with it.
        let _seal = Seal { shared, group };
        body(&Scope { endpoint: self, group, scope: PhantomData, env: PhantomData })
    }
}

struct Seal<'a> {
    shared: &'a Shared,
    group: SlotId,
}

impl Drop for Seal<'_> {
    fn drop(&mut self) {
        let mut core = self.shared.lock();
        core.leave_group(self.group);
        let (mut core, over) = self.shared.wait_locked(core, self.group, Deadline::NONE);
        debug_assert!(over);
        core.slots.release(self.group);
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Sends a message, as [`Endpoint::send`] does.
    pub fn send<B: Buf + 'env>(&'scope self, to: usize, tag: impl Into<Tag>, buf: B) -> ScopedOp<'scope, B> {
        // SAFETY: the scope outlasts the operation, and `'env` outlasts the scope.
        let id = unsafe { self.endpoint.post_send(Space::User, to, tag.into(), &buf) };
        self.enter(id, buf)
    }

    /// Receives a message, as [`Endpoint::recv`] does.
    pub fn recv<B: BufMut + 'env>(
        &'scope self,
        from: impl Into<Source>,
        tag: impl Into<TagMatch>,
        mut buf: B,
    ) -> ScopedOp<'scope, B> {
        // SAFETY: as in `send`.
        let id = unsafe { self.endpoint.post_recv(Space::User, from.into(), tag.into(), &mut buf) };
        self.enter(id, buf)
    }

    /// Writes to a peer's region, as [`Endpoint::write`] does.
    pub fn write<B: Buf + 'env>(
        &'scope self,
        region: &RemoteRegion,
        offset: usize,
        buf: B,
    ) -> ScopedOp<'scope, B> {
        // SAFETY: as in `send`.
        let id = unsafe { self.endpoint.post_write(region, offset, &buf, None) };
        self.enter(id, buf)
    }

    /// Reads a peer's region, as [`Endpoint::read`] does.
    pub fn read<B: BufMut + 'env>(
        &'scope self,
        region: &RemoteRegion,
        offset: usize,
        mut buf: B,
    ) -> ScopedOp<'scope, B> {
        // SAFETY: as in `send`.
        let id = unsafe { self.endpoint.post_read(region, offset, &mut buf) };
        self.enter(id, buf)
    }

    fn enter<B>(&'scope self, id: Result<SlotId>, buffer: B) -> ScopedOp<'scope, B> {
        if let Ok(id) = id {
            self.endpoint.shared.lock().join_group(id, self.group);
        }
        ScopedOp { shared: &self.endpoint.shared, id: Some(id), buffer: Some(buffer) }
    }
}

/// An operation on borrowed memory. Dropped without waiting, it goes on until the scope is left.
#[must_use = "the result tells whether the operation went well"]
pub struct ScopedOp<'scope, B> {
    shared: &'scope Shared,
    id: Option<Result<SlotId>>,
    buffer: Option<B>,
}

impl<B> ScopedOp<'_, B> {
    /// Waits until it is over, and returns the result and the buffer.
    pub fn wait(mut self) -> (Result<Completion>, B) {
        let result = self.id.take().expect("taken only here").and_then(|id| {
            let core = self.shared.lock();
            let (mut core, _) = self.shared.wait_locked(core, id, Deadline::NONE);
            self.shared.take_result(&mut core, id)
        });
        (result, self.buffer.take().expect("taken only here"))
    }

    /// Whether it is over. Polls the device once.
    pub fn is_done(&self) -> bool {
        match self.id {
            Some(Ok(id)) => {
                let mut core = self.shared.lock();
                core.poll();
                core.slots.get(id).is_over()
            }
            _ => true,
        }
    }
}

impl<B> Drop for ScopedOp<'_, B> {
    fn drop(&mut self) {
        if let Some(Ok(id)) = self.id {
            self.shared.lock().abandon(id, Notice::None);
        }
    }
}
