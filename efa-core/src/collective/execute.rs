//! Runs a schedule over an endpoint.

use super::reduce::Operation;
use super::schedule::{Action, BufferId, Schedule, Span, StepId};
use crate::endpoint::request::{Incoming, Outgoing};
use crate::endpoint::tag::Space;
use crate::endpoint::{BorrowTracker, Endpoint, Place, Source, Tag, WorkspaceState};
use crate::error::{Error, Result};
use crate::memory::RegisteredBuf;

/// How many sends, and how many receives, are under way at a time. Enough to keep a link busy with pieces; one each is
/// what schedules need at least, in the order of their steps.
const IN_FLIGHT: usize = 8;

/// A collective's tag is its number in the communicator and the message's slot.
const SLOT_BITS: u32 = 20;
const NUMBER_MASK: u64 = (1 << 20) - 1;

/// A schedule with what is worked out once for all its runs.
#[derive(Debug)]
pub(super) struct Prepared {
    schedule: Schedule,
    /// How many steps each step waits for.
    waits: Vec<u32>,
    sends: Vec<StepId>,
    receives: Vec<StepId>,
    /// The local steps that wait for nothing.
    first: Vec<StepId>,
}

impl Prepared {
    pub(super) fn new(schedule: Schedule) -> Result<Self> {
        if schedule.slots() >= 1 << SLOT_BITS {
            return Err(Error::misuse(
                "cannot run a collective in so many pieces",
                format!(
                    "it has {} messages between two ranks, and a tag has room for 2^{SLOT_BITS}",
                    schedule.slots()
                ),
                "choose longer segments",
            ));
        }
        let ids = |wanted: fn(&Action) -> bool| -> Vec<StepId> {
            let steps = schedule.steps().iter().enumerate();
            steps.filter(|(_, step)| wanted(&step.action)).map(|(id, _)| id as StepId).collect()
        };
        let waits: Vec<u32> = (0..schedule.steps().len())
            .map(|step| schedule.dependencies(step as StepId).len() as u32)
            .collect();
        let mut first = ids(|action| matches!(action, Action::Reduce { .. } | Action::Copy { .. }));
        first.retain(|&step| waits[step as usize] == 0);
        Ok(Self {
            sends: ids(|action| matches!(action, Action::Send { .. })),
            receives: ids(|action| matches!(action, Action::Receive { .. })),
            waits,
            first,
            schedule,
        })
    }

    pub(super) fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

/// What an executor keeps from one run to the next, so that it needs no allocation.
#[derive(Default)]
pub(super) struct ExecutorState {
    borrow_tracker: WorkspaceState,
    waits: Vec<u32>,
    /// Local steps that are ready.
    ready: Vec<StepId>,
}

/// What the elements are, and what is done with them.
#[derive(Clone, Copy)]
pub(super) struct Elements<'a> {
    /// What the type is called.
    pub name: &'static str,
    /// Bytes per element.
    pub size: usize,
    pub operation: Operation<'a>,
}

/// The memory of one run. The input is empty in place.
pub(super) struct Buffers<'a> {
    pub input: &'a [u8],
    pub output: &'a mut [u8],
    pub scratch: &'a mut RegisteredBuf<u8>,
}

/// Runs a schedule. `number` tells this collective's messages from those of others; all ranks count alike.
pub(super) fn run(
    endpoint: &Endpoint,
    prepared: &Prepared,
    state: &mut ExecutorState,
    elements: Elements<'_>,
    number: u64,
    buffers: Buffers<'_>,
) -> Result<()> {
    let Prepared { schedule, waits, sends, receives, first } = prepared;
    state.waits.clone_from(waits);
    state.ready.clear();
    state.ready.extend_from_slice(first);
    let (scratch, registration) = buffers.scratch.parts();
    let mut run = Run {
        schedule,
        waits: &mut state.waits,
        ready: &mut state.ready,
        left: waits.len(),
        elements,
        base: (number & NUMBER_MASK) << SLOT_BITS,
        borrow_tracker: BorrowTracker::new(
            endpoint,
            &mut state.borrow_tracker,
            buffers.input,
            buffers.output,
            scratch,
            registration,
        ),
    };
    let (mut next_send, mut next_receive) = (0, 0);
    let (mut sending, mut receiving) = (0, 0);
    while run.left > 0 {
        while receiving < IN_FLIGHT && receives.get(next_receive).is_some_and(|&step| run.is_ready(step)) {
            run.start(receives[next_receive])?;
            next_receive += 1;
            receiving += 1;
        }
        while sending < IN_FLIGHT && sends.get(next_send).is_some_and(|&step| run.is_ready(step)) {
            let over = run.start(sends[next_send])?;
            next_send += 1;
            sending += usize::from(!over);
        }
        // One local step at a time: it may have made a send possible, and the link should not wait for the next.
        if let Some(step) = run.ready.pop() {
            run.compute(step)?;
        } else if run.borrow_tracker.under_way() > 0 {
            let step = run.borrow_tracker.wait_any()?;
            match schedule.steps()[step as usize].action {
                Action::Send { .. } => sending -= 1,
                _ => receiving -= 1,
            }
            run.done(step);
        } else if run.left > 0
            && !run.can_start(sends.get(next_send))
            && !run.can_start(receives.get(next_receive))
        {
            return Err(Error::defect(
                format!("the {} can't go on", schedule.collective()),
                "none of its steps can be started: the schedule is wrong",
            ));
        }
    }
    Ok(())
}

/// A run under way.
struct Run<'a> {
    schedule: &'a Schedule,
    waits: &'a mut [u32],
    ready: &'a mut Vec<StepId>,
    left: usize,
    elements: Elements<'a>,
    base: u64,
    borrow_tracker: BorrowTracker<'a>,
}

impl Run<'_> {
    fn is_ready(&self, step: StepId) -> bool {
        self.waits[step as usize] == 0
    }

    fn can_start(&self, step: Option<&StepId>) -> bool {
        step.is_some_and(|&step| self.is_ready(step))
    }

    /// Starts a send or a receive. Returns `true` if it is over already.
    fn start(&mut self, step: StepId) -> Result<bool> {
        let over = match self.schedule.steps()[step as usize].action {
            Action::Send { to, slot, span } => {
                let (place, range) = self.locate(span);
                let send = Outgoing::send(Space::Collective, to, self.tag(slot), range.len());
                self.borrow_tracker.submit(send, place, range, step)?
            }
            Action::Receive { from, slot, span } => {
                let (place, range) = self.locate(span);
                let (from, tag) = (Source::Rank(from), self.tag(slot).into());
                let receive = Incoming::receive(Space::Collective, from, tag, range.len());
                self.borrow_tracker.submit(receive, place, range, step)?
            }
            Action::Reduce { .. } | Action::Copy { .. } => false,
        };
        if over {
            self.done(step);
        }
        Ok(over)
    }

    /// Does a local step.
    fn compute(&mut self, step: StepId) -> Result<()> {
        match self.schedule.steps()[step as usize].action {
            Action::Reduce { source, into, source_first } => {
                let (into, source) = (self.locate(into), self.locate(source));
                let (into, source) = self.borrow_tracker.parts(into, source)?;
                self.elements.operation.combine(into, source, source_first)?;
            }
            Action::Copy { source, into } => {
                let (into, source) = (self.locate(into), self.locate(source));
                let (into, source) = self.borrow_tracker.parts(into, source)?;
                into.copy_from_slice(source);
            }
            Action::Send { .. } | Action::Receive { .. } => {}
        }
        self.done(step);
        Ok(())
    }

    /// Notes that a step is over, and which local steps that lets begin.
    fn done(&mut self, step: StepId) {
        self.left -= 1;
        for &dependent in self.schedule.dependents(step) {
            let waits = &mut self.waits[dependent as usize];
            *waits -= 1;
            let action = &self.schedule.steps()[dependent as usize].action;
            if *waits == 0 && matches!(action, Action::Reduce { .. } | Action::Copy { .. }) {
                self.ready.push(dependent);
            }
        }
    }

    fn locate(&self, span: Span) -> (Place, std::ops::Range<usize>) {
        let place = match span.buffer {
            BufferId::Input => Place::Input,
            BufferId::Output => Place::Output,
            BufferId::Scratch => Place::Scratch,
        };
        let size = self.elements.size;
        (place, span.start * size..(span.start + span.len) * size)
    }

    fn tag(&self, slot: u32) -> Tag {
        Tag::truncating(self.base | u64::from(slot))
    }
}
