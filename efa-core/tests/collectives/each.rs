//! Each collective by each algorithm, in and out of place, between real ranks, against a model that computes the result
//! from all contributions one after the other.

use efa_core::Communicator;
use efa_core::collective::{Algorithm, Call, Collective, Located, Options, ReduceOp, UserOp};
use efa_core::tensor::{DType, TensorView, TensorViewMut};

use crate::contribution;
use crate::run;

const JOBS: [usize; 4] = [2, 3, 4, 7];
/// The last one is cut in pieces, and too long to travel with its envelope.
const LENGTHS: [usize; 4] = [0, 1, 37, 5000];

/// Everybody's contributions.
fn all(size: usize, len: usize, seed: u64) -> Vec<Vec<u32>> {
    (0..size).map(|rank| contribution(rank, len, seed)).collect()
}

/// The sums of the contributions of some ranks.
fn sums(contributions: &[Vec<u32>]) -> Vec<u32> {
    let add = |a: Vec<u32>, b: &Vec<u32>| a.iter().zip(b).map(|(a, b)| a.wrapping_add(*b)).collect();
    let (first, others) = contributions.split_first().expect("a rank");
    others.iter().fold(first.clone(), add)
}

/// Runs `body` with each algorithm that can do the collective, and with the one chosen by size.
fn by_each_algorithm(world: &mut Communicator, collective: Collective, body: impl Fn(&Communicator, String)) {
    let call = Call::new(collective, world.rank(), world.size(), 1);
    let able = |algorithm: &&Algorithm| algorithm.obstacle(&call).is_none();
    for &algorithm in Algorithm::of(collective).iter().filter(able).chain(&[Algorithm::Auto]) {
        // Short pieces, so that even these lengths are cut into several.
        world.set_options(Options { algorithm, segment_bytes: 4096, ..Options::default() });
        body(world, format!("{collective} by {algorithm}, rank {} of {}", world.rank(), world.size()));
    }
    world.set_options(Options::default());
}

#[test]
fn reduces_and_scans_agree_with_the_model() {
    for size in JOBS {
        run(size, |world| {
            let rank = world.rank();
            for len in LENGTHS {
                let all = all(size, len, 11);
                let mine = &all[rank];
                by_each_algorithm(world, Collective::Reduce, |world, what| {
                    for root in [0, size - 1] {
                        let mut output = vec![7; if rank == root { len } else { 0 }];
                        world.reduce(mine, &mut output, ReduceOp::Sum, root).unwrap();
                        let mut data = mine.clone();
                        world.reduce_in_place(&mut data, ReduceOp::Sum, root).unwrap();
                        if rank == root {
                            assert!(output == sums(&all), "{what}, {len} elements to {root}");
                        }
                        let expected = if rank == root { sums(&all) } else { mine.clone() };
                        assert!(data == expected, "{what}, in place, {len} elements to {root}");
                    }
                });
                by_each_algorithm(world, Collective::Scan, |world, what| {
                    let mut output = vec![7; len];
                    world.scan(mine, &mut output, ReduceOp::Sum).unwrap();
                    assert!(output == sums(&all[..=rank]), "{what}, {len} elements");
                    let mut data = mine.clone();
                    world.scan_in_place(&mut data, ReduceOp::Sum).unwrap();
                    assert!(data == output, "{what}, in place, {len} elements");
                });
                by_each_algorithm(world, Collective::ExclusiveScan, |world, what| {
                    let before = if rank > 0 { sums(&all[..rank]) } else { vec![7; len] };
                    let mut output = vec![7; len];
                    world.exclusive_scan(mine, &mut output, ReduceOp::Sum).unwrap();
                    assert!(output == before, "{what}, {len} elements");
                    let mut data = mine.clone();
                    world.exclusive_scan_in_place(&mut data, ReduceOp::Sum).unwrap();
                    assert!(data == if rank > 0 { before } else { mine.clone() }, "{what}, in place, {len}");
                });
            }
        });
    }
}

#[test]
fn blocks_go_where_the_model_says() {
    for size in JOBS {
        run(size, |world| {
            let rank = world.rank();
            for len in LENGTHS {
                let all = all(size, len, 12);
                let (mine, joined) = (&all[rank], all.concat());
                let own = rank * len..(rank + 1) * len;
                // In place: the own block where it belongs, and something else around it.
                let mut around = vec![7; size * len];
                around[own.clone()].copy_from_slice(mine);
                by_each_algorithm(world, Collective::Gather, |world, what| {
                    for root in [0, size / 2] {
                        let mut output = vec![7; if rank == root { size * len } else { 0 }];
                        world.gather(mine, &mut output, root).unwrap();
                        let mut data = if rank == root { around.clone() } else { mine.clone() };
                        world.gather_in_place(&mut data, root).unwrap();
                        if rank == root {
                            assert!(output == joined && data == joined, "{what}, {len} elements to {root}");
                        }
                    }
                });
                by_each_algorithm(world, Collective::Scatter, |world, what| {
                    for root in [0, size / 2] {
                        let mut output = vec![7; len];
                        let input = if rank == root { &joined[..] } else { &[] };
                        world.scatter(input, &mut output, root).unwrap();
                        assert!(output == *mine, "{what}, {len} elements from {root}");
                        let mut data = if rank == root { joined.clone() } else { vec![7; len] };
                        world.scatter_in_place(&mut data, root).unwrap();
                        let expected = if rank == root { &joined } else { mine };
                        assert!(data == *expected, "{what}, in place, {len} elements from {root}");
                    }
                });
                by_each_algorithm(world, Collective::AllGather, |world, what| {
                    let mut output = vec![7; size * len];
                    world.all_gather(mine, &mut output).unwrap();
                    let mut data = around.clone();
                    world.all_gather_in_place(&mut data).unwrap();
                    assert!(output == joined && data == joined, "{what}, {len} elements");
                });
            }
        });
    }
}

#[test]
fn exchanges_and_reduced_blocks_agree_with_the_model() {
    for size in JOBS {
        run(size, |world| {
            let rank = world.rank();
            for len in LENGTHS {
                let all = all(size, size * len, 13);
                let (mine, own) = (&all[rank], rank * len..(rank + 1) * len);
                let parts: Vec<u32> = all.iter().flat_map(|one| &one[own.clone()]).copied().collect();
                by_each_algorithm(world, Collective::AllToAll, |world, what| {
                    let mut output = vec![7; size * len];
                    world.all_to_all(mine, &mut output).unwrap();
                    let mut data = mine.clone();
                    world.all_to_all_in_place(&mut data).unwrap();
                    assert!(output == parts && data == parts, "{what}, {len} elements");
                });
                let sums = &sums(&all)[own.clone()];
                by_each_algorithm(world, Collective::ReduceScatter, |world, what| {
                    let mut output = vec![7; len];
                    world.reduce_scatter(mine, &mut output, ReduceOp::Sum).unwrap();
                    let mut data = mine.clone();
                    world.reduce_scatter_in_place(&mut data, ReduceOp::Sum).unwrap();
                    assert!(output == sums && data[own.clone()] == *sums, "{what}, {len} elements");
                });
            }
        });
    }
}

#[test]
fn blocks_of_different_lengths_go_where_the_model_says() {
    for size in JOBS {
        run(size, |world| {
            let rank = world.rank();
            // Rank 1 has none.
            let counts: Vec<usize> = (0..size).map(|rank| [40, 0, 3000, 7][rank % 4]).collect();
            let total: usize = counts.iter().sum();
            let start = |rank: usize| counts[..rank].iter().sum::<usize>();
            let own = start(rank)..start(rank) + counts[rank];
            let all = all(size, total, 14);
            let mine = &all[rank][..counts[rank]];
            let joined: Vec<u32> = (0..size).flat_map(|rank| all[rank][..counts[rank]].to_vec()).collect();
            let mut around = vec![7; total];
            around[own.clone()].copy_from_slice(mine);
            let root = size - 1;
            let at_root = rank == root;
            by_each_algorithm(world, Collective::Gather, |world, what| {
                let mut output = vec![7; if at_root { total } else { 0 }];
                world.gather_counts(mine, &mut output, &counts, root).unwrap();
                let mut data = if at_root { around.clone() } else { mine.to_vec() };
                world.gather_counts_in_place(&mut data, &counts, root).unwrap();
                assert!(!at_root || (output == joined && data == joined), "{what}");
            });
            by_each_algorithm(world, Collective::Scatter, |world, what| {
                let mut output = vec![7; counts[rank]];
                world
                    .scatter_counts(if at_root { &joined } else { &[] }, &mut output, &counts, root)
                    .unwrap();
                let mut data = if at_root { joined.clone() } else { vec![7; counts[rank]] };
                world.scatter_counts_in_place(&mut data, &counts, root).unwrap();
                let kept = if at_root { &data[own.clone()] } else { &data };
                assert!(output == mine && kept == mine, "{what}");
            });
            by_each_algorithm(world, Collective::AllGather, |world, what| {
                let mut output = vec![7; total];
                world.all_gather_counts(mine, &mut output, &counts).unwrap();
                let mut data = around.clone();
                world.all_gather_counts_in_place(&mut data, &counts).unwrap();
                assert!(output == joined && data == joined, "{what}");
            });
            let sums = &sums(&all)[own.clone()];
            by_each_algorithm(world, Collective::ReduceScatter, |world, what| {
                let mut output = vec![7; counts[rank]];
                world.reduce_scatter_counts(&all[rank], &mut output, &counts, ReduceOp::Sum).unwrap();
                let mut data = all[rank].clone();
                world.reduce_scatter_counts_in_place(&mut data, &counts, ReduceOp::Sum).unwrap();
                assert!(output == sums && data[own.clone()] == *sums, "{what}");
            });
        });
    }
}

#[test]
fn exchanges_of_different_lengths_agree_with_the_model() {
    for size in JOBS {
        run(size, |world| {
            let rank = world.rank();
            let count = |from: usize, to: usize| [0, 1, 500, 33, 2000][(3 * from + 2 * to) % 5];
            let send = |from: usize| -> Vec<usize> { (0..size).map(|to| count(from, to)).collect() };
            let (to, from) = (send(rank), (0..size).map(|other| count(other, rank)).collect::<Vec<_>>());
            let brought = |rank: usize| contribution::<u32>(rank, send(rank).iter().sum(), 15);
            let parts = (0..size).flat_map(|other| {
                let start = send(other)[..rank].iter().sum::<usize>();
                brought(other)[start..start + count(other, rank)].to_vec()
            });
            let parts: Vec<u32> = parts.collect();
            // In place as much goes to a rank as comes from there.
            let even = |rank: usize| -> Vec<usize> { (0..size).map(|other| 100 * (rank + other)).collect() };
            let even_parts = (0..size).flat_map(|other| {
                let start = even(other)[..rank].iter().sum::<usize>();
                let brought: Vec<u32> = contribution(other, even(other).iter().sum(), 16);
                brought[start..start + even(other)[rank]].to_vec()
            });
            let even_parts: Vec<u32> = even_parts.collect();
            for algorithm in [Algorithm::AllPairs, Algorithm::Pairwise, Algorithm::Auto] {
                world.set_options(Options { algorithm, ..Options::default() });
                let mut output = vec![7; from.iter().sum()];
                world.all_to_all_counts(&brought(rank), &to, &mut output, &from).unwrap();
                assert!(output == parts, "{algorithm}, rank {rank} of {size}");
                let mut data: Vec<u32> = contribution(rank, even(rank).iter().sum(), 16);
                world.all_to_all_counts_in_place(&mut data, &even(rank)).unwrap();
                assert!(data == even_parts, "{algorithm}, in place, rank {rank} of {size}");
            }
        });
    }
}

/// A function from 0..4 to 0..4; one after the other is an operation that does not commute.
type Map = [u8; 4];

fn then(a: Map, b: Map) -> Map {
    a.map(|x| b[usize::from(x)])
}

fn map(rank: usize, index: usize) -> Map {
    std::array::from_fn(|x| ((x * (rank + 2) + index * 3 + rank / 2) % 4) as u8)
}

#[test]
fn operations_of_the_program_get_their_operands_in_the_order_of_the_ranks() {
    for size in JOBS {
        run(size, |world| {
            let rank = world.rank();
            for len in [1, 700] {
                let of = |rank: usize| (0..len).map(move |index| map(rank, index));
                let up_to = |last: usize| -> Vec<Map> {
                    (0..len).map(|i| (0..=last).map(|r| map(r, i)).reduce(then).unwrap()).collect()
                };
                let op = UserOp::ordered(then);
                let mine: Vec<Map> = of(rank).collect();
                let mut data = mine.clone();
                world.all_reduce_in_place(&mut data, op).unwrap();
                assert_eq!(data, up_to(size - 1), "all-reduce at {rank} of {size}");
                for root in [0, size - 1] {
                    let mut output = mine.clone();
                    world.reduce_in_place(&mut output, op, root).unwrap();
                    assert!(output == if rank == root { up_to(size - 1) } else { mine.clone() });
                }
                let mut output = mine.clone();
                world.scan(&mine, &mut output, op).unwrap();
                assert_eq!(output, up_to(rank), "scan at {rank} of {size}");
                world.exclusive_scan(&mine, &mut output, op).unwrap();
                assert_eq!(output, up_to(rank.max(1) - 1), "exclusive scan at {rank} of {size}");
                let mut block = vec![[0; 4]; 1];
                let blocks: Vec<Map> = (0..size).map(|index| map(rank, index)).collect();
                world.reduce_scatter(&blocks, &mut block, op).unwrap();
                assert_eq!(block[0], (0..size).map(|r| map(r, rank)).reduce(then).unwrap());
                let mut largest = [[rank as u64, 1]];
                // Borrowed, as it owns something.
                let weights = vec![1, 0];
                let weight = move |x: &[u64; 2]| x.iter().zip(&weights).map(|(x, w)| x * w).sum::<u64>();
                let heavier = UserOp::commutative(move |a, b| std::cmp::max_by_key(a, b, &weight));
                world.all_reduce_in_place(&mut largest, &heavier).unwrap();
                world.all_reduce_in_place(&mut largest, heavier).unwrap();
                assert_eq!(largest, [[size as u64 - 1, 1]]);
            }
        });
    }
}

#[test]
fn the_least_and_the_greatest_are_found_with_their_rank() {
    for size in JOBS {
        run(size, |world| {
            let rank = world.rank();
            // All alike, one that differs, each different.
            let values = [1.0, if rank == size / 2 { -2.0 } else { 0.0 }, -(rank as f64)];
            let mine = values.map(|value| Located::new(value, rank as u64));
            let (mut least, mut greatest) = (mine, mine);
            world.all_reduce(&mine, &mut least, ReduceOp::Min).unwrap();
            world.all_reduce_in_place(&mut greatest, ReduceOp::Max).unwrap();
            let last = size as u64 - 1;
            let pairs = |found: [Located<f64>; 3]| found.map(|one| (one.value(), one.location()));
            assert_eq!(pairs(least), [(1.0, 0), (-2.0, size as u64 / 2), (-(last as f64), last)]);
            let zero_at = u64::from(size / 2 == 0);
            assert_eq!(pairs(greatest), [(1.0, 0), (0.0, zero_at), (-0.0, 0)]);
        });
    }
}

#[test]
fn averages_are_divided_where_the_result_is() {
    run(3, |world| {
        let rank = world.rank();
        let mine = [rank as f32, 3.0, 6.0];
        let mut output = [0.0; 3];
        world.reduce(&mine, &mut output, ReduceOp::Average, 1).unwrap();
        assert_eq!(output, if rank == 1 { [1.0, 3.0, 6.0] } else { [0.0; 3] });
        let mut data = mine;
        world.reduce_in_place(&mut data, ReduceOp::Average, 1).unwrap();
        assert_eq!(data, if rank == 1 { [1.0, 3.0, 6.0] } else { mine });
        world.reduce_scatter_in_place(&mut { mine }, ReduceOp::Average).unwrap();
        let mut data = mine;
        world.reduce_scatter_in_place(&mut data, ReduceOp::Average).unwrap();
        assert_eq!(data[rank], [1.0, 3.0, 6.0][rank]);
    });
}

#[test]
fn tensors_of_every_type_take_every_collective() {
    run(3, |world| {
        let (rank, size) = (world.rank(), world.size());
        for dtype in DType::ALL {
            // One element at each rank, of bytes that tell the rank and are small numbers in every type.
            let bytes = |rank: usize| {
                let mut bytes = vec![0; dtype.size()];
                bytes[0] = rank as u8;
                bytes
            };
            let (mine, joined) = (bytes(rank), (0..size).flat_map(bytes).collect::<Vec<u8>>());
            let (one, many) = ([1], [size]);
            let view = |shape, bytes| TensorView::new(dtype, shape, bytes).unwrap();
            let mut all = vec![9; joined.len()];
            let mut into = TensorViewMut::new(dtype, &many, &mut all).unwrap();
            world.all_gather_tensor(&view(&one, &mine), &mut into).unwrap();
            assert_eq!(all, joined);
            let mut all = vec![9; joined.len()];
            let mut into = TensorViewMut::new(dtype, &many, &mut all).unwrap();
            world.gather_tensor(&view(&one, &mine), &mut into, 2).unwrap();
            assert_eq!(all == joined, rank == 2);
            let mut part = vec![9; mine.len()];
            let mut into = TensorViewMut::new(dtype, &one, &mut part).unwrap();
            world.scatter_tensor(&view(&many, &joined), &mut into, 1).unwrap();
            assert_eq!(part, mine);
            let mut exchanged = vec![9; joined.len()];
            let mut into = TensorViewMut::new(dtype, &many, &mut exchanged).unwrap();
            world.all_to_all_tensor(&view(&many, &joined), &mut into).unwrap();
            assert_eq!(exchanged, mine.repeat(size));
            let mut whole = mine.clone();
            let mut data = TensorViewMut::new(dtype, &one, &mut whole).unwrap();
            world.broadcast_tensor(&mut data, 2).unwrap();
            assert_eq!(whole, bytes(2));
        }
        let mut sums = [rank as u16 + 1, 10];
        let mut tensor = TensorViewMut::from_slice(&mut sums, &[2]).unwrap();
        world.scan_tensor(&mut tensor, ReduceOp::Sum).unwrap();
        world.exclusive_scan_tensor(&mut tensor, ReduceOp::Max).unwrap();
        world.reduce_tensor(&mut tensor, ReduceOp::Sum, 0).unwrap();
        // Scanned they are 1, 3, 6; then 1, 1, 3 and 10, 10, 20.
        assert_eq!(sums, [[5, 40], [1, 10], [3, 20]][rank]);
        let (mut part, blocks) = ([0i8], [1i8, 2, 3]);
        let mut into = TensorViewMut::from_slice(&mut part, &[1]).unwrap();
        let input = TensorView::from_slice(&blocks, &[3]).unwrap();
        world.reduce_scatter_tensor(&input, &mut into, ReduceOp::Product).unwrap();
        assert_eq!(part, [[1], [8], [27]][rank]);
    });
}
