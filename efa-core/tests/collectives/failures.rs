//! One rank fails, is different, or never comes: the others get an error that names it, and nobody hangs.

use std::sync::Barrier;
use std::time::Duration;

use efa_core::collective::{Algorithm, Options, ReduceOp};
use efa_core::fabric::{Provider, ProviderChoice};
use efa_core::{Communicator, Error};

use crate::common::provider;
use crate::job::{join, members, run};

/// Leaves the job without a goodbye, as a process does that crashes.
fn die(world: Communicator) {
    let crash = std::panic::AssertUnwindSafe(move || {
        let _world = world;
        // Without a message of its own: this panic is part of the test.
        std::panic::resume_unwind(Box::new("as intended"));
    });
    assert!(std::panic::catch_unwind(crash).is_err());
}

/// libfabric's shm shares memory among the endpoints of one process: one that closes early takes it away from others
/// that still have its messages. `efa-cli/tests/jobs` does the same with processes.
fn needs_processes() -> bool {
    provider() == Provider::Shm
}

/// Lets rank 2 of 4 die while the others are in a collective, or on their way into it.
fn rank_two_dies(options: Options, collective: impl Fn(&Communicator) -> efa_core::Result<()> + Sync) {
    if needs_processes() {
        return;
    }
    let met = Barrier::new(4);
    let over = Barrier::new(4);
    run(4, |mut world| {
        world.barrier().unwrap();
        // Rank 2 is out of the barrier first, maybe; its end would be the end of this collective, too.
        met.wait();
        world.set_options(options);
        if world.rank() == 2 {
            die(world);
            over.wait();
            return;
        }
        let error = collective(&world).unwrap_err();
        assert_eq!(error.peer().map(|peer| peer.rank), Some(2), "rank {}: {error}", world.rank());
        let again = world.barrier().unwrap_err();
        assert!(matches!(again, Error::Closed(_)), "{again}");
        // Nobody leaves before all have their error, so that none of them gets it from another's end.
        over.wait();
    });
}

#[test]
fn a_rank_that_dies_in_a_ring_is_named_by_all_the_others() {
    let options = Options { algorithm: Algorithm::Ring, ..Options::default() };
    rank_two_dies(options, |world| world.all_reduce_in_place(&mut vec![1u32; 1 << 20], ReduceOp::Sum));
}

#[test]
fn a_rank_that_dies_in_recursive_doubling_is_named_by_all_the_others() {
    let options = Options { algorithm: Algorithm::RecursiveDoubling, ..Options::default() };
    rank_two_dies(options, |world| world.all_reduce_in_place(&mut vec![1u32; 1 << 20], ReduceOp::Sum));
}

#[test]
fn a_rank_that_dies_before_a_barrier_is_named_by_all_the_others() {
    rank_two_dies(Options::default(), Communicator::barrier);
}

#[test]
fn a_job_that_is_called_off_ends_a_collective_and_says_who_did() {
    if needs_processes() {
        return;
    }
    let over = Barrier::new(3);
    run(3, |world| {
        if world.rank() == 1 {
            world.control().abort("the input file is broken");
            over.wait();
            return;
        }
        let error = world.all_reduce_in_place(&mut vec![1u32; 1 << 20], ReduceOp::Sum).unwrap_err();
        match &error {
            Error::Aborted { by, .. } => assert_eq!(by.rank, 1),
            other => panic!("{other}"),
        }
        assert!(error.to_string().contains("the input file is broken"), "{error}");
        over.wait();
    });
}

#[test]
fn ranks_that_bring_different_lengths_learn_of_it() {
    // A message that is too long, or too short, ends the collective where it arrives; the rest learn of those ranks.
    run(2, |world| {
        let mut data = vec![1u32; if world.rank() == 0 { 100 } else { 200 }];
        let error = world.all_reduce_in_place(&mut data, ReduceOp::Sum).unwrap_err();
        let clear = matches!(error, Error::Misuse(_) | Error::Truncated { .. } | Error::PeerLost { .. });
        assert!(clear, "{error}");
    });
}

#[test]
fn ranks_that_want_different_providers_are_refused_by_name() {
    let mut members = members(3);
    let other = if provider() == Provider::Tcp { Provider::Shm } else { Provider::Tcp };
    members[1].provider = ProviderChoice::Only(other);
    join(members, |rank, world| {
        let error = world.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("rank 1") && text.contains(other.name()), "rank {rank}: {text}");
        assert!(text.contains(provider().name()), "rank {rank}: {text}");
    });
}

#[test]
fn a_rank_that_never_comes_is_named_to_all_who_did() {
    let mut members = members(4);
    members.remove(3);
    for member in &mut members {
        member.arrival = Duration::from_secs(3);
    }
    join(members, |_, world| {
        let error = world.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(error.to_string().contains('3'), "{error}");
    });
}

#[test]
fn a_device_that_only_one_rank_lacks_ends_the_job_for_all() {
    let mut members = members(3);
    members[2].endpoint.device = Some("no-such-device".into());
    join(members, |rank, world| {
        let error = world.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no-such-device"), "rank {rank}: {text}");
        if rank != 2 {
            assert!(text.contains("rank 2"), "rank {rank}: {text}");
        }
    });
}
