//! Every rank has its own gradient, and all get the average: the step of data-parallel training that needs a network.
//!
//! ```sh
//! cargo build --release -p efa-examples
//! cargo run --release --bin efa -- run -n 4 -- target/release/all_reduce
//! ```

use std::process::ExitCode;

use efa_core::collective::{Collective, ReduceOp};
use efa_core::tensor::Element;

fn main() -> ExitCode {
    efa_examples::run(|world| {
        // A small one, where latency counts, and a large one, where bandwidth does: the algorithm is chosen by size.
        for parameters in [16, 1 << 20] {
            let scale = (world.rank() + 1) as f32;
            let mut gradient: Vec<f32> = (0..parameters).map(|i| scale * (i % 1024) as f32).collect();

            world.all_reduce_in_place(&mut gradient, ReduceOp::Average)?;

            // The average of 1, 2, ... n is (n + 1) / 2. These numbers are small enough to be exact.
            let average = (world.size() + 1) as f32 / 2.0;
            let wrong =
                gradient.iter().enumerate().filter(|&(i, &g)| g != average * (i % 1024) as f32).count();
            println!(
                "rank {}: {parameters} parameters averaged over {} ranks by {}, {wrong} wrong",
                world.rank(),
                world.size(),
                world.algorithm(Collective::AllReduce, parameters, f32::DTYPE),
            );
        }
        Ok(())
    })
}
