//! Every algorithm on real numbers: schedules run against plain memory, steps in random order as far as their
//! dependencies allow, and the result is compared with a straightforward one.

mod numbers;

use std::collections::HashMap;

use efa_core::collective::schedule::{Action, BufferId, Span};
use efa_core::collective::{Algorithm, BufferMode, Call, Collective, ReduceOp, Schedule, algorithms, reduce};
use efa_core::tensor::{DType, Element, bf16, f16};
use numbers::{Number, Random};

const PLACEMENTS: [BufferMode; 2] = [BufferMode::InPlace, BufferMode::OutOfPlace];

#[test]
fn all_types_and_operations_reduce_right() {
    let mut random = Random::new(1);
    for collective in Collective::ALL.into_iter().filter(|collective| collective.reduces()) {
        for &algorithm in Algorithm::of(collective) {
            for op in ReduceOp::ALL {
                for size in [1, 2, 3, 5, 8] {
                    for buffer_mode in PLACEMENTS {
                        let call = Call::new(collective, 0, size, 37).with_buffer_mode(buffer_mode);
                        let call = call.with_root(size / 2);
                        check_all_types(op, algorithm, call, 4, &mut random);
                    }
                }
            }
        }
    }
}

#[test]
fn every_algorithm_is_right_at_every_size() {
    let mut random = Random::new(2);
    for collective in Collective::ALL {
        for &algorithm in Algorithm::of(collective) {
            for size in 1..=17 {
                if algorithm.obstacle(&Call::new(collective, 0, size, 1)).is_some() {
                    continue;
                }
                for elements in [0, 1, 2, 3, 5, size - 1, size, size + 1, 100] {
                    for buffer_mode in PLACEMENTS {
                        let root = random.below(size);
                        let call = Call::new(collective, 0, size, elements).with_root(root);
                        let call = call.with_buffer_mode(buffer_mode);
                        let segment = 1 + random.below(20);
                        check::<i32>(ReduceOp::Sum, algorithm, call, segment, &mut random);
                    }
                }
            }
        }
    }
}

#[test]
fn ranks_may_differ_in_placement() {
    let mut random = Random::new(3);
    for &algorithm in Algorithm::of(Collective::AllReduce) {
        for size in [2, 3, 4, 7, 8] {
            let call = Call::new(Collective::AllReduce, 0, size, 41);
            let inputs = contributions::<i64>(&call, &mut random);
            let mut schedules = schedules(algorithm, &call, 3);
            for rank in (0..size).step_by(2) {
                let call = call.at_rank(rank).with_buffer_mode(BufferMode::InPlace);
                schedules[rank] = algorithms::build(algorithm, &call, 3).unwrap();
            }
            let outputs = run(ReduceOp::Sum, &schedules, &inputs, &mut random);
            for (element, &result) in outputs[0].iter().enumerate() {
                let column = inputs.iter().map(|input| input[element]);
                assert_eq!(result, i64::reference(ReduceOp::Sum, column).0);
            }
            assert!(outputs.iter().all(|output| output == &outputs[0]));
        }
    }
}

#[test]
fn a_nan_of_any_rank_reaches_all_ranks_with_the_same_bits() {
    let mut random = Random::new(4);
    for &algorithm in Algorithm::of(Collective::AllReduce) {
        for op in ReduceOp::ALL.into_iter().filter(|op| op.exists_for(DType::F32)) {
            for size in [2, 3, 4, 6] {
                let call = Call::new(Collective::AllReduce, 0, size, 3);
                let bring = |rank: u32| {
                    let one_rank = if rank == 1 { f32::NAN } else { 1.0 };
                    vec![rank as f32, one_rank, f32::from_bits(0xffc0_0001 + rank)]
                };
                let inputs: Vec<_> = (0..size as u32).map(bring).collect();
                let outputs = run(op, &schedules(algorithm, &call, 1), &inputs, &mut random);
                assert!(outputs.iter().all(|output| same_bits(output, &outputs[0])));
                assert!(!outputs[0][0].is_nan() && outputs[0][1].is_nan() && outputs[0][2].is_nan());
            }
        }
    }
}

#[test]
fn lengths_and_addresses_that_do_not_fit_are_refused() {
    let words = [0u64; 4];
    let input: &[u8] = bytemuck::cast_slice(&words);
    let mut room = [0u64; 4];
    let accumulator: &mut [u8] = bytemuck::cast_slice_mut(&mut room);
    for dtype in DType::ALL {
        assert!(reduce::reduce_into(ReduceOp::Sum, dtype, &mut accumulator[..16], &input[..16]).is_ok());
        assert!(reduce::reduce_into(ReduceOp::Sum, dtype, &mut accumulator[..16], &input[..8]).is_err());
        assert!(reduce::finish_average(dtype, accumulator, 0).is_err());
        if dtype.size() > 1 {
            assert!(
                reduce::reduce_into(ReduceOp::Sum, dtype, &mut accumulator[1..17], &input[..16]).is_err()
            );
            assert!(
                reduce::reduce_into(ReduceOp::Sum, dtype, &mut accumulator[..16], &input[1..17]).is_err()
            );
            assert!(reduce::reduce_into(ReduceOp::Sum, dtype, &mut accumulator[..15], &input[..15]).is_err());
            assert!(reduce::finish_average(dtype, &mut accumulator[1..17], 2).is_err());
        }
    }
}

fn check_all_types(op: ReduceOp, algorithm: Algorithm, call: Call, segment: usize, random: &mut Random) {
    if op.exists_for(DType::F32) {
        check::<f16>(op, algorithm, call.clone(), segment, random);
        check::<bf16>(op, algorithm, call.clone(), segment, random);
        check::<f32>(op, algorithm, call.clone(), segment, random);
        check::<f64>(op, algorithm, call.clone(), segment, random);
    }
    check::<i8>(op, algorithm, call.clone(), segment, random);
    check::<i16>(op, algorithm, call.clone(), segment, random);
    check::<i32>(op, algorithm, call.clone(), segment, random);
    check::<i64>(op, algorithm, call.clone(), segment, random);
    check::<u8>(op, algorithm, call.clone(), segment, random);
    check::<u16>(op, algorithm, call.clone(), segment, random);
    check::<u32>(op, algorithm, call.clone(), segment, random);
    check::<u64>(op, algorithm, call, segment, random);
}

fn check<T: Number>(op: ReduceOp, algorithm: Algorithm, call: Call, segment: usize, random: &mut Random) {
    let inputs = contributions::<T>(&call, random);
    let mut outputs = run(op, &schedules(algorithm, &call, segment), &inputs, random);
    let what = format!("{op} of {} by {algorithm}, {call:?}, segments of {segment}", T::DTYPE);
    let scans = matches!(call.collective, Collective::Scan | Collective::ExclusiveScan);
    if op == ReduceOp::Average && call.collective.reduces() && !scans {
        let gets_it = |rank| call.collective != Collective::Reduce || rank == call.root;
        for (_, output) in outputs.iter_mut().enumerate().filter(|(rank, _)| gets_it(*rank)) {
            reduce::finish_average(T::DTYPE, bytemuck::cast_slice_mut(output), call.size).unwrap();
        }
    }
    // A scan by average is the scan of sums.
    let reference_op = if scans && op == ReduceOp::Average { ReduceOp::Sum } else { op };
    let is_right = |ranks: std::ops::Range<usize>, rank: usize, element: usize, result: T| {
        let column = inputs[ranks.clone()].iter().map(|input| input[element]);
        // A contribution that is not combined with another stays as it is.
        let (expected, slack) = match ranks.len() {
            1 if reference_op != ReduceOp::Average => (inputs[ranks.start][element], 0.0),
            _ => T::reference(reference_op, column),
        };
        assert!(result.is_near(expected, slack), "{what}: rank {rank}: {result:?}, not {expected:?}");
    };
    let size = call.size;
    for (rank, output) in outputs.iter().enumerate() {
        let mine = call.at_rank(rank);
        let at_root = rank == call.root;
        let check_all = |ranks: std::ops::Range<usize>| {
            let each = output.iter().enumerate();
            each.for_each(|(element, &result)| is_right(ranks.clone(), rank, element, result));
        };
        match call.collective {
            Collective::Barrier => {}
            Collective::Broadcast => assert!(same_bits(output, &inputs[call.root]), "{what}: rank {rank}"),
            Collective::AllGather => assert!(same_bits(output, &inputs.concat()), "{what}: rank {rank}"),
            Collective::Gather if at_root => assert!(same_bits(output, &inputs.concat()), "{what}"),
            Collective::Reduce if at_root => check_all(0..size),
            // In place it is the contribution, and else empty.
            Collective::Gather | Collective::Reduce => {
                assert!(output.is_empty() || same_bits(output, &inputs[rank]), "{what}: rank {rank}");
            }
            Collective::Scatter if output.len() > call.elements => {
                assert!(same_bits(output, &inputs[call.root]), "{what}: rank {rank}");
            }
            Collective::Scatter => {
                assert!(same_bits(output, &inputs[call.root][mine.block(rank)]), "{what}: rank {rank}");
            }
            Collective::AllToAll => {
                let parts = inputs.iter().flat_map(|input| &input[mine.block(rank)]);
                assert!(same_bits(output, &parts.copied().collect::<Vec<T>>()), "{what}: rank {rank}");
            }
            Collective::AllReduce => {
                assert!(same_bits(output, &outputs[0]), "{what}: rank {rank} differs from rank 0");
                check_all(0..size);
            }
            Collective::ReduceScatter => {
                let first = rank * call.elements;
                let start = if call.buffer_mode == BufferMode::InPlace { first } else { 0 };
                for element in 0..call.elements {
                    is_right(0..size, rank, first + element, output[start + element]);
                }
            }
            Collective::Scan => check_all(0..rank + 1),
            Collective::ExclusiveScan if rank == 0 => {
                let kept = |&value: &T| same_bits(&[value], &[T::rubbish()]);
                assert!(output.iter().all(kept) || same_bits(output, &inputs[0]), "{what}");
            }
            Collective::ExclusiveScan => check_all(0..rank),
        }
    }
}

/// What each rank brings.
fn contributions<T: Number>(call: &Call, random: &mut Random) -> Vec<Vec<T>> {
    let length = |rank| call.at_rank(rank).input_len();
    (0..call.size).map(|rank| (0..length(rank)).map(|_| T::random(random)).collect()).collect()
}

fn schedules(algorithm: Algorithm, call: &Call, segment: usize) -> Vec<Schedule> {
    (0..call.size).map(|rank| algorithms::build(algorithm, &call.at_rank(rank), segment).unwrap()).collect()
}

fn same_bits<T: Element>(a: &[T], b: &[T]) -> bool {
    bytemuck::cast_slice::<T, u8>(a) == bytemuck::cast_slice::<T, u8>(b)
}

/// One rank's buffers, in the order of [`BufferId`].
struct Memory<T> {
    buffers: [Vec<T>; 3],
}

impl<T: Number> Memory<T> {
    /// The buffers before the collective: this rank's contribution, and rubbish elsewhere.
    fn new(schedule: &Schedule, input: &[T]) -> Self {
        let rubbish = |buffer| vec![T::rubbish(); schedule.len_of(buffer)];
        let mut output = rubbish(BufferId::Output);
        let in_place = schedule.call().buffer_mode == BufferMode::InPlace;
        if in_place {
            output[schedule.call().contribution().range()].copy_from_slice(input);
        }
        let input = if in_place { Vec::new() } else { input.to_vec() };
        Self { buffers: [input, output, rubbish(BufferId::Scratch)] }
    }

    fn read(&self, span: Span) -> Vec<T> {
        self.buffers[span.buffer as usize][span.range()].to_vec()
    }

    fn at(&mut self, span: Span) -> &mut [T] {
        &mut self.buffers[span.buffer as usize][span.range()]
    }
}

/// Runs all schedules to the end and returns every rank's output.
fn run<T: Number>(
    op: ReduceOp,
    schedules: &[Schedule],
    inputs: &[Vec<T>],
    random: &mut Random,
) -> Vec<Vec<T>> {
    let mut memories: Vec<_> = schedules.iter().zip(inputs).map(|(s, input)| Memory::new(s, input)).collect();
    let dependencies =
        |s: &Schedule| (0..s.steps().len()).map(|id| s.dependencies(id as u32).len()).collect();
    let mut waiting: Vec<Vec<usize>> = schedules.iter().map(dependencies).collect();
    let mut ready: Vec<(usize, usize)> = Vec::new();
    for (rank, waiting) in waiting.iter().enumerate() {
        ready.extend((0..waiting.len()).filter(|&step| waiting[step] == 0).map(|step| (rank, step)));
    }
    // Receives whose message is yet to come.
    let mut posted: HashMap<(usize, usize, u32), usize> = HashMap::new();
    let mut messages: HashMap<(usize, usize, u32), Vec<T>> = HashMap::new();
    while !ready.is_empty() {
        let (rank, step) = ready.swap_remove(random.below(ready.len()));
        let memory = &mut memories[rank];
        match schedules[rank].steps()[step].action {
            Action::Send { to, slot, span } => {
                assert!(
                    messages.insert((rank, to, slot), memory.read(span)).is_none(),
                    "a slot is used twice"
                );
                ready.extend(posted.remove(&(rank, to, slot)).map(|receive| (to, receive)));
            }
            Action::Receive { from, slot, span } => match messages.remove(&(from, rank, slot)) {
                Some(message) => memory.at(span).copy_from_slice(&message),
                None => {
                    posted.insert((from, rank, slot), step);
                    continue;
                }
            },
            Action::Reduce { source, into, .. } => {
                let source = memory.read(source);
                reduce::reduce_slice(op, memory.at(into), &source).unwrap();
            }
            Action::Copy { source, into } => {
                let source = memory.read(source);
                memory.at(into).copy_from_slice(&source);
            }
        }
        for &dependent in schedules[rank].dependents(step as u32) {
            let waiting = &mut waiting[rank][dependent as usize];
            *waiting -= 1;
            if *waiting == 0 {
                ready.push((rank, dependent as usize));
            }
        }
    }
    assert!(waiting.iter().flatten().all(|&count| count == 0), "some steps never ran");
    assert!(posted.is_empty() && messages.is_empty(), "some messages were not sent, or not received");
    for (memory, input) in memories.iter().zip(inputs) {
        assert!(
            memory.buffers[0].is_empty() || same_bits(&memory.buffers[0], input),
            "the input was changed"
        );
    }
    memories.into_iter().map(|Memory { buffers: [_, output, _] }| output).collect()
}
