//! Two ranks send a message to and fro: blocking calls on borrowed memory, and how long one way takes.
//!
//! ```sh
//! cargo build --release -p efa-examples
//! cargo run --release --bin efa -- run -n 2 -- target/release/ping_pong
//! ```

use std::process::ExitCode;
use std::time::Instant;

use efa_core::{Communicator, Result};

/// Both sides must name the same; the receiver picks messages by it.
const TAG: u32 = 1;
const ROUNDS: u32 = 1000;

fn main() -> ExitCode {
    efa_examples::run(|world| {
        efa_examples::needs_two_ranks(world, "ping_pong")?;
        match world.rank() {
            0 => serve(world),
            1 => play_back(world),
            rank => {
                println!("rank {rank} looks on: ping-pong is for two");
                Ok(())
            }
        }
    })
}

fn serve(world: &Communicator) -> Result<()> {
    let endpoint = world.endpoint();
    // 64 bytes; the first number counts the strokes.
    let mut ball = [0u64; 8];
    let start = Instant::now();
    for _ in 0..ROUNDS {
        ball[0] += 1;
        endpoint.send_blocking(1, TAG, &ball)?;
        endpoint.recv_blocking(1, TAG, &mut ball)?;
    }
    let one_way = start.elapsed() / (2 * ROUNDS);
    println!(
        "{} strokes with {} bytes over {}: {:.2} us each",
        ball[0],
        size_of_val(&ball),
        endpoint.provider(),
        one_way.as_secs_f64() * 1e6
    );
    Ok(())
}

fn play_back(world: &Communicator) -> Result<()> {
    let endpoint = world.endpoint();
    let mut ball = [0u64; 8];
    for _ in 0..ROUNDS {
        endpoint.recv_blocking(0, TAG, &mut ball)?;
        ball[0] += 1;
        endpoint.send_blocking(0, TAG, &ball)?;
    }
    Ok(())
}
