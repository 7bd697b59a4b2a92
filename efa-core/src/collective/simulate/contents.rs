//! Whose contributions each element holds.
//!
//! Elements are followed in ranges: a buffer of a gigabyte that was cut in a hundred pieces takes a hundred entries.

use std::ops::Range;
use std::rc::Rc;

use super::engine::Observer;
use crate::collective::ranges::RangeMap;
use crate::collective::schedule::{Action, BufferId, Schedule, Span, StepId};
use crate::collective::{BufferMode, Call, Collective};
use crate::{Error, Result};

/// The ranks that contributed, and how often each: runs of ranks with the same count, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contributors(Vec<(Range<usize>, u32)>);

impl Contributors {
    fn once(ranks: Range<usize>) -> Self {
        Self(vec![(ranks, 1)])
    }

    fn count(&self, rank: usize) -> u32 {
        self.0.iter().find(|(run, _)| run.contains(&rank)).map_or(0, |(_, count)| *count)
    }

    /// True when `next` has each of the ranks that follow this one's once, and there is none but once here.
    fn precedes(&self, next: &Self) -> bool {
        match (&self.0[..], &next.0[..]) {
            ([(run, 1)], [(following, 1)]) => run.end == following.start,
            _ => false,
        }
    }

    /// For every rank, the counts of both combined.
    fn merge(&self, other: &Self, combine: impl Fn(u32, u32) -> u32) -> Self {
        let mut bounds: Vec<usize> =
            self.0.iter().chain(&other.0).flat_map(|(run, _)| [run.start, run.end]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let mut merged: Vec<(Range<usize>, u32)> = Vec::new();
        for bound in bounds.windows(2) {
            let count = combine(self.count(bound[0]), other.count(bound[0]));
            match merged.last_mut() {
                _ if count == 0 => {}
                Some((run, before)) if *before == count && run.end == bound[0] => run.end = bound[1],
                _ => merged.push((bound[0]..bound[1], count)),
            }
        }
        Self(merged)
    }
}

/// What the elements of a range hold: the element at `index` has, from each contributor, element `index + shift` of its
/// contribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    shift: isize,
    contributors: Rc<Contributors>,
    /// Whether the contributors follow one another, and were combined in their order.
    in_order: bool,
}

/// The contents of every buffer of every rank.
pub(super) struct Contents {
    buffers: Vec<[RangeMap<Value>; 3]>,
}

/// Pieces of a span, counted from its beginning.
pub(super) type Pieces = Vec<(Range<usize>, Value)>;

impl Contents {
    /// Every rank has its contribution, and nothing else.
    pub(super) fn new(schedules: &[Schedule]) -> Self {
        let of_rank = |schedule: &Schedule| {
            let mut buffers = [RangeMap::new(), RangeMap::new(), RangeMap::new()];
            let (rank, mine) = (schedule.rank(), schedule.call().contribution());
            let contributors = Rc::new(Contributors::once(rank..rank + 1));
            let value = Value { shift: -(mine.start as isize), contributors, in_order: true };
            buffers[mine.buffer as usize].insert(mine.range(), value);
            buffers
        };
        Self { buffers: schedules.iter().map(of_rank).collect() }
    }

    /// Every rank has what the collective is to leave it with.
    pub(super) fn check(&self, schedules: &[Schedule]) -> Result<()> {
        for (schedule, buffers) in schedules.iter().zip(&self.buffers) {
            let output = &buffers[BufferId::Output as usize];
            let ordered = schedule.call().ordered;
            for (range, expected) in expected(schedules, schedule.call()) {
                let mut next = range.start;
                for (part, value) in output.get(range.clone()) {
                    if ordered && !value.in_order {
                        let what = "contributions that were not combined in the order of the ranks";
                        return Err(wrong(schedule.rank(), &part, what));
                    }
                    let holds =
                        (value.shift, &value.contributors) == (expected.shift, &expected.contributors);
                    if !holds || part.start != next {
                        return Err(wrong(schedule.rank(), &part, &format!("{value:?}, not {expected:?}")));
                    }
                    next = part.end;
                }
                if next != range.end {
                    return Err(wrong(schedule.rank(), &(next..range.end), "nothing"));
                }
            }
        }
        Ok(())
    }

    /// What lies in `span`; an error if part of it was never written.
    fn read(&self, rank: usize, step: StepId, span: Span) -> Result<Pieces> {
        let pieces: Pieces = self.buffers[rank][span.buffer as usize]
            .get(span.range())
            .map(|(range, value)| {
                let shift = value.shift + span.start as isize;
                (range.start - span.start..range.end - span.start, Value { shift, ..value.clone() })
            })
            .collect();
        if pieces.iter().map(|(range, _)| range.len()).sum::<usize>() != span.len {
            let why = format!("step {step} of rank {rank} uses {span:?}, part of which was never written");
            return Err(untrustworthy(why));
        }
        Ok(pieces)
    }

    fn write(&mut self, rank: usize, span: Span, pieces: Pieces) {
        let buffer = &mut self.buffers[rank][span.buffer as usize];
        for (range, value) in pieces {
            let shift = value.shift - span.start as isize;
            buffer.insert(range.start + span.start..range.end + span.start, Value { shift, ..value });
        }
    }

    fn reduce(
        &mut self,
        rank: usize,
        step: StepId,
        source: Pieces,
        into: Span,
        source_first: bool,
    ) -> Result<()> {
        for (range, value) in source {
            let part = Span { start: into.start + range.start, len: range.len(), ..into };
            let mut sums = self.read(rank, step, part)?;
            for (_, sum) in &mut sums {
                // Both are counted from the beginning of the part here.
                if sum.shift != value.shift + range.start as isize {
                    let why = format!(
                        "step {step} of rank {rank} reduces elements of different positions into one"
                    );
                    return Err(untrustworthy(why));
                }
                let (first, second) = if source_first { (&value, &*sum) } else { (&*sum, &value) };
                let follow = first.contributors.precedes(&second.contributors);
                sum.in_order = first.in_order && second.in_order && follow;
                sum.contributors = Rc::new(sum.contributors.merge(&value.contributors, |a, b| a + b));
            }
            self.write(rank, part, sums);
        }
        Ok(())
    }
}

impl Observer for Contents {
    type Payload = Pieces;

    fn send(&mut self, rank: usize, step: StepId, span: Span) -> Result<Pieces> {
        self.read(rank, step, span)
    }

    fn complete(&mut self, rank: usize, step: StepId, action: Action, payload: Option<Pieces>) -> Result<()> {
        match action {
            Action::Send { .. } => {}
            Action::Receive { span, .. } => self.write(rank, span, payload.unwrap_or_default()),
            Action::Copy { source, into } => {
                let pieces = self.read(rank, step, source)?;
                self.write(rank, into, pieces);
            }
            Action::Reduce { source, into, source_first } => {
                let pieces = self.read(rank, step, source)?;
                self.reduce(rank, step, pieces, into, source_first)?;
            }
        }
        Ok(())
    }
}

/// What the ranges of a rank's output are to hold in the end.
fn expected(schedules: &[Schedule], call: &Call) -> Vec<(Range<usize>, Value)> {
    let &Call { collective, rank, size, root, elements, buffer_mode, .. } = call;
    let in_place = buffer_mode == BufferMode::InPlace;
    let value =
        |ranks, shift| Value { shift, contributors: Rc::new(Contributors::once(ranks)), in_order: true };
    // What lies where it was brought to.
    let kept = |ranks: Range<usize>, elements: Range<usize>| {
        let shift = -(elements.start as isize);
        (elements, value(ranks, shift))
    };
    // The own block of a result, which lies at the beginning of the output or where the block belongs.
    let block = |ranks, whole: bool| match (call.block(rank), whole) {
        (block, true) => (block, value(ranks, 0)),
        (block, false) => (0..block.len(), value(ranks, block.start as isize)),
    };
    match collective {
        Collective::Barrier => Vec::new(),
        Collective::Broadcast => vec![(0..elements, value(root..root + 1, 0))],
        Collective::AllReduce => vec![(0..elements, value(0..size, 0))],
        Collective::Reduce if rank == root => vec![(0..elements, value(0..size, 0))],
        Collective::Scan => vec![(0..elements, value(0..rank + 1, 0))],
        Collective::ExclusiveScan if rank > 0 => vec![(0..elements, value(0..rank, 0))],
        // In place the contribution is left as it is.
        Collective::Reduce | Collective::ExclusiveScan if in_place => {
            vec![(0..elements, value(rank..rank + 1, 0))]
        }
        Collective::Gather if rank != root && in_place => {
            vec![(0..call.input_len(), value(rank..rank + 1, 0))]
        }
        Collective::Gather if rank != root => Vec::new(),
        Collective::Gather | Collective::AllGather => {
            (0..size).map(|from| kept(from..from + 1, call.block(from))).collect()
        }
        Collective::Scatter if rank == root && in_place => {
            vec![(0..call.total(), value(rank..rank + 1, 0))]
        }
        Collective::Scatter => vec![block(root..root + 1, false)],
        Collective::ReduceScatter => vec![block(0..size, in_place)],
        Collective::AllToAll => (0..size)
            .map(|from| {
                let (here, there) = (call.result_block(from), schedules[from].call().block(rank));
                let shift = there.start as isize - here.start as isize;
                (here, value(from..from + 1, shift))
            })
            .collect(),
        Collective::Reduce | Collective::ExclusiveScan => Vec::new(),
    }
}

/// For barriers, which move no elements: after each step, the ranks that are known to have come.
pub(super) struct Heard<'a> {
    schedules: &'a [Schedule],
    after: Vec<Vec<Contributors>>,
}

impl<'a> Heard<'a> {
    /// Nothing is done yet.
    pub(super) fn new(schedules: &'a [Schedule]) -> Self {
        let of_rank = |s: &Schedule| vec![Contributors::once(s.rank()..s.rank() + 1); s.steps().len()];
        Self { schedules, after: schedules.iter().map(of_rank).collect() }
    }

    /// Every rank has heard of every other.
    pub(super) fn check(&self) -> Result<()> {
        let everybody = Contributors::once(0..self.schedules.len());
        for (rank, after) in self.after.iter().enumerate() {
            let alone = Contributors::once(rank..rank + 1);
            let heard = after.iter().fold(alone, |heard, step| heard.merge(step, u32::max));
            if heard != everybody {
                let why = format!("rank {rank} may leave the barrier having heard of {:?} only", heard.0);
                return Err(untrustworthy(why));
            }
        }
        Ok(())
    }

    fn before(&self, rank: usize, step: StepId) -> Contributors {
        let alone = Contributors::once(rank..rank + 1);
        let dependencies = self.schedules[rank].dependencies(step).iter();
        dependencies.fold(alone, |heard, &step| heard.merge(&self.after[rank][step as usize], u32::max))
    }
}

impl Observer for Heard<'_> {
    type Payload = Contributors;

    fn send(&mut self, rank: usize, step: StepId, _: Span) -> Result<Contributors> {
        Ok(self.before(rank, step))
    }

    fn complete(
        &mut self,
        rank: usize,
        step: StepId,
        _: Action,
        payload: Option<Contributors>,
    ) -> Result<()> {
        let before = self.before(rank, step);
        self.after[rank][step as usize] = match payload {
            Some(heard) => before.merge(&heard, u32::max),
            None => before,
        };
        Ok(())
    }
}

fn wrong(rank: usize, elements: &Range<usize>, what: &str) -> Error {
    untrustworthy(format!("elements {elements:?} of rank {rank}'s output end with {what}"))
}

fn untrustworthy(why: String) -> Error {
    Error::misuse("cannot trust these schedules", why, "correct the algorithm that made them")
}
