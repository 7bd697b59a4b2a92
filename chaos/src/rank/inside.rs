//! Faults that a rank brings about itself.

use std::process;
use std::thread::sleep;
use std::time::Duration;

use efa_core::collective::ReduceOp;
use efa_core::{Error, Source};

use super::remote::Board;
use super::{Rank, Stop};
use crate::plan::{Fault, Phase};
use crate::random::Random;
use crate::report::Event;

/// No message of the workload has this tag.
const TAG: u32 = u32::MAX;
/// The exit status of a rank that leaves early and says that it failed.
pub(crate) const EARLY: i32 = 3;

/// Brings about the plan's fault at the step where it is due. Returns `true` if the workload goes on.
pub(super) fn bring_about(rank: &Rank, step: usize, board: Option<&mut Board>) -> Result<bool, Stop> {
    let mut own = rank.plan.random(1 << 32 | rank.me as u64);
    match rank.plan.fault {
        Fault::ShortReceive if rank.plan.phase == Phase::Collectives => {
            short_collective(rank).map(|()| false)
        }
        Fault::ShortReceive => short_receive(rank).map(|()| false),
        Fault::ClosedRegion => {
            let Some(board) = board else { return Ok(true) };
            closed_region(rank, &mut own, board).map(|()| false)
        }
        _ if !rank.is_victim() => Ok(true),
        Fault::ShortTimeout => {
            rank.report.say(Event::Fault, "computes");
            sleep(rank.plan.timeout * 2 + Duration::from_millis(200));
            Ok(true)
        }
        Fault::EarlyExit => {
            start_some(rank, &mut own);
            rank.report.say(Event::Fault, "exits");
            // Nothing is closed, and nobody is told.
            process::exit(own.pick(&[0, EARLY]));
        }
        Fault::Panic => {
            rank.report.say(Event::Fault, "panics");
            let text = format!("the plan wants it at step {step}");
            if own.chance(50) {
                panic!("{text}");
            }
            let mut memory = [0u8; 100];
            rank.world.endpoint().scope(|scope| -> Result<bool, Stop> {
                let _receive = scope.recv(Source::Any, TAG, &mut memory[..]);
                panic!("{text}, in a scope");
            })
        }
        _ => Ok(true),
    }
}

/// Starts operations that nobody waits for.
fn start_some(rank: &Rank, own: &mut Random) {
    let endpoint = rank.world.endpoint();
    let to = own.below(rank.plan.ranks);
    let kept = (
        endpoint.recv(Source::Any, TAG, vec![0u8; 1000]),
        endpoint.send(to, TAG, vec![1u8; own.size(1 << 20)]),
    );
    std::mem::forget(kept);
}

/// Lets the victim receive a message that is longer than its buffer.
fn short_receive(rank: &Rank) -> Result<(), Stop> {
    let mut shared = rank.plan.random(1 << 33);
    let sender = (rank.plan.victim + 1) % rank.plan.ranks;
    let size = shared.size(2 << 20).max(2);
    let capacity = shared.below(size);
    let endpoint = rank.world.endpoint();
    if rank.me == sender {
        let mut message = vec![0; size];
        rank.payload(rank.me, u64::from(TAG)).fill(&mut message);
        endpoint.send_blocking(rank.plan.victim, TAG, &message)?;
    }
    if rank.is_victim() {
        if shared.chance(50) {
            sleep(Duration::from_millis(10));
        }
        rank.report.say(Event::Fault, &format!("{size} bytes into {capacity}"));
        return match endpoint.recv_blocking(sender, TAG, &mut vec![0u8; capacity]) {
            Ok(completion) => Err(Stop::Wrong(format!("{size} bytes into {capacity}: {completion:?}"))),
            Err(error @ Error::Truncated { .. }) => Err(error.into()),
            Err(error) => Err(Stop::Wrong(format!("{size} bytes into {capacity} was told as: {error}"))),
        };
    }
    Ok(())
}

/// Lets the victim call an all-reduce of half as many elements.
fn short_collective(rank: &Rank) -> Result<(), Stop> {
    let mut shared = rank.plan.random(1 << 33);
    let count = shared.size(4 << 20).max(16) / 8;
    let count = if rank.is_victim() { count / 2 } else { count };
    if rank.is_victim() {
        rank.report.say(Event::Fault, "half the elements");
    }
    Ok(rank.world.all_reduce_in_place(&mut vec![1u64; count], ReduceOp::Sum)?)
}

/// Lets the victim close its regions while the others read and write them.
fn closed_region(rank: &Rank, own: &mut Random, board: &mut Board) -> Result<(), Stop> {
    if !rank.is_victim() {
        return board.bother(rank, rank.plan.victim, own, 300);
    }
    // The owner has to make progress for the others meanwhile; the library's thread sees to that.
    sleep(Duration::from_micros(own.below(30_000) as u64));
    rank.report.say(Event::Fault, "closes its regions");
    board.close();
    sleep(Duration::from_micros(own.below(30_000) as u64));
    Ok(())
}
