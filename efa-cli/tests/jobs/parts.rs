//! The parts that the ranks play: what each rank does, and what it says on standard output.

use std::time::{Duration, Instant};

use efa_core::bootstrap::{ControlConfig, Job, Status};
use efa_core::collective::{Algorithm, Options, ReduceOp};
use efa_core::{Communicator, Error, Init, Judged, Source};

use super::{PATIENCE, VICTIM};

/// Plays the part of this name.
pub(crate) fn play(part: &str) {
    match part {
        "sum" => sum(efa_core::init().expect("the job is in order")),
        "victim" => outlive(efa_core::init().expect("the job is in order"), |world| {
            world.all_reduce_in_place(&mut vec![1u64; 1 << 20], ReduceOp::Sum)
        }),
        "receive" => outlive(efa_core::init().expect("the job is in order"), |world| {
            world.endpoint().recv_blocking(VICTIM, 1u32, &mut [0u8; 100]).map(drop)
        }),
        "send" => outlive(efa_core::init().expect("the job is in order"), |world| {
            let large = vec![1u8; 1 << 20];
            (0..200).try_for_each(|_| world.endpoint().send_blocking(VICTIM, 1u32, &large))
        }),
        "fail at once" => end_early(efa_core::init().expect("the job is in order"), |world| {
            let error = world.endpoint().send_blocking(99, 1u32, &[0u8]).expect_err("there is no rank 99");
            println!("said: {error}");
        }),
        "panic" => end_early(efa_core::init().expect("the job is in order"), |_| {
            println!("said: panicking");
            panic!("as intended by this test");
        }),
        "exit" => end_early(efa_core::init().expect("the job is in order"), |_| {
            println!("said: exiting");
            std::process::exit(3);
        }),
        "open" => open(&Init::from_env().and_then(Init::judge).expect("the job is in order")),
        "stopped" => stopped(),
        "cut" => cut(efa_core::init().expect("the job is in order")),
        "give-up" => give_up(efa_core::init().expect("the job is in order")),
        "run" => println!("said: {:?}", efa_core::run(|world| Ok::<_, Error>(world.size()))),
        "run and fail" => run_and_fail(),
        "fail and drop" => fail_and_drop(),
        "all fail and drop" => all_fail_and_drop(),
        "late" => late(efa_core::init().expect("the job is in order")),
        "rank 0 leaves" => {
            rank_0_leaves(Init::from_env().and_then(Init::judge).expect("the job is in order"))
        }
        "join" => match efa_core::init() {
            Ok(world) => println!("said: joined on {}", world.endpoint().provider()),
            Err(error) => println!("said: {error}"),
        },
        other => panic!("there is no part '{other}'"),
    }
}

fn sum(world: Communicator) {
    let mut data = vec![world.rank() as u64; 100_000];
    world.all_reduce_in_place(&mut data, ReduceOp::Sum).expect("all ranks are there");
    assert!(data.iter().all(|&value| value == 6));
    println!("said: 6 on {}", world.endpoint().provider());
    world.finish().expect("all ranks leave");
}

/// Rank 0 waits for a message that nobody sends, and drops the communicator on the error, as `?` does; the others are
/// busy for longer than that may take.
fn give_up(world: Communicator) {
    if world.rank() > 0 {
        std::thread::sleep(Duration::from_secs(3));
        println!("said: {:?}", world.finish().expect_err("rank 0 is gone").peer().map(|peer| peer.rank));
        return;
    }
    let error = world.endpoint().recv_blocking(1, 1u32, &mut [0u8]).expect_err("nobody sends");
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    let begun = Instant::now();
    drop(world);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    println!("said: gone");
}

/// Rank 0 fails with an error of its own making, which no operation has seen; the others wait in a collective.
fn run_and_fail() {
    let begun = Instant::now();
    let result: Result<(), Box<dyn std::error::Error>> = efa_core::run(|world| {
        if world.rank() == 0 {
            return Err("the training data is missing".into());
        }
        Ok(world.barrier()?)
    });
    println!("said: {} after {:?}", result.expect_err("rank 0 fails"), begun.elapsed());
}

/// As a `main` that a `?` leaves because of an error that no operation has seen, at rank 0. Rank 1 waits in `finish`, the
/// others for a message.
fn fail_and_drop() {
    fn main() -> Result<(), Box<dyn std::error::Error>> {
        let world = efa_core::init()?;
        world.barrier()?;
        match world.rank() {
            0 => Err("the training data is missing".into()),
            1 => Ok(world.finish()?),
            _ => Ok(world.endpoint().recv_blocking(1, 1u32, &mut [0u8]).map(drop)?),
        }
    }
    let begun = Instant::now();
    let error = main().expect_err("the job can't go on");
    if error.to_string() == "the training data is missing" {
        // What it takes to print on a busy machine; a rank that exits meanwhile would have the launcher end this one.
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("said: {error} after {} s", begun.elapsed().as_secs());
    std::process::exit(1);
}

/// All ranks fail alike, and drop what they have.
fn all_fail_and_drop() {
    let world = efa_core::init().expect("the job is in order");
    let rank = world.rank();
    drop(world);
    println!("said: no data for rank {rank}");
}

/// Rank 2 comes late to the end.
fn late(world: Communicator) {
    if world.rank() == VICTIM {
        std::thread::sleep(Duration::from_secs(5));
    }
    println!("said: {}", world.finish().map_or_else(|error| error.to_string(), |()| "left".into()));
}

/// Rank 0 leaves in good order, and its process ends as soon as it may; the others wait for one that is killed later.
fn rank_0_leaves(judged: Judged) {
    let endpoint = judged.open().expect("there is room");
    judged.control().barrier("all are connected", PATIENCE).expect("all ranks are there");
    let liveness = judged.control().liveness();
    match judged.control().rank() {
        0 => {
            drop(endpoint);
            return judged.leave();
        }
        VICTIM => {
            while liveness.status(0) != Status::Left {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_secs(6));
            println!("victim: {}", std::process::id());
            std::thread::sleep(2 * PATIENCE);
        }
        _ => {}
    }
    let error = endpoint.recv_blocking(VICTIM, 1u32, &mut [0u8; 100]).expect_err("the victim is killed");
    println!("said: {:?} {error}", error.peer().map(|peer| peer.rank));
}

/// Rank 0 ends early with an error; each of the others waits for the next one, and only the last for rank 0.
fn end_early(world: Communicator, end: impl Fn(&Communicator)) {
    world.barrier().expect("all ranks are there");
    if world.rank() == 0 {
        // None of the others may still be inside of the barrier when the job ends.
        for _ in 1..world.size() {
            world.endpoint().recv_blocking(Source::Any, 2u32, &mut [0u8]).expect("all say that they are out");
        }
        // What was opened is dropped after it, as where an error leaves `main`.
        return end(&world);
    }
    world.endpoint().send_blocking(0, 2u32, &[1u8]).expect("rank 0 is there");
    let begun = Instant::now();
    let next = (world.rank() + 1) % world.size();
    let error = world.endpoint().recv_blocking(next, 1u32, &mut [0u8]).expect_err("nobody sends");
    println!(
        "said: {} after {} s: {error}",
        error.peer().map_or(99, |peer| peer.rank),
        begun.elapsed().as_secs()
    );
    assert!(world.finish().is_err(), "the job was called off");
}

/// Rank 2 does not take part in a collective, as if it were cut off; rank 0 begins first, so that its time is over first.
fn cut(world: Communicator) {
    world.barrier().expect("all ranks are there");
    match world.rank() {
        0 => {}
        2 => std::thread::sleep(Duration::from_secs(20)),
        _ => std::thread::sleep(Duration::from_millis(300)),
    }
    let mut world = world;
    world.set_options(Options { algorithm: Algorithm::Ring, ..Options::default() });
    let error =
        world.all_reduce_in_place(&mut vec![1u64; 1 << 10], ReduceOp::Sum).expect_err("one is missing");
    println!("said: {error}");
}

/// The victim prints its number and sleeps; the others call what can't succeed without it, and print the error.
fn outlive(world: Communicator, call: impl Fn(&Communicator) -> Result<(), Error>) {
    world.barrier().expect("all ranks are there");
    if world.rank() == VICTIM {
        println!("victim: {}", std::process::id());
        std::thread::sleep(2 * PATIENCE);
    }
    let error = call(&world).expect_err("the victim is killed");
    let named = error.peer().map(|peer| peer.rank);
    println!("said: {named:?} {error}");
}

/// All open an endpoint, whose connections nobody tries; then the victim is killed.
fn open(judged: &Judged) {
    let endpoint = judged.open().expect("there is room");
    if judged.control().rank() == VICTIM {
        println!("victim: {}", std::process::id());
        std::thread::sleep(2 * PATIENCE);
    }
    let error = endpoint.recv_blocking(VICTIM, 1u32, &mut [0u8; 100]).expect_err("the victim is killed");
    println!("said: {error}");
}

/// The ranks but the first wait for it while all are stopped.
fn stopped() {
    let config = ControlConfig {
        heartbeat_period: Duration::from_millis(500),
        silent_after: Duration::from_secs(3),
        dead_after: Duration::from_secs(4),
        ..ControlConfig::default()
    };
    let job = Job::from_env().expect("the launcher tells");
    let control = job.connect(&config, PATIENCE).expect("all ranks come");
    println!("process: {}", std::process::id());
    if control.rank() == 0 {
        // By the time for which it runs.
        (0..20).for_each(|_| std::thread::sleep(Duration::from_millis(100)));
    }
    match control.barrier("the end", Duration::from_secs(7)) {
        Ok(()) => println!("said: met again"),
        Err(error) => println!("said: {error}"),
    }
    control.leave();
}
