//! Collectives between ranks that met as a job does: results against a reference, for every size of job, and what the
//! others get when one rank fails.

mod common;
#[path = "collectives/each.rs"]
mod each;
#[path = "collectives/failures.rs"]
mod failures;
#[path = "collectives/job.rs"]
mod job;
#[path = "collectives/mistakes.rs"]
mod mistakes;
mod numbers;

use std::sync::atomic::{AtomicUsize, Ordering};

use efa_core::Communicator;
use efa_core::collective::{Algorithm, Collective, Options, ReduceOp};
use efa_core::tensor::{DType, TensorViewMut, bf16, f16};
use numbers::{Number, Random};

const JOBS: [usize; 6] = [1, 2, 3, 4, 5, 8];

/// What a rank brings to a collective: the same on every machine.
fn contribution<T: Number>(rank: usize, len: usize, seed: u64) -> Vec<T> {
    let mut random = Random::new(seed << 8 | rank as u64);
    (0..len).map(|_| T::random(&mut random)).collect()
}

/// Checks a reduction of everybody's contributions, from element `start` on.
fn check<T: Number>(got: &[T], start: usize, size: usize, len: usize, seed: u64, op: ReduceOp, what: &str) {
    let all: Vec<Vec<T>> = (0..size).map(|rank| contribution(rank, len, seed)).collect();
    for (place, &value) in got.iter().enumerate() {
        // What is combined with nothing stays as it is.
        let (expected, slack) = match size {
            1 => (all[0][start + place], 0.0),
            _ => T::reference(op, all.iter().map(|one| one[start + place])),
        };
        let near = value.is_near(expected, slack);
        assert!(near, "{what}, {op} of {size}, element {place}: {value:?}, not {expected:?}");
    }
}

/// All-reduces in place and out of place.
fn all_reduce<T: Number>(world: &Communicator, len: usize, op: ReduceOp) {
    let (size, seed) = (world.size(), len as u64);
    let input: Vec<T> = contribution(world.rank(), len, seed);
    let mut output = vec![T::rubbish(); len];
    world.all_reduce(&input, &mut output, op).unwrap();
    assert!(input == contribution(world.rank(), len, seed), "the input was changed");
    check(&output, 0, size, len, seed, op, "out of place");
    let mut data = input;
    world.all_reduce_in_place(&mut data, op).unwrap();
    check(&data, 0, size, len, seed, op, "in place");
}

/// Runs `body` on every rank of a new job, which all ranks then leave in good order, however far apart they are.
fn run(size: usize, body: impl Fn(&mut Communicator) + Sync) {
    job::run(size, |mut world| {
        body(&mut world);
        world.finish().unwrap();
    });
}

/// Sets the algorithm of all-reduces.
fn choose(world: &mut Communicator, algorithm: Algorithm) {
    // Short pieces, so that even these sizes are cut into several.
    world.set_options(Options { algorithm, segment_bytes: 1024, ..Options::default() });
}

#[test]
fn an_all_reduce_of_every_type_and_operation_agrees_with_the_reference() {
    for size in JOBS {
        run(size, |world| {
            for &algorithm in Algorithm::of(Collective::AllReduce) {
                choose(world, algorithm);
                for op in ReduceOp::ALL {
                    if op.exists_for(DType::F32) {
                        all_reduce::<f16>(world, 37, op);
                        all_reduce::<bf16>(world, 37, op);
                        all_reduce::<f32>(world, 1001, op);
                        all_reduce::<f64>(world, 37, op);
                    }
                    all_reduce::<i8>(world, 37, op);
                    all_reduce::<i16>(world, 37, op);
                    all_reduce::<i32>(world, 37, op);
                    all_reduce::<i64>(world, 1001, op);
                    all_reduce::<u8>(world, 37, op);
                    all_reduce::<u16>(world, 37, op);
                    all_reduce::<u32>(world, 37, op);
                    all_reduce::<u64>(world, 37, op);
                }
            }
        });
    }
}

#[test]
fn an_all_reduce_works_at_every_length() {
    for size in JOBS {
        run(size, |world| {
            for &algorithm in Algorithm::of(Collective::AllReduce).iter().chain(&[Algorithm::Auto]) {
                world.set_options(Options { algorithm, ..Options::default() });
                for len in [0, 1, 2, size - 1, size + 1, 1023] {
                    all_reduce::<u32>(world, len, ReduceOp::Sum);
                }
            }
        });
    }
}

#[test]
fn an_all_reduce_of_a_million_elements_is_right() {
    for size in [2, 3, 4] {
        run(size, |world| {
            for &algorithm in Algorithm::of(Collective::AllReduce) {
                world.set_options(Options { algorithm, ..Options::default() });
                let len = 1 << 20;
                let mut data: Vec<u32> = (0..len).map(|place| place as u32 + world.rank() as u32).collect();
                world.all_reduce_in_place(&mut data, ReduceOp::Sum).unwrap();
                let ranks = (size * (size - 1) / 2) as u32;
                let right = |(place, &value)| value == (place * size) as u32 + ranks;
                assert!(data.iter().enumerate().all(right));
            }
        });
    }
}

#[test]
fn every_rank_gets_the_same_bits() {
    let reference = std::sync::Mutex::new(None);
    for &algorithm in Algorithm::of(Collective::AllReduce) {
        *reference.lock().unwrap() = None;
        run(5, |world| {
            choose(world, algorithm);
            let mut data: Vec<f32> = contribution(world.rank(), 5000, 1);
            world.all_reduce_in_place(&mut data, ReduceOp::Sum).unwrap();
            let bits: Vec<u32> = data.iter().map(|value| value.to_bits()).collect();
            let mut reference = reference.lock().unwrap();
            assert!(*reference.get_or_insert_with(|| bits.clone()) == bits);
        });
    }
}

#[test]
fn a_broadcast_gives_the_roots_elements_to_all_from_every_root() {
    for size in JOBS {
        run(size, |world| {
            for root in 0..size {
                for len in [0, 1, 37, 5001, 300_000] {
                    let mut data = match world.rank() == root {
                        true => contribution::<f32>(root, len, 2),
                        false => vec![f32::NAN; len],
                    };
                    world.broadcast(&mut data, root).unwrap();
                    assert!(
                        data == contribution::<f32>(root, len, 2),
                        "{len} elements from {root} of {size}"
                    );
                }
            }
        });
    }
}

#[test]
fn every_broadcast_algorithm_gives_the_same() {
    run(5, |world| {
        for &algorithm in Algorithm::of(Collective::Broadcast) {
            choose(world, algorithm);
            for root in 0..world.size() {
                let mut data = match world.rank() == root {
                    true => contribution::<u16>(root, 12_345, 3),
                    false => vec![0; 12_345],
                };
                world.broadcast(&mut data, root).unwrap();
                assert!(data == contribution::<u16>(root, 12_345, 3), "{algorithm:?} from {root}");
            }
        }
    });
}

#[test]
fn an_all_gather_puts_everybodys_elements_in_order() {
    for size in JOBS {
        run(size, |world| {
            for len in [0, 1, 37, 20_000] {
                let mut output = vec![0u64; len * size];
                world.all_gather(&contribution::<u64>(world.rank(), len, 4), &mut output).unwrap();
                let expected: Vec<u64> = (0..size).flat_map(|rank| contribution(rank, len, 4)).collect();
                assert!(output == expected, "{len} elements at {size} ranks");
            }
        });
    }
}

#[test]
fn a_reduce_scatter_gives_each_rank_its_block_of_the_sum() {
    for size in JOBS {
        run(size, |world| {
            for op in ReduceOp::ALL.into_iter().filter(|op| op.exists_for(DType::F64)) {
                for len in [0, 1, 37, 5000] {
                    let input: Vec<f64> = contribution(world.rank(), len * size, 5);
                    let mut output = vec![f64::NAN; len];
                    world.reduce_scatter(&input, &mut output, op).unwrap();
                    let start = world.rank() * len;
                    check(&output, start, size, len * size, 5, op, "reduce-scatter");
                }
            }
        });
    }
}

#[test]
fn a_tensor_whose_type_is_known_at_run_time_is_reduced_too() {
    run(3, |world| {
        let mut bytes: Vec<u8> = [1.5f32, -2.0, 8.0, 0.25].iter().flat_map(|v| v.to_ne_bytes()).collect();
        let mut tensor = TensorViewMut::new(DType::F32, &[2, 2], &mut bytes).unwrap();
        world.all_reduce_tensor(&mut tensor, ReduceOp::Sum).unwrap();
        assert_eq!(tensor.as_mut_slice::<f32>().unwrap(), [4.5, -6.0, 24.0, 0.75]);
    });
}

#[test]
fn nobody_leaves_a_barrier_before_everybody_has_come() {
    const ROUNDS: usize = 50;
    for size in JOBS {
        let arrived: Vec<_> = (0..ROUNDS).map(|_| AtomicUsize::new(0)).collect();
        run(size, |world| {
            for (round, arrived) in arrived.iter().enumerate() {
                if round % size == world.rank() {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                arrived.fetch_add(1, Ordering::AcqRel);
                world.barrier().unwrap();
                assert_eq!(arrived.load(Ordering::Acquire), size, "round {round} of {size} ranks");
            }
        });
    }
}

#[test]
fn collectives_one_after_another_do_not_mix() {
    run(4, |world| {
        for round in 0..300u64 {
            let mut sum = [round + world.rank() as u64; 3];
            world.all_reduce_in_place(&mut sum, ReduceOp::Sum).unwrap();
            assert_eq!(sum, [4 * round + 6; 3]);
            let mut from = [round * world.rank() as u64; 2];
            world.broadcast(&mut from, round as usize % 4).unwrap();
            assert_eq!(from, [round * (round % 4); 2]);
        }
    });
}

#[test]
fn messages_and_collectives_share_an_endpoint_without_mixing() {
    run(4, |world| {
        let (me, size, endpoint) = (world.rank(), world.size(), world.endpoint());
        let receive = endpoint.recv(efa_core::Source::Any, efa_core::TagMatch::ANY, vec![0usize; 10]);
        let mut sum = vec![1u32; 50_000];
        world.all_reduce_in_place(&mut sum, ReduceOp::Sum).unwrap();
        assert!(sum.iter().all(|&value| value == size as u32));
        assert!(!receive.is_done(), "a receive of the program took a message of a collective");
        world.barrier().unwrap();
        endpoint.send_blocking((me + 1) % size, 0u32, &[me; 10]).unwrap();
        let (completion, got) = receive.wait().unwrap();
        assert_eq!((completion.peer, got), ((me + size - 1) % size, vec![(me + size - 1) % size; 10]));
    });
}

#[test]
fn lengths_and_roots_that_make_no_sense_are_refused_and_nothing_is_broken() {
    run(3, |world| {
        let mut three = [0u32; 3];
        for error in [
            world.all_reduce(&[1u32; 2], &mut three, ReduceOp::Sum).unwrap_err(),
            world.all_gather(&[1u32; 2], &mut three).unwrap_err(),
            world.reduce_scatter(&[1u32; 8], &mut three, ReduceOp::Sum).unwrap_err(),
            world.broadcast(&mut three, 3).unwrap_err(),
        ] {
            assert!(matches!(error, efa_core::Error::Misuse(_)), "{error}");
        }
        world.all_reduce(&[1u32; 3], &mut three, ReduceOp::Sum).unwrap();
        assert_eq!(three, [3; 3]);
        assert_eq!(world.algorithm(Collective::Barrier, 0, DType::U8), Algorithm::Dissemination);
    });
}
