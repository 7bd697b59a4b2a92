//! More of everything than anybody needs.

use std::time::{Duration, Instant};

use efa_core::fabric::Provider;
use efa_core::memory::Access;
use efa_core::{Endpoint, Error};

use super::common;

/// tcp is given all receives at once, and libfabric searches them one by one for each that is cancelled. efa registers
/// the memory of each, and a device has a limit on registrations, which the tests of this program share.
fn many() -> usize {
    match common::provider() {
        Provider::Tcp => 10_000,
        Provider::Efa => 2_000,
        _ => 100_000,
    }
}

/// How long ending all of them may take, on a slow machine and without optimisation.
const SOON: Duration = Duration::from_secs(40);

fn alone(timeout: Duration) -> Endpoint {
    common::endpoints(1, common::config().timeout(timeout)).0.pop().unwrap()
}

#[test]
fn very_many_receives_end_at_their_deadline() {
    let endpoint = alone(Duration::from_secs(5));
    // Those that were dropped end, too, so that their buffers come back.
    let first: Vec<_> = (0..many()).map(|tag| endpoint.recv(0, tag as u32, vec![0u8; 0])).collect();
    first.into_iter().rev().for_each(drop);
    let begun = Instant::now();
    let receives: Vec<_> = (0..many()).map(|tag| endpoint.recv(0, tag as u32, vec![0u8; 8])).collect();
    for receive in receives {
        let (result, buffer) = common::both(receive.wait());
        assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
        assert_eq!(buffer.len(), 8);
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(endpoint.is_open());
}

#[test]
fn closing_ends_very_many_operations_that_were_cancelled_forgotten_or_dropped() {
    let endpoint = alone(Duration::from_secs(300));
    let begun = Instant::now();
    let receives: Vec<_> = (0..many()).map(|tag| endpoint.recv(0, tag as u32, vec![0u8; 8])).collect();
    for (number, receive) in receives.into_iter().rev().enumerate() {
        match number % 3 {
            0 => receive.cancel(),
            1 => std::mem::forget(receive),
            _ => drop(receive),
        }
    }
    endpoint.close();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_wait_for_immediates_that_another_one_s_end_lets_end_is_looked_at_no_more() {
    let timeout = Duration::from_secs(2);
    let endpoint = alone(timeout);
    let region = endpoint.allocate::<u8>(8).unwrap().expose(Access::Write).unwrap();
    let first = endpoint.immediate_data(5, 3);
    endpoint.write_immediate_blocking(&region.remote(), 0, &[1u8], 5).unwrap();
    std::thread::sleep(timeout / 2);
    // It is served when the first one has given up, and its slot is given back at once.
    drop(endpoint.immediate_data(5, 1));
    assert!(matches!(common::both(first.wait()).0, Err(Error::Timeout { .. })));
    std::thread::sleep(timeout / 4);
    assert!(endpoint.is_open());
}
