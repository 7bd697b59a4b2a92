//! The MPI side of a comparison: ping-pong or a stream of windows between two ranks, in the manner of fabtests.
//!
//! Started by `compare` through mpirun: `mpi_peer MEASURE SIZE ITERATIONS WARMUP WINDOW`. Rank 0 prints the figure.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use mpi::request::multiple_scope;
use mpi::topology::{Process, SimpleCommunicator};
use mpi::traits::*;

/// What to run, from the command line.
struct Plan {
    measure: String,
    size: usize,
    iterations: usize,
    warmup: usize,
    window: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(plan) = parse(&arguments) else {
        eprintln!("usage: mpi_peer latency|bandwidth|message-rate SIZE ITERATIONS WARMUP WINDOW");
        return ExitCode::from(2);
    };
    let Some(universe) = mpi::initialize() else {
        eprintln!("MPI is initialised already");
        return ExitCode::FAILURE;
    };
    let world = universe.world();
    if world.size() != 2 {
        eprintln!("mpi_peer runs on 2 ranks, not on {}", world.size());
        return ExitCode::from(2);
    }

    let elapsed = match plan.measure.as_str() {
        "latency" => ping_pong(&world, &plan),
        _ => stream(&world, &plan),
    };
    if world.rank() == 0 {
        println!("{:.6}", figure(&plan, elapsed));
    }
    ExitCode::SUCCESS
}

fn parse(arguments: &[String]) -> Option<Plan> {
    let [measure, numbers @ ..] = arguments else { return None };
    let numbers: Vec<usize> = numbers.iter().map_while(|number| number.parse().ok()).collect();
    let [size, iterations, warmup, window] = numbers[..] else { return None };
    let known = ["latency", "bandwidth", "message-rate"].contains(&measure.as_str());
    (known && size > 0 && iterations > 0 && window > 0).then(|| Plan {
        measure: measure.clone(),
        size,
        iterations,
        warmup,
        window,
    })
}

fn ping_pong(world: &SimpleCommunicator, plan: &Plan) -> Duration {
    let peer = world.process_at_rank(1 - world.rank());
    let mut buffer = vec![1u8; plan.size];
    let mut round_trips = |count| {
        for _ in 0..count {
            if world.rank() == 0 {
                peer.send(&buffer[..]);
                peer.receive_into(&mut buffer[..]);
            } else {
                peer.receive_into(&mut buffer[..]);
                peer.send(&buffer[..]);
            }
        }
    };
    round_trips(plan.warmup);
    let start = Instant::now();
    round_trips(plan.iterations);
    start.elapsed()
}

fn stream(world: &SimpleCommunicator, plan: &Plan) -> Duration {
    let peer = world.process_at_rank(1 - world.rank());
    // A buffer for each message of a window, as fabtests has.
    let mut buffers = vec![1u8; plan.size * plan.window];
    let mut messages = |count: usize| {
        let mut left = count;
        while left > 0 {
            let length = left.min(plan.window) * plan.size;
            if world.rank() == 0 {
                send_window(&peer, &buffers[..length], plan.size);
            } else {
                receive_window(&peer, &mut buffers[..length], plan.size);
            }
            left -= length / plan.size;
        }
    };
    messages(plan.warmup);
    let start = Instant::now();
    messages(plan.iterations);
    start.elapsed()
}

fn send_window(peer: &Process<'_>, window: &[u8], size: usize) {
    multiple_scope(window.len() / size, |scope, requests| {
        for message in window.chunks_exact(size) {
            requests.add(peer.immediate_send(scope, message));
        }
        requests.wait_all(&mut Vec::new());
    });
    let mut acknowledgement = [0u8; 4];
    peer.receive_into(&mut acknowledgement[..]);
}

fn receive_window(peer: &Process<'_>, window: &mut [u8], size: usize) {
    multiple_scope(window.len() / size, |scope, requests| {
        for message in window.chunks_exact_mut(size) {
            requests.add(peer.immediate_receive_into(scope, message));
        }
        requests.wait_all(&mut Vec::new());
    });
    peer.send(&[0u8; 4][..]);
}

/// Measures microseconds one way, decimal megabytes per second, or messages per second.
fn figure(plan: &Plan, elapsed: Duration) -> f64 {
    let (seconds, iterations) = (elapsed.as_secs_f64(), plan.iterations as f64);
    match plan.measure.as_str() {
        "latency" => seconds * 1e6 / iterations / 2.0,
        "bandwidth" => plan.size as f64 * iterations / seconds / 1e6,
        _ => iterations / seconds,
    }
}
