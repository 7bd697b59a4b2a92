//! Remote writes and reads: the first rank of a pair acts, the second owns the memory.

use std::time::Instant;

use efa_core::Result;
use efa_core::memory::{Access, Region, RemoteRegion};

use super::counts::{Counts, FEWEST};
use super::pair::Pair;
use super::pattern;
use super::point_to_point::{answer, microseconds};

/// Tag of the messages that tell where the memory is and that it is no longer needed.
const CONTROL: u32 = 3;

/// What is done to the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Write,
    Read,
}

/// What was found at one size, at the first rank; the other rank has nothing to tell.
#[derive(Debug, Default)]
pub(super) struct Remote {
    /// Microseconds of each operation, one at a time.
    pub(super) times: Vec<f64>,
    /// Operations per second with a window of them in flight.
    pub(super) rate: f64,
    /// Bytes that were not what they should be.
    pub(super) wrong: u64,
}

/// Times single operations, then windows of them, then checks `rounds` operations byte for byte.
pub(super) fn measure(
    pair: &Pair<'_>,
    verb: Verb,
    size: usize,
    single: Counts,
    windows: Counts,
    rounds: u64,
) -> Result<Remote> {
    if pair.side == 1 {
        serve(pair, verb, size, rounds)?;
        return Ok(Remote::default());
    }
    let mut place = [0; RemoteRegion::WIRE_SIZE];
    pair.recv_blocking(pair.peer, CONTROL, &mut place)?;
    let mut actor = Actor {
        pair,
        verb,
        region: RemoteRegion::from_bytes(&place)?,
        buffers: vec![0; size * windows.window as usize],
        size,
    };
    let times = actor.one_by_one(single)?;
    let rate = actor.rate(Counts { time: single.time, ..windows })?;
    tell(pair)?;
    let mut wrong = 0;
    for round in 0..rounds {
        wrong += actor.check(round)?;
    }
    // The memory may go now.
    tell(pair)?;
    Ok(Remote { times, rate, wrong })
}

/// Lends the second rank's memory, and looks after what was written or is to be read.
fn serve(pair: &Pair<'_>, verb: Verb, size: usize, rounds: u64) -> Result<()> {
    let region: Region<u8> = pair.allocate(size)?.expose(Access::ReadWrite)?;
    pair.send_blocking(pair.peer, CONTROL, &region.remote().to_bytes())?;
    hear(pair)?;
    let mut copy = vec![0; size];
    for round in 0..rounds {
        match verb {
            Verb::Write => {
                hear(pair)?;
                region.copy_out(0, &mut copy)?;
                answer(pair, pattern::wrong(&copy, round))?;
            }
            Verb::Read => {
                pattern::fill(&mut copy, round);
                region.copy_in(0, &copy)?;
                answer(pair, 0)?;
                hear(pair)?;
            }
        }
    }
    hear(pair)
}

/// The first rank: reads and writes the other's memory.
struct Actor<'a> {
    pair: &'a Pair<'a>,
    verb: Verb,
    region: RemoteRegion,
    /// Memory for a window of operations.
    buffers: Vec<u8>,
    size: usize,
}

impl Actor<'_> {
    fn one_by_one(&mut self, counts: Counts) -> Result<Vec<f64>> {
        repeat(counts.warmup, &counts, || self.once())?;
        let mut times = Vec::with_capacity(counts.iterations as usize);
        repeat(counts.iterations, &counts, || {
            let start = Instant::now();
            self.once()?;
            times.push(microseconds(start));
            Ok(())
        })?;
        Ok(times)
    }

    fn rate(&mut self, counts: Counts) -> Result<f64> {
        repeat(counts.warmup, &counts, || self.window())?;
        let start = Instant::now();
        let done = repeat(counts.iterations, &counts, || self.window())?;
        Ok((counts.window * done) as f64 / start.elapsed().as_secs_f64())
    }

    fn once(&mut self) -> Result<()> {
        let buffer = &mut self.buffers[..self.size];
        match self.verb {
            Verb::Write => self.pair.write_blocking(&self.region, 0, buffer),
            Verb::Read => self.pair.read_blocking(&self.region, 0, buffer),
        }
    }

    fn window(&mut self) -> Result<()> {
        let (verb, region) = (self.verb, self.region);
        let buffers = &mut self.buffers;
        let size = self.size;
        self.pair.scope(|scope| {
            let operations: Vec<_> = buffers
                .chunks_exact_mut(size)
                .map(|buffer| match verb {
                    Verb::Write => scope.write(&region, 0, buffer),
                    Verb::Read => scope.read(&region, 0, buffer),
                })
                .collect();
            for operation in operations {
                operation.wait()?;
            }
            Ok(())
        })
    }

    fn check(&mut self, round: u64) -> Result<u64> {
        match self.verb {
            Verb::Write => {
                pattern::fill(&mut self.buffers[..self.size], round);
                self.once()?;
                tell(self.pair)?;
                answer(self.pair, 0)
            }
            Verb::Read => {
                answer(self.pair, 0)?;
                self.buffers.fill(0);
                self.once()?;
                tell(self.pair)?;
                Ok(pattern::wrong(&self.buffers[..self.size], round))
            }
        }
    }
}

/// Does something `times` times, or fewer if the time for it is over. Returns how often.
fn repeat(times: u64, counts: &Counts, mut what: impl FnMut() -> Result<()>) -> Result<u64> {
    let begun = Instant::now();
    for done in 0..times {
        if done >= FEWEST && counts.time.is_some_and(|limit| begun.elapsed() >= limit) {
            return Ok(done);
        }
        what()?;
    }
    Ok(times)
}

fn tell(pair: &Pair<'_>) -> Result<()> {
    pair.send_blocking(pair.peer, CONTROL, &[0u8])
}

fn hear(pair: &Pair<'_>) -> Result<()> {
    pair.recv_blocking(pair.peer, CONTROL, &mut [0u8]).map(drop)
}
