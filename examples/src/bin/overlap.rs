//! Heat spreads along a rod that the ranks share. In each step a rank needs one cell from either neighbour; while these
//! travel it computes all cells that don't need them. A scope lets operations borrow the arrays, and is left only when
//! the device is done with them.
//!
//! ```sh
//! cargo build --release -p efa-examples
//! cargo run --release --bin efa -- run -n 4 -- target/release/overlap
//! ```

use std::process::ExitCode;

use efa_core::collective::ReduceOp;
use efa_core::{Communicator, Endpoint, Result};

/// Cells of the whole rod.
const CELLS: usize = 1 << 18;
const STEPS: usize = 300;
/// Tags say which way a cell travels.
const LEFTWARDS: u32 = 1;
const RIGHTWARDS: u32 = 2;

fn main() -> ExitCode {
    efa_examples::run(diffuse)
}

fn diffuse(world: &Communicator) -> Result<()> {
    let (rank, size) = (world.rank(), world.size());
    let (start, end) = (rank * CELLS / size, (rank + 1) * CELLS / size);
    // One hot cell in the middle, where a border between ranks is if their number is even.
    let mut rod: Vec<f64> = (start..end).map(|cell| if cell == CELLS / 2 { 1e6 } else { 0.0 }).collect();
    let mut next = rod.clone();
    let neighbours = (rank.checked_sub(1), Some(rank + 1).filter(|&right| right < size));

    let mut hidden = 0;
    for _ in 0..STEPS {
        hidden += usize::from(step(world.endpoint(), neighbours, &rod, &mut next)?);
        std::mem::swap(&mut rod, &mut next);
    }

    let mut hottest = [rod.iter().copied().fold(0.0, f64::max)];
    let mut total = [rod.iter().sum::<f64>()];
    world.all_reduce_in_place(&mut hottest, ReduceOp::Max)?;
    world.all_reduce_in_place(&mut total, ReduceOp::Sum)?;
    println!("rank {rank}: the neighbours' cells came during the computation in {hidden} of {STEPS} steps");
    if rank == 0 {
        println!("hottest cell {:.6}, heat in all {:.3}", hottest[0], total[0]);
    }
    Ok(())
}

/// Computes one step, and tells whether communication was over before computation was.
fn step(
    endpoint: &Endpoint,
    (left, right): (Option<usize>, Option<usize>),
    rod: &[f64],
    next: &mut [f64],
) -> Result<bool> {
    let last = rod.len() - 1;
    // At its ends the rod is insulated: as if the next cell had the same heat.
    let (mut before, mut after) = ([rod[0]], [rod[last]]);
    let hidden = endpoint.scope(|scope| -> Result<bool> {
        let (mut receives, mut sends) = (Vec::new(), Vec::new());
        if let Some(left) = left {
            receives.push(scope.recv(left, RIGHTWARDS, &mut before[..]));
            sends.push(scope.send(left, LEFTWARDS, &rod[..1]));
        }
        if let Some(right) = right {
            receives.push(scope.recv(right, LEFTWARDS, &mut after[..]));
            sends.push(scope.send(right, RIGHTWARDS, &rod[last..]));
        }
        for cell in 1..last {
            next[cell] = new_heat(rod[cell - 1], rod[cell], rod[cell + 1]);
        }
        let hidden = receives.iter().all(|receive| receive.is_done());
        for receive in receives {
            receive.wait()?;
        }
        for send in sends {
            send.wait()?;
        }
        Ok(hidden)
    })?;
    next[0] = new_heat(before[0], rod[0], rod[1]);
    next[last] = new_heat(rod[last - 1], rod[last], after[0]);
    Ok(hidden)
}

fn new_heat(left: f64, here: f64, right: f64) -> f64 {
    here + 0.25 * (left - 2.0 * here + right)
}
