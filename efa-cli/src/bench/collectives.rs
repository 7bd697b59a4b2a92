//! All-reduce, broadcast and barrier, among all ranks.

use std::time::{Duration, Instant};

use efa_core::collective::{Options, ReduceOp};
use efa_core::tensor::{DType, bf16, f16};
use efa_core::{Communicator, Error, Result};

use super::case::Case;
use super::counts::Counts;
use super::options::Plan;
use super::point_to_point::microseconds;
use super::sample::{self, Sample};

/// How long a rank waits for the others' counts of wrong elements.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was found of a collective at one size.
#[derive(Debug)]
pub(super) struct Run {
    /// Microseconds of each iteration, at its slowest rank.
    pub(super) times: Vec<f64>,
    /// Wrong elements of the results, over all ranks.
    pub(super) wrong: u64,
}

/// Where the result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    OutOfPlace,
    InPlace,
}

/// Times barriers.
pub(super) fn barrier(world: &Communicator, counts: Counts) -> Result<Run> {
    let times = timed(counts, || world.barrier())?;
    Ok(Run { times: slowest(world, times)?, wrong: 0 })
}

/// Times a collective over `elements` and checks `rounds` results.
pub(super) fn measure(
    world: &mut Communicator,
    plan: &Plan,
    elements: usize,
    counts: Counts,
    place: Place,
    rounds: u64,
) -> Result<Run> {
    // The algorithm is for the collective that is measured; those that help to measure it have none of that name.
    world.set_options(Options { algorithm: plan.algorithm, ..Options::default() });
    let run = Sized { world, plan, elements, counts, place, rounds }.run_typed();
    world.set_options(Options::default());
    let Run { times, wrong } = run?;
    Ok(Run { times: slowest(world, times)?, wrong: total(world, wrong)? })
}

struct Sized<'a> {
    world: &'a Communicator,
    plan: &'a Plan,
    elements: usize,
    counts: Counts,
    place: Place,
    rounds: u64,
}

impl Sized<'_> {
    fn run_typed(&self) -> Result<Run> {
        match self.plan.dtype {
            DType::F16 => self.run::<f16>(),
            DType::Bf16 => self.run::<bf16>(),
            DType::F32 => self.run::<f32>(),
            DType::F64 => self.run::<f64>(),
            DType::I8 => self.run::<i8>(),
            DType::I16 => self.run::<i16>(),
            DType::I32 => self.run::<i32>(),
            DType::I64 => self.run::<i64>(),
            DType::U8 => self.run::<u8>(),
            DType::U16 => self.run::<u16>(),
            DType::U32 => self.run::<u32>(),
            DType::U64 => self.run::<u64>(),
        }
    }

    /// Measures at this rank: returns its own times and wrong elements.
    fn run<T: Sample>(&self) -> Result<Run> {
        let mut input = vec![T::of(0); if self.place == Place::InPlace { 0 } else { self.elements }];
        let mut output = vec![T::of(0); self.elements];
        let times = timed(self.counts, || self.call(&input, &mut output))?;
        let mut wrong = 0;
        for round in 0..self.rounds {
            self.prepare(&mut input, &mut output, round as usize);
            self.call(&input, &mut output)?;
            wrong += self.wrong(&output, round as usize);
        }
        Ok(Run { times, wrong })
    }

    fn call<T: Sample>(&self, input: &[T], output: &mut [T]) -> Result<()> {
        match (self.plan.case, self.place) {
            (Case::AllReduce, Place::OutOfPlace) => self.world.all_reduce(input, output, self.plan.op),
            (Case::AllReduce, Place::InPlace) => self.world.all_reduce_in_place(output, self.plan.op),
            (Case::Broadcast, _) => self.world.broadcast(output, 0),
            (other, _) => Err(Error::misuse(
                format!("cannot measure {other} as a collective over elements"),
                "it is not one",
                "measure it as what it is",
            )),
        }
    }

    /// Puts known numbers where the collective reads, and wrong ones where it writes.
    fn prepare<T: Sample>(&self, input: &mut [T], output: &mut [T], round: usize) {
        let (rank, ranks, op) = (self.world.rank(), self.world.size(), self.plan.op);
        output.fill(T::of(100));
        let reads_output = self.place == Place::InPlace || self.plan.case == Case::Broadcast;
        let target = if reads_output { output } else { input };
        for (index, element) in target.iter_mut().enumerate() {
            match self.plan.case {
                Case::Broadcast if rank == 0 => {
                    *element = sample::output(ReduceOp::Sum, index + round, ranks)
                }
                Case::Broadcast => {}
                _ => *element = sample::input(op, index + round, rank, ranks),
            }
        }
    }

    fn wrong<T: Sample>(&self, output: &[T], round: usize) -> u64 {
        let (ranks, op) = (self.world.size(), self.plan.op);
        let is_wrong = |&(index, element): &(usize, &T)| *element != sample::output(op, index + round, ranks);
        output.iter().enumerate().filter(is_wrong).count() as u64
    }
}

/// Times each call, in microseconds.
fn timed(counts: Counts, mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    for _ in 0..counts.warmup {
        call()?;
    }
    let mut times = Vec::with_capacity(counts.iterations as usize);
    for _ in 0..counts.iterations {
        let start = Instant::now();
        call()?;
        times.push(microseconds(start));
    }
    Ok(times)
}

/// Returns the time of the slowest rank in each iteration.
fn slowest(world: &Communicator, mut times: Vec<f64>) -> Result<Vec<f64>> {
    world.all_reduce_in_place(&mut times, ReduceOp::Max)?;
    Ok(times)
}

/// Returns the sum of a count over all ranks, by way of the control connection: the collectives are what is in
/// question.
fn total(world: &Communicator, count: u64) -> Result<u64> {
    let counts = world.control().exchange("wrong elements", &count.to_le_bytes(), PATIENCE)?;
    let read = |bytes: &Vec<u8>| bytes.as_slice().try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
    Ok(counts.iter().map(read).fold(0, u64::saturating_add))
}
