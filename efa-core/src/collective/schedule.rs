//! What one rank does in a collective, as data.
//!
//! A [`Schedule`] is a list of [`Step`]s over three buffers, each with the earlier steps it waits for; steps that
//! don't wait for one another may run at the same time and in any order. A message is named by its two ranks and its
//! slot, so that nothing depends on the order in which messages overtake one another.
//!
//! What an executor may rely on:
//!
//! - A step waits for earlier steps only, and no two steps that may run at the same time touch the same element
//!   unless both read it ([`Schedule::validate`] checks this; the tests do so for every algorithm).
//! - The two spans of a reduce or copy never overlap, though both may lie in the same buffer.
//! - One that limits how many operations are in flight starts the sends in the order of their index, and so the
//!   receives, each with a limit of its own. One send and one receive at a time are then enough, even if a send ends
//!   only when its receive is posted.
//! - Elements of scratch start out undefined. Input is never written.

use std::fmt;
use std::ops::Range;

use super::{Algorithm, BufferMode, Call, Collective, Counts};
use crate::{Error, Result};

/// The index of a step in its schedule.
pub type StepId = u32;

/// A buffer that a schedule works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BufferId {
    /// What this rank brings; only read, and not there at all in place.
    Input,
    /// Where the result goes; in place it holds what this rank brings.
    Output,
    /// Room for what is under way. Starts at a multiple of 64 bytes.
    Scratch,
}

/// A run of elements in a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which buffer.
    pub buffer: BufferId,
    /// The first element.
    pub start: usize,
    /// How many elements.
    pub len: usize,
}

impl Span {
    /// `len` elements of `buffer` from `start` on.
    pub const fn new(buffer: BufferId, start: usize, len: usize) -> Self {
        Self { buffer, start, len }
    }

    /// The same elements as a range of indices.
    pub const fn range(self) -> Range<usize> {
        self.start..self.start + self.len
    }

    /// True when both have an element in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.buffer == other.buffer
            && self.start < other.start + other.len
            && other.start < self.start + self.len
            && self.len > 0
            && other.len > 0
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}[{}..{}]", self.buffer, self.start, self.start.saturating_add(self.len))
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send a span; done when it may be overwritten.
    Send {
        /// The receiving rank.
        to: usize,
        /// Which of the messages from this rank to that one.
        slot: u32,
        /// What to send; may be empty.
        span: Span,
    },
    /// Receive into a span exactly as long as the message.
    Receive {
        /// The sending rank.
        from: usize,
        /// Which of the messages from that rank to this one.
        slot: u32,
        /// Where to put it; may be empty.
        span: Span,
    },
    /// Combine `source` into `into`, element by element, with the collective's operation.
    Reduce {
        /// What to combine; as long as `into`.
        source: Span,
        /// What it is combined into.
        into: Span,
        /// Whether `source` is the operation's first operand, and `into` its second. Of no meaning to an operation that
        /// commutes.
        source_first: bool,
    },
    /// Copy `source` over `into`.
    Copy {
        /// What to copy; as long as `into`.
        source: Span,
        /// What it is copied over.
        into: Span,
    },
}

/// One step of a schedule: an action, and where in the schedule its dependencies are listed.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What to do.
    pub action: Action,
    first_dependency: u32,
    dependencies: u32,
}

/// What one rank does in one collective. See the [module](self) for what may be relied on.
#[derive(Clone, Debug)]
pub struct Schedule {
    call: Call,
    algorithm: Algorithm,
    lengths: [usize; 3],
    slots: u32,
    steps: Vec<Step>,
    dependencies: Vec<StepId>,
    /// Where each step's entries in `dependents` begin; one more entry than steps.
    first_dependent: Vec<u32>,
    dependents: Vec<StepId>,
}

impl Schedule {
    /// What it was made for.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The same work with the ranks in other places: what was made for rank `r` is done by rank `order[r]`, which is
    /// how a ring comes to go through the ranks in that order. Where the blocks of a result belong to ranks, they go
    /// to where those ranks' blocks belong. For algorithms that [may stand in any order](Algorithm::may_be_reordered).
    ///
    /// # Errors
    /// [`Error::Misuse`] unless `order` has every rank once.
    pub fn in_order(mut self, order: &[usize]) -> Result<Self> {
        let size = self.call.size;
        if !self.algorithm.may_be_reordered(&self.call) {
            return Err(Error::misuse(
                format!("cannot reorder the ranks of {}", self.call.collective),
                format!("{} depends on the numbers of the ranks", self.algorithm),
                "choose another algorithm, or leave the ranks in their order",
            ));
        }
        let mut seen = vec![false; size];
        let fresh = |&rank: &usize| seen.get_mut(rank).is_some_and(|seen| !std::mem::replace(seen, true));
        if order.len() != size || !order.iter().all(fresh) {
            return Err(Error::misuse(
                format!("cannot reorder the ranks of {}", self.call.collective),
                format!("the order does not have each of the {size} ranks once"),
                "list every rank, from 0 on, once",
            ));
        }
        let before = self.call.clone();
        if let Some(counts) = before.counts() {
            let mut lengths = vec![0; size];
            order.iter().zip(counts.as_slice()).for_each(|(&rank, &count)| lengths[rank] = count);
            self.call = self.call.with_counts(Counts::new(lengths));
        }
        self.call.rank = order[before.rank];
        if before.collective.has_root() {
            self.call.root = order[before.root];
        }
        let whole = match (before.collective, before.buffer_mode) {
            (Collective::AllGather, _) | (Collective::ReduceScatter, BufferMode::InPlace) => {
                Some(BufferId::Output)
            }
            (Collective::ReduceScatter, BufferMode::OutOfPlace) => Some(BufferId::Input),
            _ => None,
        };
        let (call, places) = (&self.call, Vec::from_iter((0..size).map(|place| before.block(place))));
        // No span reaches over the end of its block: algorithms that may stand in another order move blocks, or
        // pieces of them.
        let moved = |span: Span| match whole {
            Some(buffer) if buffer == span.buffer && span.len > 0 => {
                let place = places.partition_point(|block| block.end <= span.start);
                Span { start: call.block(order[place]).start + span.start - places[place].start, ..span }
            }
            _ => span,
        };
        for step in &mut self.steps {
            step.action = match step.action {
                Action::Send { to, slot, span } => Action::Send { to: order[to], slot, span: moved(span) },
                Action::Receive { from, slot, span } => {
                    Action::Receive { from: order[from], slot, span: moved(span) }
                }
                Action::Reduce { source, into, source_first } => {
                    Action::Reduce { source: moved(source), into: moved(into), source_first }
                }
                Action::Copy { source, into } => Action::Copy { source: moved(source), into: moved(into) },
            };
        }
        Ok(self)
    }

    /// The collective it carries out.
    pub fn collective(&self) -> Collective {
        self.call.collective
    }

    /// The algorithm it was made by; never [`Algorithm::Auto`].
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The rank it is for.
    pub fn rank(&self) -> usize {
        self.call.rank
    }

    /// How many ranks take part.
    pub fn size(&self) -> usize {
        self.call.size
    }

    /// How many elements the buffer must have. Zero for the input in place, and for what is not used.
    pub fn len_of(&self, buffer: BufferId) -> usize {
        self.lengths[buffer as usize]
    }

    /// One more than the highest slot in use, zero when there are no messages: what a tag must have room for.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// The steps; a step's position is its [`StepId`].
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The steps that `step` waits for; all come before it.
    pub fn dependencies(&self, step: StepId) -> &[StepId] {
        let Step { first_dependency, dependencies, .. } = self.steps[step as usize];
        &self.dependencies[first_dependency as usize..][..dependencies as usize]
    }

    /// The steps that wait for `step`; all come after it.
    pub fn dependents(&self, step: StepId) -> &[StepId] {
        let step = step as usize;
        &self.dependents[self.first_dependent[step] as usize..self.first_dependent[step + 1] as usize]
    }
}

/// Puts a schedule together, step by step.
pub(super) struct ScheduleBuilder {
    schedule: Schedule,
}

impl ScheduleBuilder {
    /// An empty schedule for `call`, with `scratch` elements of scratch.
    pub(super) fn new(call: &Call, algorithm: Algorithm, scratch: usize) -> Self {
        let input = if call.buffer_mode == BufferMode::InPlace { 0 } else { call.input_len() };
        Self {
            schedule: Schedule {
                call: call.clone(),
                algorithm,
                lengths: [input, call.output_len(), scratch],
                slots: 0,
                steps: Vec::new(),
                dependencies: Vec::new(),
                first_dependent: Vec::new(),
                dependents: Vec::new(),
            },
        }
    }

    pub(super) fn send(&mut self, to: usize, slot: u32, span: Span, after: &[StepId]) -> StepId {
        self.schedule.slots = self.schedule.slots.max(slot + 1);
        self.push(Action::Send { to, slot, span }, after)
    }

    pub(super) fn receive(&mut self, from: usize, slot: u32, span: Span, after: &[StepId]) -> StepId {
        self.schedule.slots = self.schedule.slots.max(slot + 1);
        self.push(Action::Receive { from, slot, span }, after)
    }

    /// Combines `source` into `into`, which holds contributions of ranks before those in `source` if that matters.
    pub(super) fn reduce(&mut self, source: Span, into: Span, after: &[StepId]) -> StepId {
        self.push(Action::Reduce { source, into, source_first: false }, after)
    }

    /// The same where `source` holds the contributions of the ranks before.
    pub(super) fn reduce_before(&mut self, source: Span, into: Span, after: &[StepId]) -> StepId {
        self.push(Action::Reduce { source, into, source_first: true }, after)
    }

    pub(super) fn copy(&mut self, source: Span, into: Span, after: &[StepId]) -> StepId {
        self.push(Action::Copy { source, into }, after)
    }

    /// The schedule, with the reverse of its dependencies worked out.
    pub(super) fn finish(mut self) -> Schedule {
        let schedule = &mut self.schedule;
        let steps = schedule.steps.len();
        let mut first = vec![0u32; steps + 1];
        for &dependency in &schedule.dependencies {
            first[dependency as usize + 1] += 1;
        }
        for step in 0..steps {
            first[step + 1] += first[step];
        }
        let mut next = first.clone();
        schedule.dependents = vec![0; schedule.dependencies.len()];
        for (id, step) in schedule.steps.iter().enumerate() {
            let range = step.first_dependency as usize..(step.first_dependency + step.dependencies) as usize;
            for &dependency in &schedule.dependencies[range] {
                let place = &mut next[dependency as usize];
                schedule.dependents[*place as usize] = id as StepId;
                *place += 1;
            }
        }
        schedule.first_dependent = first;
        self.schedule
    }

    /// `Call`'s limit on ranks, and the ring's on pieces, keep every index here far below 2^32.
    fn push(&mut self, action: Action, after: &[StepId]) -> StepId {
        let Schedule { steps, dependencies, .. } = &mut self.schedule;
        let id = steps.len() as StepId;
        assert!(after.iter().all(|&step| step < id), "step {id} waits for a later one: {after:?}");
        let first_dependency = dependencies.len() as u32;
        dependencies.extend_from_slice(after);
        steps.push(Step { action, first_dependency, dependencies: after.len() as u32 });
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_fits_a_cache_line() {
        assert!(std::mem::size_of::<Step>() <= 64);
    }

    #[test]
    fn dependents_are_the_reverse_of_dependencies() {
        let call = Call::new(Collective::AllReduce, 0, 2, 8);
        let mut builder = ScheduleBuilder::new(&call, Algorithm::Ring, 0);
        let span = |start| Span::new(BufferId::Output, start, 1);
        let a = builder.receive(1, 0, span(0), &[]);
        let b = builder.receive(1, 1, span(1), &[]);
        let c = builder.copy(span(0), span(2), &[a]);
        let d = builder.reduce(span(1), span(2), &[b, c]);
        let schedule = builder.finish();
        assert_eq!(schedule.dependencies(d), [b, c]);
        assert_eq!(schedule.dependents(a), [c]);
        assert_eq!(schedule.dependents(b), [d]);
        assert_eq!(schedule.dependents(c), [d]);
        assert!(schedule.dependents(d).is_empty());
        assert_eq!(schedule.slots(), 2);
    }
}
