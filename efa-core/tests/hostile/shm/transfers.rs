//! Messages and remote operations that don't fit: too long, or to a region that is closed.

use std::time::Duration;

use efa_core::memory::Access;
use efa_core::{Endpoint, Error};

use super::again::{self, Again};
use super::{LONG, common, is_ours};

/// Has libfabric send long messages in segments, as it does where processes may not read one another's memory.
const SEGMENTED: (&str, &str) = ("FI_SHM_DISABLE_CMA", "1");

/// Runs `body` in this process, and in one that sends in segments.
fn both_ways(test: impl Fn(), body: impl FnOnce()) {
    if !is_ours() {
        return;
    }
    if again::given().is_none() {
        // Freed memory is overwritten, so that its use shows.
        Again::start(test, "", &[SEGMENTED, ("MALLOC_PERTURB_", "165")]).passes();
    }
    body();
}

#[test]
fn a_receive_that_is_too_small_is_truncated() {
    if is_ours()
        && !common::is_patched("a receive that is too small for its message ends the process, or never ends")
    {
        return;
    }
    both_ways(a_receive_that_is_too_small_is_truncated, || {
        common::ranks(2, |endpoint| {
            let mut tag = 0u32;
            // In the command itself, in a buffer, in one batch of segments, in several.
            for len in [100, 1000, 100_000, 20 * LONG] {
                for is_posted_first in [true, false] {
                    too_small(&endpoint, &mut tag, len, is_posted_first);
                }
            }
        });
    });
}

fn too_small(endpoint: &Endpoint, tag: &mut u32, len: usize, is_posted_first: bool) {
    *tag += 2;
    let message = common::pattern(len, *tag as usize);
    if endpoint.rank() == 0 {
        if is_posted_first {
            common::meet(endpoint);
        }
        let send = endpoint.send(1, *tag, message.clone());
        if !is_posted_first {
            common::meet(endpoint);
        }
        // Whether it learns of it is the provider's choice; it ends.
        assert!(!matches!(common::both(send.wait()).0, Err(Error::Timeout { .. } | Error::Closed(_))));
        endpoint.send_blocking(1, *tag + 1, &message).unwrap();
    } else {
        let post = || endpoint.recv(0, *tag, vec![0u8; 10]);
        let receive = if is_posted_first {
            let receive = post();
            common::meet(endpoint);
            receive
        } else {
            common::meet(endpoint);
            post()
        };
        let result = common::both(receive.wait()).0;
        assert!(matches!(result, Err(Error::Truncated { capacity: 10, .. })), "{len}: {result:?}");
        let mut got = vec![0u8; len];
        endpoint.recv_blocking(0, *tag + 1, &mut got).unwrap();
        assert!(got == message, "the next one is as it was sent");
    }
}

#[test]
fn a_remote_operation_on_a_closed_region_fails_at_once() {
    if is_ours() && !common::is_patched("on shm a closed region is still reached") {
        return;
    }
    both_ways(a_remote_operation_on_a_closed_region_fails_at_once, || {
        common::ranks(2, |endpoint| {
            if endpoint.rank() == 0 {
                let region = endpoint.allocate::<u64>(LONG / 8).unwrap().expose(Access::ReadWrite).unwrap();
                common::tell(&endpoint, &region);
                region.close();
                common::meet(&endpoint);
                common::meet(&endpoint);
                return;
            }
            let region = common::learn(&endpoint, 0);
            common::meet(&endpoint);
            for len in [8, 1000, LONG] {
                let results = [
                    common::both(endpoint.write(&region, 0, vec![1u8; len]).wait()).0,
                    common::both(endpoint.read(&region, 0, vec![1u8; len]).wait()).0,
                    common::both(endpoint.write_immediate(&region, 0, vec![1u8; len], 7).wait()).0,
                ];
                for result in results {
                    assert!(matches!(result, Err(Error::Operation { .. })), "{len} bytes: {result:?}");
                }
            }
            let error = endpoint.fetch_add(&region, 0, 1u64).unwrap_err();
            assert!(matches!(error, Error::Operation { .. }), "{error:?}");
            // And the endpoint goes on.
            common::meet(&endpoint);
        });
    });
}

#[test]
fn a_region_may_be_closed_during_a_segmented_transfer() {
    both_ways(a_region_may_be_closed_during_a_segmented_transfer, || {
        common::ranks(2, |endpoint| {
            for round in 0..20u64 {
                if endpoint.rank() == 0 {
                    let region =
                        endpoint.allocate::<u8>(32 * LONG).unwrap().expose(Access::ReadWrite).unwrap();
                    common::tell(&endpoint, &region);
                    common::meet(&endpoint);
                    std::thread::sleep(Duration::from_micros(400 * round));
                    region.close();
                    // Takes the freed object's place.
                    let filling: Vec<_> =
                        (0..2048).map(|number| vec![0xA5u8; 64 + 8 * (number % 32)]).collect();
                    common::meet(&endpoint);
                    drop(filling);
                } else {
                    let region = common::learn(&endpoint, 0);
                    // Made before, which takes longer than the other rank waits.
                    let buffer = vec![1u8; 32 * LONG];
                    common::meet(&endpoint);
                    // It ends, one way or the other.
                    let result = match round % 2 {
                        0 => common::both(endpoint.write(&region, 0, buffer).wait()).0,
                        _ => common::both(endpoint.read(&region, 0, buffer).wait()).0,
                    };
                    assert!(!matches!(result, Err(Error::Timeout { .. } | Error::Closed(_))), "{result:?}");
                    common::meet(&endpoint);
                }
            }
        });
    });
}
