//! Operations of different kinds in one list, and waiting for all or any of them: [`Pending`], [`AnyBuffer`].

use std::any::Any;
use std::fmt;
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use super::driver::wait::Led;
use super::driver::{Deadline, Shared};
use super::engine::Engine;
use super::engine::slot::SlotId;
use super::op::State;
use crate::memory::Held;

/// The longest time between two looks at operations of several endpoints.
const LONGEST_NAP: Duration = Duration::from_millis(1);
const FIRST_NAP: Duration = Duration::from_micros(20);

/// A handle of an operation, whatever the operation is and whatever its buffer: [`Op`](super::Op)
/// or [`ScopedOp`](super::ScopedOp).
///
/// [`wait_any`] and [`wait_all`] take handles by reference. Each handle then returns its own result and buffer, with
/// their own types:
///
/// ```no_run
/// # fn example(endpoint: &efa_core::Endpoint) -> efa_core::Result<()> {
/// use efa_core::endpoint::{Pending, wait_all};
///
/// let send = endpoint.send(1, 7u32, vec![1u8; 64]);
/// let receive = endpoint.recv(1, 8u32, vec![0.0f32; 1024]);
/// wait_all::<&dyn Pending>(&[&send, &receive]);
/// send.wait()?;
/// let (completion, values) = receive.wait()?;
/// # let _ = (completion, values);
/// # Ok(())
/// # }
/// ```
///
/// A list that is kept for longer holds operations whose buffer's type is erased: [`Op::into_any`](super::Op::into_any).
pub trait Pending: Handle {
    /// Returns whether the operation is over. Polls the device once.
    fn is_done(&self) -> bool {
        let (shared, state) = self.handle();
        shared.is_done(state)
    }

    /// Asks for the operation to be cancelled, as [`Op::cancel`](super::Op::cancel) does.
    fn cancel(&self) {
        let (shared, state) = self.handle();
        shared.ask_to_cancel(state);
    }
}

impl<P: Pending + ?Sized> Pending for &P {}

/// What [`Pending`] needs of a handle. Not reachable from outside of the crate, so that only handles implement it.
#[expect(private_interfaces, reason = "outside of the crate nobody can name or call it")]
pub trait Handle {
    /// Returns the endpoint and how far the operation has got.
    fn handle(&self) -> (&Shared, &State);
}

#[expect(private_interfaces, reason = "as in `Handle`")]
impl<P: Handle + ?Sized> Handle for &P {
    fn handle(&self) -> (&Shared, &State) {
        (**self).handle()
    }
}

/// Waits until one of the operations is over, with success or not, and returns its place in the list; `None` for an
/// empty list. If several are over, the first in the list is returned.
///
/// Each operation ends within the endpoint's timeout, so this does too.
///
/// ```no_run
/// # fn example(endpoint: &efa_core::Endpoint) -> efa_core::Result<()> {
/// use efa_core::endpoint::{AnyBuffer, Op, wait_any};
///
/// let mut pending: Vec<Op<AnyBuffer>> = vec![
///     endpoint.send(1, 7u32, vec![1u8; 64]).into_any(),
///     endpoint.recv(1, 8u32, vec![0.0f32; 1024]).into_any(),
/// ];
/// while let Some(place) = wait_any(&pending) {
///     let (completion, buffer) = pending.swap_remove(place).wait()?;
///     if let Ok(values) = buffer.downcast::<Vec<f32>>() {
///         println!("rank {} sent {} values", completion.peer, values.len());
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub fn wait_any<P: Pending>(operations: &[P]) -> Option<usize> {
    first_over(operations, Deadline::NONE)
}

/// Waits as [`wait_any`] does, for a limited time. Returns `None` if no operation is over by then.
pub fn wait_any_timeout<P: Pending>(operations: &[P], at_most: Duration) -> Option<usize> {
    first_over(operations, Deadline(Instant::now().checked_add(at_most)))
}

/// Waits until all operations are over, with success or not. Their results and buffers are then taken with
/// [`Op::wait`](super::Op::wait), which returns at once.
pub fn wait_all<P: Pending>(operations: &[P]) {
    for operation in operations {
        first_over(slice::from_ref(operation), Deadline::NONE);
    }
}

/// Waits as [`wait_all`] does, for a limited time. Returns whether all operations are over.
pub fn wait_all_timeout<P: Pending>(operations: &[P], at_most: Duration) -> bool {
    let deadline = Deadline(Instant::now().checked_add(at_most));
    operations.iter().all(|operation| first_over(slice::from_ref(operation), deadline).is_some())
}

/// Waits until an operation is over, and returns its place.
pub(super) fn first_over<P: Handle>(operations: &[P], deadline: Deadline) -> Option<usize> {
    let (shared, _) = operations.first()?.handle();
    if operations.iter().all(|operation| std::ptr::eq(operation.handle().0, shared)) {
        shared.wait_for_any(operations, deadline)
    } else {
        first_over_of_several_endpoints(operations, deadline)
    }
}

/// No queue belongs to several endpoints, so this looks at one after the other, and sleeps between.
fn first_over_of_several_endpoints<P: Handle>(operations: &[P], deadline: Deadline) -> Option<usize> {
    let mut nap = FIRST_NAP;
    loop {
        let is_done = |operation: &P| {
            let (shared, state) = operation.handle();
            shared.is_done(state)
        };
        if let Some(place) = operations.iter().position(is_done) {
            return Some(place);
        }
        if deadline.passed() {
            return None;
        }
        for operation in operations {
            let (shared, _) = operation.handle();
            shared.stand_in(&mut shared.lock());
        }
        thread::sleep(nap);
        nap = (nap * 2).min(LONGEST_NAP);
    }
}

fn slot<P: Handle>(operation: &P) -> Option<SlotId> {
    match operation.handle().1 {
        &State::Posted(id) => Some(id),
        _ => None,
    }
}

impl Shared {
    /// Waits until one of several operations of this endpoint is over, and returns its place.
    fn wait_for_any<P: Handle>(&self, operations: &[P], deadline: Deadline) -> Option<usize> {
        let over = |core: &mut Engine| {
            let is_over = |operation| slot(operation).is_none_or(|id| core.slots.get(id).is_over());
            operations.iter().position(is_over)
        };
        let mut core = self.lock();
        let mut patience = None;
        let mut followed = false;
        loop {
            let place = over(&mut core);
            if place.is_some() || (followed && deadline.passed()) {
                if followed && !core.led {
                    // This thread may have been woken in order to lead.
                    self.hand_over(&mut core);
                }
                return place;
            }
            if core.led {
                // Another thread polls, but it may be asleep.
                core.poll();
                if over(&mut core).is_some() {
                    continue;
                }
                let slots = || operations.iter().filter_map(slot);
                slots().for_each(|id| core.unpark_when_over(id, thread::current()));
                let first = slots().next().expect("an operation without a slot is over");
                core = self.wait_briefly(core, first);
                slots().for_each(|id| core.tell_nobody(id));
                self.stand_in(&mut core);
                followed = true;
            } else {
                core.led = true;
                let led;
                (core, led) = self.lead(core, deadline, &mut patience, |core| over(core).is_some());
                if led != Led::Lost {
                    core.led = false;
                    self.hand_over(&mut core);
                    followed = false;
                }
                if led == Led::TimeOut {
                    return over(&mut core);
                }
            }
        }
    }
}

/// A buffer whose type is erased: operations on different buffers then have one type, [`Op<AnyBuffer>`](super::Op).
///
/// Made by [`Op::into_any`](super::Op::into_any).
pub struct AnyBuffer(
    /// A `Held<B>`.
    Box<dyn Any + Send>,
);

impl AnyBuffer {
    pub(super) fn new<B: Send + 'static>(buffer: Held<B>) -> Self {
        Self(Box::new(buffer))
    }

    /// Returns whether the buffer's type is `B`.
    pub fn is<B: 'static>(&self) -> bool {
        self.0.is::<Held<B>>()
    }

    /// Returns the buffer, if its type is `B`.
    ///
    /// # Errors
    /// The erased buffer itself, if it is of another type.
    pub fn downcast<B: 'static>(self) -> Result<B, Self> {
        match self.0.downcast::<Held<B>>() {
            Ok(buffer) => Ok(buffer.into_inner()),
            Err(other) => Err(Self(other)),
        }
    }
}

impl fmt::Debug for AnyBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyBuffer").finish_non_exhaustive()
    }
}
