//! In the steady state no operation allocates memory: what it needs was made before, and is used again.

mod common;
#[path = "collectives/job.rs"]
mod job;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{meet, ranks};
use efa_core::Endpoint;
use efa_core::collective::{Located, ReduceOp, UserOp};
use efa_core::memory::Access;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread.
struct Counting;

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: passed on to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: passed on to the caller.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs `body` on two ranks until everything is warm, then counts what it allocates.
fn allocates_nothing(body: impl Fn(&Endpoint, &mut Buffers) + Sync) {
    const WARM_UP: usize = 300;
    const ROUNDS: usize = 100;
    const ATTEMPTS: usize = 4;
    ranks(2, |endpoint| {
        let mut buffers = Buffers::new(&endpoint);
        (0..WARM_UP).for_each(|_| body(&endpoint, &mut buffers));
        // More operations than ever may be under way at a time for once, and need room; an operation that allocates
        // shows every time.
        let counts: Vec<u64> = (0..ATTEMPTS)
            .map(|_| {
                let before = ALLOCATIONS.get();
                (0..ROUNDS).for_each(|_| body(&endpoint, &mut buffers));
                ALLOCATIONS.get() - before
            })
            .collect();
        assert!(counts.contains(&0), "{counts:?} allocations in {ROUNDS} rounds each");
        meet(&endpoint);
    });
}

/// Memory that a round may use; owned buffers go into an operation and come back.
struct Buffers {
    small: Option<Vec<u8>>,
    large: Option<Vec<u8>>,
    region: efa_core::memory::Region<u8>,
    theirs: efa_core::memory::RemoteRegion,
}

impl Buffers {
    fn new(endpoint: &Endpoint) -> Self {
        let region = endpoint.allocate::<u8>(LARGE).unwrap().expose(Access::ReadWrite).unwrap();
        common::tell(endpoint, &region);
        let theirs = common::learn(endpoint, 1 - endpoint.rank());
        Self { small: Some(vec![0; SMALL]), large: Some(vec![0; LARGE]), region, theirs }
    }
}

const SMALL: usize = 64;
const LARGE: usize = 100_000;

#[test]
fn the_count_sees_allocations() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1u8; 10]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

#[test]
fn blocking_sends_and_receives_allocate_nothing() {
    allocates_nothing(|endpoint, buffers| {
        let peer = 1 - endpoint.rank();
        for buffer in [&mut buffers.small, &mut buffers.large] {
            let buffer = buffer.as_mut().unwrap();
            if endpoint.rank() == 0 {
                endpoint.send_blocking(peer, 1u32, buffer).unwrap();
                endpoint.recv_blocking(peer, 1u32, buffer).unwrap();
            } else {
                endpoint.recv_blocking(peer, 1u32, buffer).unwrap();
                endpoint.send_blocking(peer, 1u32, buffer).unwrap();
            }
        }
    });
}

#[test]
fn operations_that_own_their_buffers_allocate_nothing() {
    allocates_nothing(|endpoint, buffers| {
        let peer = 1 - endpoint.rank();
        let receive = endpoint.recv(peer, 1u32, buffers.large.take().unwrap());
        let send = endpoint.send(peer, 1u32, buffers.small.take().unwrap());
        buffers.small = Some(send.wait().unwrap().1);
        let (_, back) = receive.wait().unwrap();
        buffers.large = Some(back);
    });
}

#[test]
fn many_operations_under_way_allocate_nothing() {
    allocates_nothing(|endpoint, buffers| {
        let peer = 1 - endpoint.rank();
        let (small, large) = (buffers.small.as_ref().unwrap(), buffers.large.as_mut().unwrap());
        endpoint.scope(|scope| {
            let mut parts = large.chunks_mut(SMALL);
            let mut receives: [_; 16] =
                std::array::from_fn(|_| Some(scope.recv(peer, 1u32, parts.next().unwrap())));
            for _ in 0..16 {
                scope.send(peer, 1u32, &small[..]).wait().unwrap();
            }
            for receive in &mut receives {
                receive.take().unwrap().wait().unwrap();
            }
        });
    });
}

#[test]
fn remote_reads_writes_and_immediates_allocate_nothing() {
    allocates_nothing(|endpoint, buffers| {
        let theirs = buffers.theirs;
        let large = buffers.large.take().unwrap();
        let (_, large) = endpoint.write(&theirs, 0, large).wait().unwrap();
        endpoint.write_immediate_blocking(&theirs, 0, &large[..100], 3).unwrap();
        let (_, large) = endpoint.read(&theirs, 0, large).wait().unwrap();
        buffers.large = Some(large);
        endpoint.wait_for_immediate_data(3, 1).unwrap();
        buffers.region.copy_in(0, &[1u8; 10]).unwrap();
    });
}

#[test]
fn pooled_buffers_allocate_nothing() {
    ranks(2, |endpoint| {
        let peer = 1 - endpoint.rank();
        let pool = endpoint.pool(5000, 4).unwrap();
        let round = || {
            let receive = endpoint.recv(peer, 1u32, pool.take().unwrap());
            endpoint.send(peer, 1u32, pool.take().unwrap()).wait().unwrap();
            receive.wait().unwrap();
        };
        (0..300).for_each(|_| round());
        let before = ALLOCATIONS.get();
        (0..300).for_each(|_| round());
        assert_eq!(ALLOCATIONS.get() - before, 0);
        meet(&endpoint);
    });
}

#[test]
fn collectives_allocate_nothing() {
    const WARM_UP: usize = 50;
    const ROUNDS: usize = 20;
    const ATTEMPTS: usize = 4;
    job::run(3, |world| {
        let (rank, sum) = (world.rank(), ReduceOp::Sum);
        let counts = [4, 0, 5];
        let (mine, mut whole, mut own) = ([1u32; 3], [0u32; 9], [0u32; 5]);
        let (own, mut located) = (&mut own[..counts[rank]], [Located::new(1.0f32, 7)]);
        let mut round = || {
            world.barrier().unwrap();
            world.broadcast(&mut whole, 1).unwrap();
            world.reduce(&mine, &mut whole[..3], sum, 2).unwrap();
            world.all_reduce(&mine, &mut whole[..3], sum).unwrap();
            world.all_reduce_in_place(&mut located, ReduceOp::Max).unwrap();
            world.all_reduce_in_place(&mut whole, UserOp::ordered(|a: u32, _| a)).unwrap();
            world.gather(&mine, &mut whole, 0).unwrap();
            world.gather_counts(own, &mut whole, &counts, 0).unwrap();
            world.scatter_in_place(if rank == 0 { &mut whole } else { &mut whole[..3] }, 0).unwrap();
            world.scatter_counts(&whole, own, &counts, 1).unwrap();
            world.all_gather(&mine, &mut whole).unwrap();
            world.all_gather_counts(own, &mut whole, &counts).unwrap();
            world.reduce_scatter_in_place(&mut whole, sum).unwrap();
            world.reduce_scatter_counts(&whole, own, &counts, sum).unwrap();
            world.all_to_all_in_place(&mut whole).unwrap();
            world.all_to_all_counts(&mine, &[1; 3], &mut whole[..3], &[1; 3]).unwrap();
            world.scan(&mine, &mut whole[..3], sum).unwrap();
            world.exclusive_scan_in_place(&mut whole, sum).unwrap();
        };
        (0..WARM_UP).for_each(|_| round());
        let counts: Vec<u64> = (0..ATTEMPTS)
            .map(|_| {
                let before = ALLOCATIONS.get();
                (0..ROUNDS).for_each(|_| round());
                ALLOCATIONS.get() - before
            })
            .collect();
        assert!(counts.contains(&0), "{counts:?} allocations in {ROUNDS} rounds each");
        world.finish().unwrap();
    });
}
