//! A program that tries to get at memory it has no right to, with safe code and with what peers could have sent.

use bytemuck::{Pod, Zeroable};
use efa_core::endpoint::{PeerAddress, Unconnected};
use efa_core::fabric::Provider;
use efa_core::memory::{Access, Pages, RemoteRegion};
use efa_core::{Endpoint, Error, Result};
use std::sync::Arc;

use super::common::{
    admit, both, config, endpoints, learn, meet, members, pattern, provider, ranks, tell, until,
};

/// Plain data with an alignment that ordinary pages don't have.
#[repr(C, align(8192))]
#[derive(Clone, Copy)]
struct Wide([u8; 8192]);

// SAFETY: all zeros are a valid array.
unsafe impl Zeroable for Wide {}
// SAFETY: bytes without padding, as the size is that of the alignment.
unsafe impl Pod for Wide {}

fn misuse<T>(result: Result<T>) -> String {
    match result {
        Err(Error::Misuse(text)) => text.why,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was let through"),
    }
}

#[test]
fn memory_is_aligned_as_its_type_wants_or_refused() {
    ranks(1, |endpoint| {
        let why = misuse(endpoint.allocate::<Wide>(4));
        assert!(why.contains("8192"), "{why}");
        misuse(endpoint.allocate::<Wide>(0));
        misuse(endpoint.allocate_pages::<Wide>(4, Pages::Transparent));
        // Huge pages are aligned enough, where there are any.
        if let Ok(huge) = endpoint.allocate_pages::<Wide>(4, Pages::Huge) {
            assert!(huge.iter().all(|wide| wide.0 == [0; 8192]));
        }
    });
}

#[test]
fn sizes_that_overflow_are_refused() {
    ranks(1, |endpoint| {
        for (size, count) in [(usize::MAX, 1), (usize::MAX - 62, 0), (usize::MAX / 2, 3), (1, usize::MAX)] {
            misuse(endpoint.pool(size, count));
        }
        misuse(endpoint.allocate::<u64>(usize::MAX / 8 + 1));
        let pool = endpoint.pool(0, 2).unwrap();
        assert!(pool.take().unwrap().is_empty());
    });
}

#[test]
fn elements_without_a_size_take_no_memory_and_do_no_harm() {
    ranks(1, |endpoint| {
        let mut nothing = endpoint.allocate::<()>(usize::MAX).unwrap();
        assert_eq!(nothing.len(), usize::MAX);
        assert_eq!(nothing.pieces_mut(usize::MAX / 2).count(), 3);
        let region = nothing.expose(Access::ReadWrite).unwrap();
        region.copy_out(7, &mut [(); 5]).unwrap();
        region.copy_in(usize::MAX - 5, &[(); 5]).unwrap();
        misuse(region.copy_in(usize::MAX - 4, &[(); 5]));
        let remote = region.remote();
        assert_eq!(remote.byte_len(), 0);
        misuse(endpoint.read_blocking(&remote, 0, &mut [0u8]));
        let sending = endpoint.send(0, 1u32, vec![(); 9]);
        assert_eq!(endpoint.recv_blocking(0, 1u32, &mut [(); 9]).unwrap().bytes, 0);
        sending.wait().unwrap();
    });
}

/// Opens two endpoints and returns what each needs to connect.
fn unconnected() -> (Vec<Unconnected>, Vec<PeerAddress>) {
    let members = members(2);
    let admission = admit(&members);
    let open: Vec<_> = members.iter().map(|_| Endpoint::open(&admission, config()).unwrap()).collect();
    let peer_addresses =
        open.iter().zip(&members).map(|(endpoint, facts)| endpoint.peer_address(facts)).collect();
    (open, peer_addresses)
}

/// Returns the peer address with another address, as a peer could send it.
fn forged(peer_address: &PeerAddress, address: &[u8]) -> PeerAddress {
    let mut wire = serde_json::to_value(peer_address).unwrap();
    wire["address"] = address.into();
    serde_json::from_value(wire).unwrap()
}

fn connect(change: impl Fn(&[u8]) -> Vec<u8>) -> Result<Endpoint> {
    let (mut open, mut peer_addresses) = unconnected();
    peer_addresses[1] = forged(&peer_addresses[1], &change(peer_addresses[1].address()));
    open.swap_remove(0).connect(0, peer_addresses, Arc::new(efa_core::bootstrap::Liveness::alone(2)))
}

#[test]
fn an_address_that_libfabric_would_read_past_its_end_is_refused() {
    connect(<[u8]>::to_vec).unwrap();
    misuse(connect(|address| address[..address.len() - 1].to_vec()));
    misuse(connect(|address| [address, address].concat()));
    misuse(connect(|address| [address, b"\0"].concat()));
    misuse(connect(|_| b"\0".to_vec()));
    if provider() == Provider::Shm {
        misuse(connect(|address| [&[b'a'; 300][..], address].concat()));
    } else {
        misuse(connect(|_| b"efa-ep.1.2.3.4\0".to_vec()));
    }
}

#[test]
fn two_ranks_with_one_address_are_refused() {
    let (mut open, mut peer_addresses) = unconnected();
    let first = peer_addresses[0].address().to_vec();
    peer_addresses[1] = forged(&peer_addresses[1], &first);
    let why = misuse(open.swap_remove(0).connect(
        0,
        peer_addresses,
        Arc::new(efa_core::bootstrap::Liveness::alone(2)),
    ));
    assert!(why.contains("the same address"), "{why}");
}

#[test]
fn a_region_that_a_peer_made_up_is_refused_before_anything_is_sent() {
    ranks(1, |endpoint| {
        let region = endpoint.allocate::<u8>(64).unwrap().expose(Access::ReadWrite).unwrap();
        let mut wire = region.remote().to_bytes();
        // Of a rank that does not exist.
        wire[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let stranger = RemoteRegion::from_bytes(&wire).unwrap();
        misuse(endpoint.write_blocking(&stranger, 0, &[1u8]));
        misuse(both(endpoint.read(&stranger, 0, vec![0u8; 1]).wait()).0);
        // Longer than the address space.
        wire[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(RemoteRegion::from_bytes(&wire), Err(Error::Setting(_))));
    });
}

#[test]
fn memory_registered_by_another_endpoint_serves_this_one_too() {
    const LEN: usize = 100_000;
    ranks(2, |endpoint| {
        // Of an endpoint that is open, and of one that is closed by then.
        let mut other = endpoints(1, config()).0.pop();
        let mut buffers: Vec<_> =
            (0..2).map(|_| other.as_ref().unwrap().allocate::<u8>(LEN).unwrap()).collect();
        let pool = other.as_ref().unwrap().pool(LEN, 1).unwrap();
        for closed in [false, true] {
            if closed {
                drop(other.take());
            }
            let mut buffer = buffers.pop().unwrap();
            let peer = 1 - endpoint.rank();
            if endpoint.rank() == 0 {
                buffer.copy_from_slice(&pattern(LEN, 1));
                endpoint.send(peer, 1u32, buffer).wait().unwrap();
                let mut pooled = pool.take().unwrap();
                pooled.copy_from_slice(&pattern(LEN, 2));
                endpoint.send(peer, 2u32, pooled).wait().unwrap();
            } else {
                let (_, got) = endpoint.recv(peer, 1u32, buffer).wait().unwrap();
                assert!(got[..] == pattern(LEN, 1));
                let (_, got) = endpoint.recv(peer, 2u32, pool.take().unwrap()).wait().unwrap();
                assert!(got[..] == pattern(LEN, 2));
            }
            meet(&endpoint);
        }
    });
}

#[test]
fn memory_that_can_only_be_read_is_sent_and_written_all_the_same() {
    const LEN: usize = 300_000;
    // In pages of the program's file that nobody may write: a device that would like to must be given a copy.
    static CONSTANT: [u8; LEN] = [7; LEN];
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            endpoint.send_blocking(1, 1u32, &CONSTANT).unwrap();
            let (_, same) = endpoint.send(1, 2u32, &CONSTANT[..]).wait().unwrap();
            assert!(std::ptr::eq(same, &CONSTANT[..]));
            drop(endpoint.send(1, 3u32, &CONSTANT[1..]));
            let region = learn(&endpoint, 1);
            endpoint.write_blocking(&region, 0, &CONSTANT).unwrap();
        } else {
            let mut got = vec![0u8; LEN];
            for tag in 1..4u32 {
                got.fill(0);
                let bytes = endpoint.recv_blocking(0, tag, &mut got).unwrap().bytes;
                assert!(bytes >= LEN - 1 && got[..bytes].iter().all(|&byte| byte == 7));
            }
            let region = endpoint.allocate::<u8>(LEN).unwrap().expose(Access::Write).unwrap();
            tell(&endpoint, &region);
            meet(&endpoint);
            assert!(region.to_vec() == CONSTANT);
            return;
        }
        meet(&endpoint);
    });
}

#[test]
fn a_pooled_buffer_comes_back_when_the_device_is_done_with_it_and_not_before() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 1 {
            return meet(&endpoint);
        }
        let pool = endpoint.pool(1000, 3).unwrap();
        drop(endpoint.recv(1, 1u32, pool.take().unwrap()));
        std::mem::forget(endpoint.recv(1, 2u32, pool.take().unwrap()));
        let held = endpoint.recv(1, 3u32, pool.take().unwrap());
        assert!(pool.take().is_none());
        meet(&endpoint);
        endpoint.close();
        assert_eq!(
            pool.available(),
            1,
            "the dropped receive ended with the endpoint, the leaked one keeps its buffer"
        );
        let (result, buffer) = both(held.wait());
        assert!(matches!(result, Err(Error::Closed(_))), "{result:?}");
        let mut other = pool.take().unwrap();
        drop(pool);
        other.fill(1);
        assert!(buffer.iter().all(|&byte| byte == 0) && other.iter().all(|&byte| byte == 1));
    });
}

#[test]
fn what_peers_write_to_a_region_that_was_closed_lands_in_no_other_memory() {
    const LEN: usize = 1 << 18;
    const ROUNDS: usize = 10;
    ranks(2, |endpoint| {
        for _ in 0..ROUNDS {
            if endpoint.rank() == 0 {
                let region = endpoint.allocate::<u8>(LEN).unwrap().expose(Access::Write).unwrap();
                tell(&endpoint, &region);
                endpoint.recv_blocking(1, 1u32, &mut [0u8]).unwrap();
                // Writes are on their way. Memory that is freed now is the next to be allocated.
                drop(region);
                let fresh: Vec<_> = (0..4).map(|_| endpoint.allocate::<u8>(LEN).unwrap()).collect();
                meet(&endpoint);
                assert!(fresh.iter().all(|buffer| buffer.iter().all(|&byte| byte == 0)));
            } else {
                let region = learn(&endpoint, 0);
                let writes: Vec<_> = (0..4).map(|_| endpoint.write(&region, 0, vec![0xEEu8; LEN])).collect();
                endpoint.send_blocking(0, 1u32, &[0u8]).unwrap();
                for write in writes {
                    // In place, or refused because the region is closed.
                    let (result, buffer) = both(write.wait());
                    assert!(matches!(result, Ok(_) | Err(Error::Operation { .. })), "{result:?}");
                    assert_eq!(buffer.len(), LEN);
                }
                meet(&endpoint);
            }
        }
    });
}

#[test]
fn a_buffer_is_given_back_or_dropped_once_whichever_way_its_operation_goes() {
    ranks(1, |endpoint| {
        let buffer: Arc<[u8]> = vec![7u8; 16].into();
        let alone = || until("the buffer is dropped", || Arc::strong_count(&buffer) == 1);
        let take = |tag: u32| endpoint.recv_blocking(0, tag, &mut [0u8; 16]).unwrap();
        // Refused, over at once, over later, waited for with and without a limit, as a future.
        drop(endpoint.send(99, 1u32, buffer.clone()));
        assert_eq!(Arc::strong_count(&buffer), 1);
        drop(endpoint.send(0, 1u32, buffer.clone()));
        take(1);
        alone();
        drop(endpoint.send(0, 2u32, buffer.clone()).wait());
        take(2);
        alone();
        let limit = std::time::Duration::from_secs(30);
        let operation = endpoint.send(0, 3u32, buffer.clone());
        assert!(operation.wait_timeout(limit));
        drop(operation);
        take(3);
        alone();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        drop(runtime.block_on(endpoint.send(0, 4u32, buffer.clone())));
        take(4);
        alone();
        endpoint.scope(|scope| {
            drop(scope.send(99, 5u32, buffer.clone()));
            assert_eq!(Arc::strong_count(&buffer), 1);
            drop(scope.send(0, 5u32, buffer.clone()));
            drop(scope.send(0, 6u32, buffer.clone()).wait());
            take(5);
            take(6);
        });
        assert_eq!(Arc::strong_count(&buffer), 1);
    });
}
