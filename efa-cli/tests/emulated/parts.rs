//! What the ranks of the jobs do.

use efa_core::collective::ReduceOp;
use efa_core::memory::{Access, RemoteRegion};
use efa_core::{Communicator, Error, Result};

use crate::job::PART;

/// Long enough to go by a read of the sender's memory.
const LARGE: usize = 1 << 20;

/// A rank of the jobs that the other tests start.
#[test]
#[ignore = "runs as a rank of the jobs that the other tests here start"]
fn rank() {
    let Ok(part) = std::env::var(PART) else { return };
    let world = match efa_core::init() {
        Ok(world) => world,
        Err(error) => return tell(&error),
    };
    let result = match part.as_str() {
        "everything" => everything(&world).map(|()| println!("said: all right")),
        "read" => read(&world),
        "across" => across(&world),
        "exchange" => exchange(&world),
        "large" | "large, then close" => large(&world),
        other => panic!("there is no part '{other}'"),
    };
    match result {
        Ok(()) => world.finish().expect("all ranks leave"),
        Err(error) => {
            tell(&error);
            if part == "large, then close" {
                drop(world);
                println!("said: closed");
            }
            // As a program does that gives up: nothing is closed, and the others find out.
            std::process::exit(1);
        }
    }
}

/// Says which kind of error it was, whom it names, and its text.
fn tell(error: &Error) {
    let kind = match error {
        Error::Operation { .. } => "Operation",
        Error::PeerLost { .. } => "PeerLost",
        Error::Closed(_) => "Closed",
        Error::Refused { .. } => "Refused",
        Error::Aborted { .. } => "Aborted",
        Error::Timeout { .. } => "Timeout",
        _ => "other",
    };
    println!("said: {kind} {:?} {error}", error.peer().map(|peer| peer.rank));
}

/// All verbs, with contents that are checked.
fn everything(world: &Communicator) -> Result<()> {
    let (me, size) = (world.rank(), world.size());
    for round in 0..20 {
        let mut data: Vec<u64> = (0..3000).map(|index| index * (me as u64 + 1) + round).collect();
        world.all_reduce_in_place(&mut data, ReduceOp::Sum)?;
        let ranks = size as u64;
        let expected = |index: u64| index * ranks * (ranks + 1) / 2 + round * ranks;
        assert!(data.iter().enumerate().all(|(index, value)| *value == expected(index as u64)));
    }
    let endpoint = world.endpoint();
    let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
    for (round, len) in [1usize, 100, 5000, 60_000, LARGE].into_iter().cycle().take(25).enumerate() {
        let send = endpoint.send(next, 1u32, vec![(me + round) as u8; len]);
        let mut got = vec![0u8; len];
        endpoint.recv_blocking(previous, 1u32, &mut got)?;
        assert!(got.iter().all(|byte| *byte == (previous + round) as u8), "{len} bytes in round {round}");
        send.wait().0?;
    }
    let region = endpoint.allocate::<u8>(LARGE)?.expose(Access::ReadWrite)?;
    let theirs = swap(world, &region.remote())?;
    for round in 1..=10u8 {
        endpoint.write_immediate(&theirs, 0, vec![round; LARGE], u32::from(round)).wait().0?;
        endpoint.wait_immediates(u32::from(round), 1)?;
        assert!(region.to_vec().iter().all(|byte| *byte == round), "an immediate came before its bytes");
        let mut back = vec![0u8; LARGE];
        endpoint.read_blocking(&theirs, 0, &mut back)?;
        assert!(back.iter().all(|byte| *byte == round));
        world.barrier()?;
    }
    Ok(())
}

/// Gives its region to the rank before it and gets that of the rank after it.
fn swap(world: &Communicator, mine: &RemoteRegion) -> Result<RemoteRegion> {
    let (me, size) = (world.rank(), world.size());
    let mut wire = [0; RemoteRegion::WIRE_SIZE];
    let send = world.endpoint().send((me + size - 1) % size, 2u32, mine.to_bytes().to_vec());
    world.endpoint().recv_blocking((me + 1) % size, 2u32, &mut wire)?;
    send.wait().0?;
    RemoteRegion::from_bytes(&wire)
}

/// Rank 0 reads rank 1's memory.
fn read(world: &Communicator) -> Result<()> {
    let region = world.endpoint().allocate::<u8>(LARGE)?.expose(Access::Read)?;
    let theirs = swap(world, &region.remote())?;
    if world.rank() == 0 {
        world.endpoint().read_blocking(&theirs, 0, &mut vec![1u8; 5000])?;
    }
    world.barrier()
}

/// Rank 0 sends to rank 2, which is not its neighbour in the ring that a job tries when it starts.
fn across(world: &Communicator) -> Result<()> {
    match world.rank() {
        0 => world.endpoint().send_blocking(2, 1u32, &[1u8; 20_000]),
        2 => world.endpoint().recv_blocking(0, 1u32, &mut [0u8; 20_000]).map(drop),
        _ => Ok(()),
    }
}

/// Small messages to and fro, many.
fn exchange(world: &Communicator) -> Result<()> {
    let peer = 1 - world.rank();
    for _ in 0..2000 {
        let send = world.endpoint().send(peer, 1u32, vec![1u8; 300]);
        world.endpoint().recv_blocking(peer, 1u32, &mut [0u8; 300])?;
        send.wait().0?;
    }
    Ok(())
}

/// Rank 0 sends large messages to rank 1.
fn large(world: &Communicator) -> Result<()> {
    let mut data = vec![world.rank() as u8; 2 * LARGE];
    for _ in 0..50 {
        match world.rank() {
            0 => world.endpoint().send_blocking(1, 1u32, &data)?,
            _ => world.endpoint().recv_blocking(0, 1u32, &mut data).map(drop)?,
        }
    }
    Ok(())
}
