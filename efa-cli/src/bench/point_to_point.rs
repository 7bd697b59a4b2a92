//! Tagged messages between two ranks: latency, bandwidth, both ways, message rate.

use std::time::Instant;

use efa_core::Result;

use super::counts::Counts;
use super::pair::Pair;
use super::pattern;

/// Tag of the messages that are measured.
const DATA: u32 = 1;
/// Tag of the answers that end a window or a check.
const ANSWER: u32 = 2;

/// Which ways data flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// From the first rank of the pair to the second.
    OneWay,
    /// Both ways at once.
    BothWays,
}

/// Plays ping-pong. At the first rank gives the time of each message one way, in microseconds: half the round trip.
pub(super) fn latency(pair: &Pair<'_>, size: usize, counts: Counts) -> Result<Vec<f64>> {
    let peer = pair.peer;
    let ping = pair.allocate::<u8>(size)?;
    let mut pong = pair.allocate::<u8>(size)?;
    if pair.side == 1 {
        for _ in 0..counts.warmup + counts.iterations {
            pair.recv_blocking(peer, DATA, &mut pong)?;
            pair.send_blocking(peer, DATA, &ping)?;
        }
        return Ok(Vec::new());
    }
    let mut times = Vec::with_capacity(counts.iterations as usize);
    // Read once a round trip: the end of one is the start of the next.
    let mut start = Instant::now();
    for iteration in 0..counts.warmup + counts.iterations {
        pair.send_blocking(peer, DATA, &ping)?;
        pair.recv_blocking(peer, DATA, &mut pong)?;
        let end = Instant::now();
        if iteration >= counts.warmup {
            times.push(end.duration_since(start).as_nanos() as f64 / 2000.0);
        }
        start = end;
    }
    Ok(times)
}

/// Sends windows of messages; after each the receiver answers. Gives the messages per second at the first rank, those of both
/// ways together.
pub(super) fn rate(pair: &Pair<'_>, size: usize, counts: Counts, flow: Flow) -> Result<f64> {
    let data = pair.allocate::<u8>(size * counts.window as usize)?;
    let mut room = pair.allocate::<u8>(size * counts.window as usize)?;
    let mut lane = Lane { pair, data: &data, room: &mut room, size, window: counts.window as usize };
    lane.windows(counts.warmup, flow)?;
    let start = Instant::now();
    lane.windows(counts.iterations, flow)?;
    let ways = if flow == Flow::BothWays { 2 } else { 1 };
    let messages = ways * counts.window * counts.iterations;
    Ok(messages as f64 / start.elapsed().as_secs_f64())
}

/// Sends messages there and back and checks them byte for byte. Gives how many bytes were wrong at both ends, at
/// the first rank.
pub(super) fn check(pair: &Pair<'_>, size: usize, rounds: u64) -> Result<u64> {
    let peer = pair.peer;
    let mut buffer = pair.allocate::<u8>(size)?;
    let mut wrong = 0;
    for round in 0..rounds {
        if pair.side == 0 {
            pattern::fill(&mut buffer, round);
            pair.send_blocking(peer, DATA, &buffer)?;
            buffer.fill(0);
            pair.recv_blocking(peer, DATA, &mut buffer)?;
            wrong += pattern::wrong(&buffer, !round);
        } else {
            buffer.fill(0);
            pair.recv_blocking(peer, DATA, &mut buffer)?;
            wrong += pattern::wrong(&buffer, round);
            pattern::fill(&mut buffer, !round);
            pair.send_blocking(peer, DATA, &buffer)?;
        }
    }
    Ok(wrong + answer(pair, wrong)?)
}

/// Tells the first rank a number of the second's; the second gets 0.
pub(super) fn answer(pair: &Pair<'_>, number: u64) -> Result<u64> {
    if pair.side == 1 {
        pair.send_blocking(pair.peer, ANSWER, &[number])?;
        return Ok(0);
    }
    let mut theirs = [0u64];
    pair.recv_blocking(pair.peer, ANSWER, &mut theirs)?;
    Ok(theirs[0])
}

/// One end of a stream of windows.
struct Lane<'a> {
    pair: &'a Pair<'a>,
    /// What a window of messages carries: each has a buffer of its own, as in fabtests.
    data: &'a [u8],
    /// Room for a window of messages.
    room: &'a mut [u8],
    size: usize,
    window: usize,
}

impl Lane<'_> {
    fn windows(&mut self, count: u64, flow: Flow) -> Result<()> {
        let sends = flow == Flow::BothWays || self.pair.side == 0;
        let receives = flow == Flow::BothWays || self.pair.side == 1;
        for _ in 0..count {
            self.window(sends, receives)?;
            answer(self.pair, 0)?;
        }
        Ok(())
    }

    fn window(&mut self, sends: bool, receives: bool) -> Result<()> {
        let (pair, data, size) = (self.pair, self.data, self.size);
        let peer = pair.peer;
        let window = self.window;
        // Messages of no bytes have room of no bytes.
        let mut room = self.room.chunks_exact_mut(size.max(1));
        let mut data = data.chunks_exact(size.max(1));
        pair.scope(|scope| {
            let mut receiving = Vec::with_capacity(if receives { window } else { 0 });
            for _ in 0..receiving.capacity().min(window) {
                let room: &mut [u8] = room.next().unwrap_or_default();
                receiving.push(scope.recv(peer, DATA, room));
            }
            let mut sending = Vec::with_capacity(if sends { window } else { 0 });
            for _ in 0..sending.capacity().min(window) {
                sending.push(scope.send(peer, DATA, data.next().unwrap_or_default()));
            }
            for operation in sending {
                operation.wait()?;
            }
            for operation in receiving {
                operation.wait()?;
            }
            Ok(())
        })
    }
}

/// Returns microseconds since `start`.
pub(super) fn microseconds(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / 1000.0
}
