//! What a collective costs besides moving bytes: combining elements, and making the schedule.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use efa_core::collective::reduce::reduce_into;
use efa_core::collective::select::plan;
use efa_core::collective::{Call, Collective, Options, ReduceOp};
use efa_core::tensor::DType;

/// 64 KiB of each operand: both stay in the second cache, so that the arithmetic is measured and not the memory.
const OPERAND: usize = 64 << 10;

/// Element types that differ in how they are combined: converted, plain, wide.
const TYPES: [DType; 5] = [DType::F16, DType::Bf16, DType::F32, DType::F64, DType::I32];

fn reduce(c: &mut Criterion) {
    let mut group = c.benchmark_group("reduce");
    group.throughput(Throughput::Bytes(OPERAND as u64));
    // Words, so that any element type is aligned; zeros, so that no sum ever leaves its range.
    let (mut accumulator, input) = (vec![0u64; OPERAND / 8], vec![0u64; OPERAND / 8]);
    for op in [ReduceOp::Sum, ReduceOp::Max] {
        for dtype in TYPES {
            group.bench_function(BenchmarkId::new(op.name(), dtype), |bencher| {
                bencher.iter(|| {
                    let accumulator = bytemuck::cast_slice_mut(&mut accumulator);
                    reduce_into(op, dtype, accumulator, black_box(bytemuck::cast_slice(&input)))
                        .expect("operands fit")
                });
            });
        }
    }
    group.finish();
}

fn schedule(c: &mut Criterion) {
    let mut group = c.benchmark_group("schedule");
    let options = Options::default();
    for (collective, elements) in
        [(Collective::Barrier, 0), (Collective::AllReduce, 2), (Collective::AllReduce, 1 << 20)]
    {
        for ranks in [2, 64, 1024] {
            let call = Call::new(collective, ranks / 2, ranks, elements);
            group.bench_function(BenchmarkId::new(format!("{collective} of {elements}"), ranks), |bencher| {
                bencher.iter(|| plan(black_box(&call), 4, &options).expect("the call is sound"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, reduce, schedule);
criterion_main!(benches);
