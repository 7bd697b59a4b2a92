//! Collectives with results that every rank can compute by itself.

use efa_core::collective::ReduceOp;

use super::{Rank, Stop};
use crate::random::Random;

/// Most elements of 8 bytes.
const MOST: usize = 1 << 20;

/// Does one step: a few collectives.
pub(super) fn step(rank: &Rank, step: usize, random: &mut Random) -> Result<(), Stop> {
    for turn in 0..random.between(1, 4) {
        let number = (step << 8 | turn) as u64;
        let count = random.size(8 * MOST) / 8;
        match random.below(5) {
            0 => rank.world.barrier()?,
            1 => {
                let root = random.below(rank.plan.ranks);
                let mut data = match rank.me == root {
                    true => elements(rank, root, number, count),
                    false => vec![0; count],
                };
                rank.world.broadcast(&mut data, root)?;
                compare("broadcast", &data, |index| element(rank, root, number, index))?;
            }
            2 => {
                let mut data = elements(rank, rank.me, number, count);
                rank.world.all_reduce_in_place(&mut data, ReduceOp::Sum)?;
                compare("all-reduce", &data, |index| sum(rank, number, index))?;
            }
            3 => {
                let count = count / rank.plan.ranks;
                let input = elements(rank, rank.me, number, count);
                let mut output = vec![0; count * rank.plan.ranks];
                rank.world.all_gather(&input, &mut output)?;
                compare("all-gather", &output, |index| {
                    element(rank, index / count.max(1), number, index % count.max(1))
                })?;
            }
            _ => {
                let count = count / rank.plan.ranks;
                let input = elements(rank, rank.me, number, count * rank.plan.ranks);
                let mut output = vec![0; count];
                rank.world.reduce_scatter(&input, &mut output, ReduceOp::Sum)?;
                compare("reduce-scatter", &output, |index| sum(rank, number, rank.me * count + index))?;
            }
        }
    }
    Ok(())
}

fn element(rank: &Rank, of: usize, number: u64, index: usize) -> u64 {
    // Small enough that a sum over the ranks does not overflow.
    let mixed = (rank.plan.seed ^ number << 20 ^ (of as u64) << 50 ^ index as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 16
}

fn elements(rank: &Rank, of: usize, number: u64, count: usize) -> Vec<u64> {
    (0..count).map(|index| element(rank, of, number, index)).collect()
}

fn sum(rank: &Rank, number: u64, index: usize) -> u64 {
    (0..rank.plan.ranks).map(|of| element(rank, of, number, index)).sum()
}

fn compare(what: &str, got: &[u64], expected: impl Fn(usize) -> u64) -> Result<(), Stop> {
    match got.iter().enumerate().find(|&(index, &value)| value != expected(index)) {
        None => Ok(()),
        Some((index, value)) => Err(Stop::Wrong(format!(
            "{what}: element {index} of {} is {value:#x}, not {:#x}",
            got.len(),
            expected(index)
        ))),
    }
}
