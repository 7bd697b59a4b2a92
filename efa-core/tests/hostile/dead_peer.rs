//! Peers that die: every operation with one ends soon, with an error that names it.

use std::thread;
use std::time::{Duration, Instant};

use efa_core::fabric::Provider;
use efa_core::memory::Access;
use efa_core::{Endpoint, Error, Source};

use super::common;

const SOON: Duration = Duration::from_secs(20);

/// Checks that an error is the loss of rank 1, and that it says how that is known.
fn names_rank_one(error: &Error) {
    assert!(matches!(error, Error::PeerLost { .. }), "{error}");
    assert_eq!(error.peer().unwrap().rank, 1);
    assert!(error.to_string().contains("its power went out"), "{error}");
}

#[test]
fn nothing_can_be_sent_to_a_rank_that_is_known_to_be_dead() {
    let (mut all, liveness) = common::endpoints(2, common::config());
    let (one, zero): (Endpoint, Endpoint) = (all.pop().unwrap(), all.pop().unwrap());
    let region = one.allocate::<u8>(5000).unwrap().expose(Access::ReadWrite).unwrap();
    zero.send_blocking(1, 1u32, &[1u8; 64]).unwrap();
    one.recv_blocking(0, 1u32, &mut [0u8; 64]).unwrap();
    liveness.mark_dead(1, "its power went out");
    for size in [0, 8, 64, 1000, 5000, 1 << 20] {
        names_rank_one(&zero.send_blocking(1, 1u32, &vec![1u8; size]).unwrap_err());
        let (result, buffer) = common::both(zero.send(1, 1u32, vec![1u8; size]).wait());
        names_rank_one(&result.unwrap_err());
        assert_eq!(buffer.len(), size);
        let message = vec![1u8; size];
        let failed = zero.scope(|scope| scope.send(1, 1u32, &message[..]).wait().unwrap_err());
        names_rank_one(&failed.error);
    }
    names_rank_one(&zero.write_blocking(&region.remote(), 0, &[1u8; 8]).unwrap_err());
    names_rank_one(&zero.read_blocking(&region.remote(), 0, &mut [1u8; 8]).unwrap_err());
    // Nothing was posted, so nothing has to be taken back.
    assert!(zero.is_open());
    zero.send_blocking(0, 2u32, &[1u8; 8]).unwrap();
    zero.recv_blocking(0, 2u32, &mut [0u8; 8]).unwrap();
    drop(region);
}

#[test]
fn a_failure_that_the_peers_death_explains_names_the_peer_and_not_the_program() {
    if common::provider() == Provider::Shm {
        // libfabric's shm crashes in a process where an endpoint writes to another that has been closed.
        return;
    }
    let (mut all, liveness) = common::endpoints(2, common::config());
    let (one, zero) = (all.pop().unwrap(), all.pop().unwrap());
    let region = one.allocate::<u8>(1 << 20).unwrap().expose(Access::ReadWrite).unwrap();
    let remote = region.remote();
    zero.write_blocking(&remote, 0, &[1u8; 8]).unwrap();
    one.close();
    thread::scope(|scope| {
        // The provider knows at once, the control connection a moment later.
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(150));
            liveness.mark_dead(1, "its power went out");
        });
        let begun = Instant::now();
        names_rank_one(&zero.write_blocking(&remote, 0, &vec![1u8; 1 << 20]).unwrap_err());
        assert!(begun.elapsed() < SOON);
    });
}

#[test]
fn a_receive_from_any_rank_that_ends_because_all_are_gone_names_them() {
    let (mut all, liveness) = common::endpoints(3, common::config());
    let zero = all.remove(0);
    let receive = zero.recv(Source::Any, 1u32, vec![0u8; 8]);
    liveness.mark_dead(1, "its power went out");
    assert!(!receive.wait_timeout(Duration::from_millis(300)));
    liveness.mark_dead(2, "its disk is full");
    let error = receive.wait().unwrap_err().error;
    names_rank_one(&error);
    assert!(
        error.to_string().contains("rank 2") && error.to_string().contains("its disk is full"),
        "{error}"
    );
    names_rank_one(&zero.recv_blocking(Source::Any, 1u32, &mut [0u8; 8]).unwrap_err());
}
