//! The discrete-event simulation itself: what happens when.
//!
//! Time is counted in picoseconds, and events of the same time come in the order in which they were planned, so that
//! runs repeat exactly.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use super::{Prediction, Profile};
use crate::collective::schedule::{Action, Schedule, Span, StepId};
use crate::{Error, Result};

/// Follows what the steps do to whatever it keeps.
pub(super) trait Observer {
    /// What travels with a message.
    type Payload;

    /// A send starts: what does it carry?
    fn send(&mut self, rank: usize, step: StepId, span: Span) -> Result<Self::Payload>;

    /// A step ends; a receive brings what its message carried.
    fn complete(
        &mut self,
        rank: usize,
        step: StepId,
        action: Action,
        payload: Option<Self::Payload>,
    ) -> Result<()>;
}

/// Keeps nothing: for predictions.
impl Observer for () {
    type Payload = ();

    fn send(&mut self, _: usize, _: StepId, _: Span) -> Result<()> {
        Ok(())
    }

    fn complete(&mut self, _: usize, _: StepId, _: Action, _: Option<()>) -> Result<()> {
        Ok(())
    }
}

/// Runs all schedules to their end.
pub(super) fn run<O: Observer>(
    schedules: &[Schedule],
    element_bytes: usize,
    profile: &Profile,
    observer: &mut O,
) -> Result<Prediction> {
    profile.check()?;
    let mut engine = Engine::new(schedules, element_bytes, profile, observer);
    for (rank, schedule) in schedules.iter().enumerate() {
        for step in 0..schedule.steps().len() as StepId {
            if schedule.dependencies(step).is_empty() {
                engine.start_if_local(rank, step);
            }
        }
        engine.start_messages(rank)?;
    }
    while let Some(Reverse((now, _, event))) = engine.events.pop() {
        engine.now = now;
        match event {
            Event::Done { rank, step } => engine.done(rank, step)?,
            Event::FirstByte(id) => engine.first_byte(id),
            Event::Arrived(id) => engine.arrived(id),
        }
    }
    engine.finish()
}

/// In picoseconds.
type Time = u64;

/// Names a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct MessageId {
    from: usize,
    to: usize,
    slot: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done { rank: usize, step: StepId },
    FirstByte(MessageId),
    Arrived(MessageId),
}

/// What is known of a message; sender and receiver may come in either order.
struct Message<P> {
    sent: Option<Sent<P>>,
    posted: Option<Posted>,
    launched: bool,
    arrived: bool,
}

struct Sent<P> {
    step: StepId,
    elements: usize,
    ready: Time,
    payload: P,
}

struct Posted {
    step: StepId,
    elements: usize,
    time: Time,
}

/// One direction of a link each: when it is free again.
#[derive(Clone, Copy, Default)]
struct Link {
    out: Time,
    into: Time,
}

/// A step that is done waits for this many, which no step does.
const DONE: u32 = u32::MAX;

/// How far a rank has come with its messages of one kind.
#[derive(Clone, Copy, Default)]
struct Started {
    /// Where in the schedule to look for the next one.
    next: usize,
    in_flight: usize,
}

const SENDS: usize = 0;
const RECEIVES: usize = 1;

struct Rank {
    /// For each step, how many of its dependencies are not done.
    waiting: Vec<u32>,
    /// The sends, and the receives.
    started: [Started; 2],
    /// When the processor is free again.
    processor: Time,
    /// To the ranks of its own node.
    link: Link,
    finish: Time,
}

struct Engine<'a, O: Observer> {
    schedules: &'a [Schedule],
    element_bytes: f64,
    profile: &'a Profile,
    observer: &'a mut O,
    ranks: Vec<Rank>,
    /// One for each node, to the other nodes.
    links: Vec<Link>,
    messages: HashMap<MessageId, Message<O::Payload>>,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    planned: u64,
    now: Time,
    message_count: u64,
    message_bytes: f64,
}

impl<'a, O: Observer> Engine<'a, O> {
    fn new(
        schedules: &'a [Schedule],
        element_bytes: usize,
        profile: &'a Profile,
        observer: &'a mut O,
    ) -> Self {
        let rank = |schedule: &Schedule| Rank {
            waiting: (0..schedule.steps().len() as StepId)
                .map(|step| schedule.dependencies(step).len() as u32)
                .collect(),
            started: [Started::default(); 2],
            processor: 0,
            link: Link::default(),
            finish: 0,
        };
        Self {
            schedules,
            element_bytes: element_bytes as f64,
            profile,
            observer,
            ranks: schedules.iter().map(rank).collect(),
            links: vec![Link::default(); schedules.len().div_ceil(profile.ranks_per_node)],
            messages: HashMap::new(),
            events: BinaryHeap::new(),
            planned: 0,
            now: 0,
            message_count: 0,
            message_bytes: 0.0,
        }
    }

    fn plan(&mut self, time: Time, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((time, self.planned, event)));
    }

    /// Starts a reduction or copy whose dependencies are done; leaves messages to [`start_messages`].
    ///
    /// [`start_messages`]: Self::start_messages
    fn start_if_local(&mut self, rank: usize, step: StepId) {
        let (elements, speed) = match self.schedules[rank].steps()[step as usize].action {
            Action::Reduce { into, .. } => (into.len, self.profile.reduce_gb_per_s),
            Action::Copy { into, .. } => (into.len, self.profile.copy_gb_per_s),
            Action::Send { .. } | Action::Receive { .. } => return,
        };
        let end = self.occupy(rank, self.transfer(elements, speed));
        self.plan(end, Event::Done { rank, step });
    }

    /// Starts the sends and receives that are due.
    fn start_messages(&mut self, rank: usize) -> Result<()> {
        while let Some(step) = self.next_due(rank, SENDS) {
            self.start_send(rank, step)?;
        }
        while let Some(step) = self.next_due(rank, RECEIVES) {
            self.start_receive(rank, step)?;
        }
        Ok(())
    }

    /// The next send or receive, in the order of the schedule, if it may start now.
    fn next_due(&mut self, rank: usize, kind: usize) -> Option<StepId> {
        let steps = self.schedules[rank].steps();
        let Rank { waiting, started, .. } = &mut self.ranks[rank];
        let Started { next, in_flight } = &mut started[kind];
        let is_kind = |action: &Action| match action {
            Action::Send { .. } => kind == SENDS,
            Action::Receive { .. } => kind == RECEIVES,
            Action::Reduce { .. } | Action::Copy { .. } => false,
        };
        while *next < steps.len() && !is_kind(&steps[*next].action) {
            *next += 1;
        }
        if *next == steps.len() || waiting[*next] > 0 || *in_flight == self.profile.in_flight {
            return None;
        }
        *next += 1;
        *in_flight += 1;
        Some(*next as StepId - 1)
    }

    fn start_send(&mut self, rank: usize, step: StepId) -> Result<()> {
        let Action::Send { to, slot, span } = self.schedules[rank].steps()[step as usize].action else {
            unreachable!("only sends are started here")
        };
        let payload = self.observer.send(rank, step, span)?;
        let ready = self.occupy(rank, microseconds(self.profile.per_message_us));
        self.message_count += 1;
        self.message_bytes += span.len as f64 * self.element_bytes;
        let id = MessageId { from: rank, to, slot };
        let message = self.messages.entry(id).or_default();
        if message.sent.is_some() {
            return Err(misfit(format!("rank {rank} uses slot {slot} to rank {to} twice")));
        }
        message.sent = Some(Sent { step, elements: span.len, ready, payload });
        let eager = span.len as f64 * self.element_bytes <= self.profile.eager_bytes as f64;
        if eager {
            self.launch(id, ready);
        }
        self.match_up(id)
    }

    fn start_receive(&mut self, rank: usize, step: StepId) -> Result<()> {
        let Action::Receive { from, slot, span } = self.schedules[rank].steps()[step as usize].action else {
            unreachable!("only receives are started here")
        };
        let id = MessageId { from, to: rank, slot };
        let message = self.messages.entry(id).or_default();
        if message.posted.is_some() {
            return Err(misfit(format!("rank {rank} receives slot {slot} from rank {from} twice")));
        }
        message.posted = Some(Posted { step, elements: span.len, time: self.now });
        if message.arrived {
            self.plan_receipt(rank, step);
        }
        self.match_up(id)
    }

    /// When both sides are there: compares their lengths, and launches what waited for its receive.
    fn match_up(&mut self, id: MessageId) -> Result<()> {
        let message = &self.messages[&id];
        let (Some(sent), Some(posted)) = (&message.sent, &message.posted) else { return Ok(()) };
        if sent.elements != posted.elements {
            return Err(misfit(format!(
                "rank {} sends {} elements in slot {}, and rank {} expects {}",
                id.from, sent.elements, id.slot, id.to, posted.elements
            )));
        }
        let start = sent.ready.max(posted.time.saturating_add(self.latency(id)));
        self.launch(id, start);
        Ok(())
    }

    /// Puts a message on its link, unless it is there already.
    fn launch(&mut self, id: MessageId, ready: Time) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        let Some(sent) = message.sent.as_ref().filter(|_| !message.launched) else { return };
        message.launched = true;
        let (step, elements) = (sent.step, sent.elements);
        let duration = self.transfer(elements, self.bandwidth(id));
        let latency = self.latency(id);
        let link = self.link(id, id.from);
        let start = ready.max(link.out);
        link.out = start.saturating_add(duration);
        let end = link.out;
        self.plan(end, Event::Done { rank: id.from, step });
        self.plan(start.saturating_add(latency), Event::FirstByte(id));
    }

    fn first_byte(&mut self, id: MessageId) {
        let elements = self.messages[&id].sent.as_ref().map_or(0, |sent| sent.elements);
        let duration = self.transfer(elements, self.bandwidth(id));
        let now = self.now;
        let link = self.link(id, id.to);
        link.into = now.max(link.into).saturating_add(duration);
        let end = link.into;
        self.plan(end, Event::Arrived(id));
    }

    fn arrived(&mut self, id: MessageId) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        message.arrived = true;
        if let Some(step) = message.posted.as_ref().map(|posted| posted.step) {
            self.plan_receipt(id.to, step);
        }
    }

    fn plan_receipt(&mut self, rank: usize, step: StepId) {
        let end = self.occupy(rank, microseconds(self.profile.per_message_us));
        self.plan(end, Event::Done { rank, step });
    }

    fn done(&mut self, rank: usize, step: StepId) -> Result<()> {
        let schedule = &self.schedules[rank];
        let action = schedule.steps()[step as usize].action;
        let mut payload = None;
        match action {
            Action::Send { .. } => self.ranks[rank].started[SENDS].in_flight -= 1,
            Action::Receive { from, slot, .. } => {
                self.ranks[rank].started[RECEIVES].in_flight -= 1;
                let message = self.messages.remove(&MessageId { from, to: rank, slot });
                payload = message.and_then(|message| message.sent).map(|sent| sent.payload);
            }
            Action::Reduce { .. } | Action::Copy { .. } => {}
        }
        self.observer.complete(rank, step, action, payload)?;
        self.ranks[rank].waiting[step as usize] = DONE;
        self.ranks[rank].finish = self.now;
        for &dependent in schedule.dependents(step) {
            let waiting = &mut self.ranks[rank].waiting[dependent as usize];
            *waiting -= 1;
            if *waiting == 0 {
                self.start_if_local(rank, dependent);
            }
        }
        self.start_messages(rank)
    }

    /// Everything that could happen has happened.
    fn finish(self) -> Result<Prediction> {
        for (rank, state) in self.ranks.iter().enumerate() {
            if let Some(step) = state.waiting.iter().position(|&waiting| waiting != DONE) {
                let action = self.schedules[rank].steps()[step].action;
                return Err(misfit(format!("rank {rank} waits for ever in step {step}, {action:?}")));
            }
        }
        if let Some(MessageId { from, to, slot }) = self.messages.keys().min() {
            return Err(misfit(format!(
                "nobody receives the message from rank {from} to rank {to}, slot {slot}"
            )));
        }
        Ok(Prediction {
            finish: self
                .ranks
                .iter()
                .map(|state| Duration::from_nanos(state.finish.div_ceil(1000)))
                .collect(),
            messages: self.message_count,
            bytes: self.message_bytes as u64,
        })
    }

    /// Takes the rank's processor for `duration` as soon as it is free, and returns when it is done.
    fn occupy(&mut self, rank: usize, duration: Time) -> Time {
        let state = &mut self.ranks[rank];
        state.processor = state.processor.max(self.now).saturating_add(duration);
        state.processor
    }

    fn transfer(&self, elements: usize, gb_per_s: f64) -> Time {
        (elements as f64 * self.element_bytes * 1000.0 / gb_per_s) as Time
    }

    fn is_intra(&self, id: MessageId) -> bool {
        id.from / self.profile.ranks_per_node == id.to / self.profile.ranks_per_node
    }

    fn latency(&self, id: MessageId) -> Time {
        microseconds(if self.is_intra(id) { self.profile.intra_latency_us } else { self.profile.latency_us })
    }

    fn bandwidth(&self, id: MessageId) -> f64 {
        if self.is_intra(id) {
            self.profile.intra_bandwidth_gb_per_s
        } else {
            self.profile.bandwidth_gb_per_s
        }
    }

    /// The link that carries the message at `rank`'s end.
    fn link(&mut self, id: MessageId, rank: usize) -> &mut Link {
        if self.is_intra(id) {
            &mut self.ranks[rank].link
        } else {
            &mut self.links[rank / self.profile.ranks_per_node]
        }
    }
}

impl<P> Default for Message<P> {
    fn default() -> Self {
        Self { sent: None, posted: None, launched: false, arrived: false }
    }
}

fn microseconds(time: f64) -> Time {
    (time * 1e6) as Time
}

fn misfit(why: String) -> Error {
    Error::misuse(
        "cannot run these schedules together",
        why,
        "correct the algorithm that made them, or make all with the same call and options",
    )
}
