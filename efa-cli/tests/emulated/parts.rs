//! What the ranks of the jobs do.

use efa_core::collective::ReduceOp;
use efa_core::memory::{Access, MappedFile, RemoteRegion};
use efa_core::{Communicator, Error, Result};

use crate::job::{DEATH, PART};

/// Long enough to go by a read of the sender's memory.
const LARGE: usize = 1 << 20;

/// Length of a message that goes to an empty buffer.
const TOO_LONG_FOR_NONE: usize = 2 * LARGE;

/// A rank of the jobs that the other tests start.
#[test]
#[ignore = "runs as a rank of the jobs that the other tests here start"]
fn rank() {
    let Ok(part) = std::env::var(PART) else { return };
    let world = match efa_core::init() {
        Ok(world) => world,
        Err(error) => return tell(&error),
    };
    die_later(world.rank());
    let result = match part.as_str() {
        "everything" => everything(&world).map(|()| println!("said: all right")),
        "read" => read(&world),
        "across" => across(&world, 20_000),
        "across, then close" => across(&world, 20_000),
        "across, short" => across(&world, 1000),
        "exchange" => exchange(&world),
        "large" | "large, then close" => large(&world),
        "ring" => ring(&world),
        "to the dead" => to_the_dead(&world),
        "too long" => too_long(&world, &[2000, 100_000]),
        "too long by far" => too_long(&world, &[LARGE, 10 * LARGE, TOO_LONG_FOR_NONE, 10_000_000]),
        "constant" => constant(&world).map(|()| println!("said: all right")),
        part if part.starts_with("closed region, ") => closed_region(&world, &part[15..]),
        other => panic!("there is no part '{other}'"),
    };
    match result {
        // Where the provider never answers, an operation on a closed region ends by closing the endpoint, and a job
        // with a closed endpoint does not finish in good order.
        Ok(()) if part.starts_with("closed region, ") => drop(world.finish()),
        Ok(()) => world.finish().expect("all ranks leave"),
        Err(error) => {
            tell(&error);
            if matches!(part.as_str(), "large, then close" | "across, then close" | "ring") {
                drop(world);
                println!("said: closed");
            }
            // As a program does that gives up: nothing is closed, and the others find out.
            std::process::exit(1);
        }
    }
}

/// Kills this process out of the blue, wherever it is then, if it is the rank that the test names.
fn die_later(rank: usize) {
    let Ok(text) = std::env::var(DEATH) else { return };
    let (who, when) = text.split_once('@').expect("a rank and milliseconds");
    if who.parse() == Ok(rank) {
        let pause = std::time::Duration::from_millis(when.parse().expect("milliseconds"));
        std::thread::spawn(move || {
            std::thread::sleep(pause);
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        });
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
        Error::Truncated { .. } => "Truncated",
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
        send.wait()?;
    }
    let region = endpoint.allocate::<u8>(LARGE)?.expose(Access::ReadWrite)?;
    let theirs = swap(world, &region.remote())?;
    for round in 1..=10u8 {
        endpoint.write_immediate(&theirs, 0, vec![round; LARGE], u32::from(round)).wait()?;
        endpoint.wait_for_immediate_data(u32::from(round), 1)?;
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
    send.wait()?;
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
fn across(world: &Communicator, len: usize) -> Result<()> {
    match world.rank() {
        0 => world.endpoint().send_blocking(2, 1u32, &vec![1u8; len]),
        2 => world.endpoint().recv_blocking(0, 1u32, &mut vec![0u8; len]).map(drop),
        _ => Ok(()),
    }
}

/// Small messages to and fro, many.
fn exchange(world: &Communicator) -> Result<()> {
    let peer = 1 - world.rank();
    for _ in 0..2000 {
        let send = world.endpoint().send(peer, 1u32, vec![1u8; 300]);
        world.endpoint().recv_blocking(peer, 1u32, &mut [0u8; 300])?;
        send.wait()?;
    }
    Ok(())
}

/// Rank 0 sends large messages to rank 1.
fn large(world: &Communicator) -> Result<()> {
    let mut data = vec![world.rank() as u8; 2 * LARGE];
    for _ in 0..400 {
        match world.rank() {
            0 => world.endpoint().send_blocking(1, 1u32, &data)?,
            _ => world.endpoint().recv_blocking(0, 1u32, &mut data).map(drop)?,
        }
    }
    Ok(())
}

/// All-reduces of a size that goes around the ring in large pieces.
fn ring(world: &Communicator) -> Result<()> {
    let mut data = vec![world.rank() as f32; 8 << 20];
    for _ in 0..500 {
        world.all_reduce_in_place(&mut data, ReduceOp::Average)?;
    }
    Ok(())
}

/// Rank 0 sends messages that are longer than what rank 1 receives into. After each the two go on as before.
fn too_long(world: &Communicator, lengths: &[usize]) -> Result<()> {
    let endpoint = world.endpoint();
    for &len in lengths {
        let mut short = vec![0u8; if len == TOO_LONG_FOR_NONE { 0 } else { len / 10 }];
        match world.rank() {
            0 => {
                let sent = endpoint.send_blocking(1, 1u32, &vec![1u8; len]);
                println!("said: sent {}", sent.map_or_else(|error| error.to_string(), |()| "whole".into()));
            }
            _ => match endpoint.recv_blocking(0, 1u32, &mut short) {
                Err(Error::Truncated { capacity, .. }) => println!("said: truncated at {capacity}"),
                other => println!("said: {other:?}"),
            },
        }
        exchange(world)?;
    }
    Ok(())
}

/// Rank 0 uses a region of rank 1's that is closed. After that the two go on as before.
fn closed_region(world: &Communicator, operation: &str) -> Result<()> {
    let endpoint = world.endpoint();
    // A region that stays open, so that the provider has seen keys that it knows.
    let kept = endpoint.allocate::<u64>(1000)?.expose(Access::ReadWrite)?;
    let theirs = swap(world, &kept.remote())?;
    endpoint.write_blocking(&theirs, 0, &[1u64; 100])?;
    let region = endpoint.allocate::<u64>(LARGE / 8)?.expose(Access::ReadWrite)?;
    let closed = swap(world, &region.remote())?;
    drop(region);
    world.barrier()?;
    if world.rank() == 0 {
        let result = match operation {
            "write" => endpoint.write_blocking(&closed, 0, &[1u8; 100_000]),
            "short write" => endpoint.write_blocking(&closed, 0, &[1u8; 100]),
            "read" => endpoint.read_blocking(&closed, 0, &mut [1u8; 100_000]),
            "atomic" => endpoint.fetch_add(&closed, 0, 1u64).map(drop),
            other => panic!("there is no operation '{other}'"),
        };
        println!("said: {}", result.map_or_else(|error| error.to_string(), |()| "done".into()));
        return Ok(());
    }
    // As long as rank 0's operation takes at most.
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(2) {
        std::thread::sleep(std::time::Duration::from_millis(10));
        kept.to_vec();
    }
    println!("said: unharmed {}", endpoint.is_open());
    Ok(())
}

/// Sends from a mapped file, which is read-only memory, messages of all kinds of lengths.
fn constant(world: &Communicator) -> Result<()> {
    let path = std::env::temp_dir().join(format!("efa-constant-{}", std::process::id()));
    let contents: Vec<u8> = (0..3 * LARGE).map(|index| (index * 7) as u8).collect();
    for len in [1, 200, 5000, 100_000, LARGE, 3 * LARGE] {
        if world.rank() == 0 {
            std::fs::write(&path, &contents[..len]).expect("the folder can be written to");
            let file = MappedFile::open(&path).expect("it was just written");
            let sent = world.endpoint().send(1, 1u32, file.slice(0..len)?).wait();
            std::fs::remove_file(&path).expect("it is there");
            sent?;
        } else {
            let mut got = vec![0u8; len];
            world.endpoint().recv_blocking(0, 1u32, &mut got)?;
            assert!(got == contents[..len], "{len} bytes");
        }
    }
    Ok(())
}

/// Rank 1 dies, and rank 0 sends it short messages before it can know.
fn to_the_dead(world: &Communicator) -> Result<()> {
    let endpoint = world.endpoint();
    if world.rank() == 1 {
        endpoint.recv_blocking(0, 1u32, &mut [0u8; 1000])?;
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    endpoint.send_blocking(1, 1u32, &[1u8; 1000])?;
    // The first of these may still have met a queue pair that was there. All those after it didn't.
    let mut delivered = 0;
    loop {
        std::thread::sleep(std::time::Duration::from_millis(50));
        match endpoint.send_blocking(1, 1u32, &[1u8; 1000]) {
            Ok(()) if delivered < 20 => delivered += 1,
            Ok(()) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
