//! Every rank writes a row into rank 0's memory, which rank 0 has opened to them. It neither receives nor copies
//! anything: an immediate, a number that each write leaves behind, tells it when all rows are in place.
//!
//! ```sh
//! cargo build --release -p efa-examples
//! cargo run --release --bin efa -- run -n 4 -- target/release/remote_write
//! ```

use std::process::ExitCode;

use efa_core::memory::{Access, RemoteRegion};
use efa_core::{Communicator, Result};

const COLUMNS: usize = 1 << 16;
const REGION: u32 = 1;
/// What a write leaves at its target: any number that both sides know.
const ROW_WRITTEN: u32 = 42;

fn main() -> ExitCode {
    efa_examples::run(|world| {
        efa_examples::needs_two_ranks(world, "remote_write")?;
        match world.rank() {
            0 => collect(world),
            _ => contribute(world),
        }
    })
}

fn collect(world: &Communicator) -> Result<()> {
    let (endpoint, writers) = (world.endpoint(), world.size() - 1);
    let table = endpoint.allocate::<u64>(writers * COLUMNS)?.expose(Access::Write)?;
    // Where the memory is, and the key to it. Nobody can write before they have been told.
    for rank in 1..world.size() {
        endpoint.send_blocking(rank, REGION, &table.remote().to_bytes())?;
    }
    endpoint.wait_for_immediate_data(ROW_WRITTEN, writers as u64)?;

    // Others could still write, so the numbers are copied out; by what the immediates say, they are all there.
    let table = table.to_vec();
    for (row, numbers) in table.chunks(COLUMNS).enumerate() {
        let rank = row as u64 + 1;
        let right =
            numbers.iter().enumerate().filter(|&(column, &value)| value == number(rank, column)).count();
        println!("row of rank {rank}: {right} of {COLUMNS} numbers right");
    }
    Ok(())
}

fn contribute(world: &Communicator) -> Result<()> {
    let endpoint = world.endpoint();
    let mut wire = [0; RemoteRegion::WIRE_SIZE];
    endpoint.recv_blocking(0, REGION, &mut wire)?;
    let table = RemoteRegion::from_bytes(&wire)?;

    let row: Vec<u64> = (0..COLUMNS).map(|column| number(world.rank() as u64, column)).collect();
    let offset = (world.rank() - 1) * size_of_val(&row[..]);
    endpoint.write_immediate_blocking(&table, offset, &row, ROW_WRITTEN)
}

/// Returns what belongs into a column of a rank's row.
fn number(rank: u64, column: usize) -> u64 {
    rank << 32 | column as u64
}
