//! Memory that a collective works on: [`BorrowTracker`].
//!
//! A collective sends one part of a buffer while it receives into another and adds up a third. The borrow checker
//! can't follow that, so the parts that the device is using are kept in a list, and each use is checked against it.

use std::ops::Range;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::driver::Deadline;
use super::driver::wait::Led;
use super::engine::slot::{CancelReason, Outcome, SlotId, WakeUp};
use super::request::Description;
use super::submit::Submitted;
use crate::error::{Error, Result};
use crate::ffi::Segment;
use crate::memory::Registration;

/// How long to wait for the control connection to tell which rank died first, once a connection is known to be broken.
const VERDICT: Duration = Duration::from_secs(2);

/// Which of the tracker's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Input = 0,
    Output = 1,
    Scratch = 2,
}

/// What a tracker keeps from one collective to the next, so that it needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct WorkspaceState {
    flights: Vec<Flight>,
    /// Up to which change the list of who is alive has been looked at.
    news: u64,
}

/// A part of a buffer that the device is using.
#[derive(Debug)]
struct Flight {
    id: SlotId,
    place: Place,
    range: Range<usize>,
    /// The device writes it.
    writes: bool,
    ticket: u32,
}

#[derive(Clone, Copy)]
struct Memory<'a> {
    start: *mut u8,
    len: usize,
    registration: Option<&'a Registration>,
}

/// Three buffers, borrowed until all operations on them are over: an input that is only read, an output, a scratch.
pub(crate) struct BorrowTracker<'a> {
    endpoint: &'a Endpoint,
    state: &'a mut WorkspaceState,
    memory: [Memory<'a>; 3],
}

impl<'a> BorrowTracker<'a> {
    pub(crate) fn new(
        endpoint: &'a Endpoint,
        state: &'a mut WorkspaceState,
        input: &'a [u8],
        output: &'a mut [u8],
        scratch: &'a mut [u8],
        scratch_registration: Option<&'a Registration>,
    ) -> Self {
        debug_assert!(state.flights.is_empty());
        let memory = [
            Memory { start: input.as_ptr().cast_mut(), len: input.len(), registration: None },
            Memory { start: output.as_mut_ptr(), len: output.len(), registration: None },
            Memory { start: scratch.as_mut_ptr(), len: scratch.len(), registration: scratch_registration },
        ];
        Self { endpoint, state, memory }
    }

    /// Starts an operation on a part of a buffer, whose end [`BorrowTracker::wait_any`] reports by its ticket. Returns
    /// `true` if the operation is over already; then no ticket is reported.
    #[inline]
    pub(crate) fn submit<M>(
        &mut self,
        description: Description<M>,
        place: Place,
        range: Range<usize>,
        ticket: u32,
    ) -> Result<bool> {
        let request = self.endpoint.request(description, None).map_err(|error| *error)?;
        let writes = request.operation.writes_memory();
        let segment = self.segment(place, &range, writes)?;
        // SAFETY: `segment` checked that nobody uses the range in another way, and the flight keeps it so until it is over.
        match unsafe { self.endpoint.post(request, &mut [segment]) } {
            Submitted::Posted(_, id) => {
                self.state.flights.push(Flight { id, place, range, writes, ticket });
                Ok(false)
            }
            Submitted::Done(_) => Ok(true),
            Submitted::Failed(error) => Err(*error),
        }
    }

    /// Waits until an operation is over, and returns its ticket.
    ///
    /// A rank that dies ends it, whichever rank that is: those that wait for a rank that waits for the dead one would
    /// else learn of it only when that one has given up, and take it for the culprit.
    #[inline]
    pub(crate) fn wait_any(&mut self) -> Result<u32> {
        self.wait_for_one().map_err(|error| self.blame(error))
    }

    /// Names the rank that died first, or called the job off, in place of one that ended because of it.
    #[cold]
    fn blame(&self, error: Error) -> Error {
        if !matches!(error, Error::PeerLost { .. }) {
            return error;
        }
        let begun = Instant::now();
        loop {
            match self.endpoint.shared.first_lost() {
                Some(first) => return first,
                None if self.endpoint.shared.liveness.aborted().is_some() => {
                    return self.endpoint.shared.aborted("the collective can't be finished".into());
                }
                None if begun.elapsed() > VERDICT => return error,
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    #[inline]
    fn wait_for_one(&mut self) -> Result<u32> {
        let flights = &mut self.state.flights;
        let Some(first) = flights.first() else {
            return Err(Error::defect("cannot wait for a step of a collective", "nothing is under way"));
        };
        let first = first.id;
        let (shared, news) = (&*self.endpoint.shared, self.state.news);
        let mut core = shared.lock();
        let mut followed = false;
        loop {
            let over = flights.iter().position(|flight| core.slots.get(flight.id).is_over());
            let is_news = shared.liveness.epoch() != news;
            if followed && !core.led && (over.is_some() || is_news) {
                // We may have been woken in order to lead.
                shared.hand_over(&mut core);
            }
            if let Some(place) = over {
                let flight = flights.swap_remove(place);
                return match core.slots.get(flight.id).outcome() {
                    // A message that is shorter than its place would leave old bytes there.
                    Some(&Outcome::Done { bytes, .. }) if flight.writes && bytes != flight.range.len() => {
                        core.release(flight.id);
                        Err(wrong_length(bytes, flight.range.len()))
                    }
                    _ => self.endpoint.shared.take_result(core, flight.id).map(|_| flight.ticket),
                };
            }
            if is_news {
                drop(core);
                self.state.news = shared.liveness.epoch();
                if let Some(lost) = shared.first_lost() {
                    return Err(lost);
                }
                return self.wait_for_one();
            }
            if core.led {
                // Another thread polls: park until the first is over or the lead is free, then look at all again.
                core = self.endpoint.shared.wait_briefly(core, first);
                followed = true;
            } else {
                core.led = true;
                let any = |core: &mut super::engine::Engine| {
                    flights.iter().any(|flight| core.slots.get(flight.id).is_over())
                        || shared.liveness.epoch() != news
                };
                let (locked, led) = self.endpoint.shared.lead(core, Deadline::NONE, &mut None, any);
                core = locked;
                if led != Led::Lost {
                    core.led = false;
                    self.endpoint.shared.hand_over(&mut core);
                }
            }
        }
    }

    /// How many operations are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.state.flights.len()
    }

    /// A part to write and a part to read, neither of them in the device's hands, for arithmetic and copying.
    #[inline]
    pub(crate) fn parts(
        &mut self,
        into: (Place, Range<usize>),
        from: (Place, Range<usize>),
    ) -> Result<(&mut [u8], &[u8])> {
        let target = self.segment(into.0, &into.1, true)?;
        let source = self.segment(from.0, &from.1, false)?;
        if into.0 == from.0 && overlap(&into.1, &from.1) {
            return Err(in_use(into.0, &into.1));
        }
        // SAFETY: both ranges are within their buffers, which we borrow; they don't overlap each other nor anything
        // that the device writes, and the target nothing that it reads. `&mut self` keeps new operations away.
        unsafe {
            Ok((
                std::slice::from_raw_parts_mut(target.start, target.len),
                std::slice::from_raw_parts(source.start, source.len),
            ))
        }
    }

    /// The memory of a part, if it may be used in this way now.
    #[inline]
    fn segment(&self, place: Place, range: &Range<usize>, write: bool) -> Result<Segment> {
        let memory = &self.memory[place as usize];
        if range.start > range.end || range.end > memory.len || (write && place == Place::Input) {
            return Err(in_use(place, range));
        }
        let conflict =
            self.state.flights.iter().any(|flight| {
                flight.place == place && (write || flight.writes) && overlap(&flight.range, range)
            });
        if conflict {
            return Err(in_use(place, range));
        }
        Ok(Segment {
            // SAFETY: the range is within the buffer.
            start: unsafe { memory.start.add(range.start) },
            len: range.len(),
            descriptor: memory.registration.map_or(ptr::null_mut(), |registration| {
                registration.descriptor(self.endpoint.shared.identity())
            }),
        })
    }
}

impl Drop for BorrowTracker<'_> {
    /// Gets the memory back: cancels what can be, waits for the rest.
    fn drop(&mut self) {
        for flight in self.state.flights.drain(..) {
            let mut core = self.endpoint.shared.lock();
            if !core.slots.get(flight.id).is_over() {
                // What can't be cancelled is ended by closing the endpoint: the other ranks may have given up, too.
                core.cancel(flight.id, CancelReason::Pointless, self.endpoint.shared.clock.now());
            }
            let (mut core, _) = self.endpoint.shared.wait_locked(core, flight.id, Deadline::NONE);
            core.abandon(flight.id, WakeUp::None);
        }
    }
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

#[cold]
fn in_use(place: Place, range: &Range<usize>) -> Error {
    Error::defect(
        format!("cannot use bytes {} to {} of a collective's {place:?}", range.start, range.end),
        "they are outside of it, or in use: the schedule is wrong",
    )
}

#[cold]
fn wrong_length(got: usize, wanted: usize) -> Error {
    Error::misuse(
        format!("a collective received {got} bytes where {wanted} were due"),
        "the ranks called it with different counts, types or algorithms",
        "call the collective alike on all ranks",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explanation;

    #[test]
    fn a_schedule_that_is_wrong_is_a_defect_and_no_misuse() {
        let world = crate::init().unwrap();
        let mut state = WorkspaceState::default();
        let mut tracker = BorrowTracker::new(world.endpoint(), &mut state, &[], &mut [], &mut [], None);
        let nothing_to_wait_for = tracker.wait_any().unwrap_err();
        assert_eq!(nothing_to_wait_for.kind(), crate::ErrorKind::Defect, "{nothing_to_wait_for}");
        let outside = tracker.parts((Place::Output, 0..8), (Place::Input, 0..8)).unwrap_err();
        assert_eq!(outside.kind(), crate::ErrorKind::Defect, "{outside}");
    }

    #[test]
    fn a_collective_in_a_job_that_was_called_off_says_why_at_once() {
        let world = crate::init().unwrap();
        world.control().abort("it panicked");
        let mut state = WorkspaceState::default();
        let borrow_tracker = BorrowTracker::new(world.endpoint(), &mut state, &[], &mut [], &mut [], None);
        let begun = Instant::now();
        let error = borrow_tracker.blame(Error::PeerLost {
            peer: Box::new(world.control().peers()[0].clone()),
            text: Explanation::new("cannot receive", "its endpoint is closed", ""),
        });
        assert!(begun.elapsed() < VERDICT, "{:?}", begun.elapsed());
        assert!(matches!(error, Error::Aborted { .. }), "{error}");
        assert!(error.to_string().contains("it panicked"), "{error}");
    }
}
