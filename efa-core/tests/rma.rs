//! Remote memory: what is written or read is exactly what was asked for, and nothing outside of a region is.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{both, config, is_patched, learn, meet, pattern, provider, ranks, ranks_with, tell, until};
use efa_core::fabric::Provider;
use efa_core::memory::{Access, MappedFile, RemoteRegion};
use efa_core::{Error, OpError};

const SIZES: [usize; 8] = [0, 1, 7, 64, 4096, 4097, 65_537, 1 << 20];
const OFFSETS: [usize; 4] = [0, 1, 13, 4096];
const REGION: usize = (1 << 20) + 8192;

fn is_misuse<T>(result: efa_core::Result<T>) {
    match result {
        Err(Error::Misuse(_)) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was let through"),
    }
}

#[test]
fn a_remote_write_lands_at_its_offset_and_nowhere_else() {
    ranks(2, |endpoint| {
        let places = || SIZES.into_iter().flat_map(|size| OFFSETS.map(|offset| (size, offset)));
        if endpoint.rank() == 0 {
            let region = endpoint.allocate::<u8>(REGION).unwrap().expose(Access::Write).unwrap();
            let mut expected = vec![0; REGION];
            tell(&endpoint, &region);
            for (size, offset) in places() {
                meet(&endpoint);
                expected[offset..offset + size].copy_from_slice(&pattern(size, offset));
                assert!(region.to_vec() == expected, "{size} bytes at {offset}");
                meet(&endpoint);
            }
        } else {
            let region = learn(&endpoint, 0);
            for (number, (size, offset)) in places().enumerate() {
                let bytes = pattern(size, offset);
                if number % 2 == 0 {
                    endpoint.write_blocking(&region, offset, &bytes).unwrap();
                } else {
                    let (completion, back) = endpoint.write(&region, offset, bytes.clone()).wait().unwrap();
                    assert_eq!((completion.bytes, back == bytes), (size, true));
                }
                meet(&endpoint);
                meet(&endpoint);
            }
        }
    });
}

#[test]
fn a_remote_read_brings_what_is_at_its_offset_and_overwrites_nothing_else() {
    ranks(2, |endpoint| {
        let contents = pattern(REGION, 5);
        if endpoint.rank() == 0 {
            let region = endpoint.allocate::<u8>(REGION).unwrap().expose(Access::Read).unwrap();
            region.copy_in(0, &contents).unwrap();
            tell(&endpoint, &region);
            meet(&endpoint);
            return;
        }
        let region = learn(&endpoint, 0);
        for size in SIZES {
            for offset in OFFSETS {
                let mut got = vec![0xEEu8; size + 16];
                endpoint.read_blocking(&region, offset, &mut got[8..8 + size]).unwrap();
                assert!(got[8..8 + size] == contents[offset..offset + size], "{size} bytes at {offset}");
                assert!(got[..8] == [0xEE; 8] && got[8 + size..] == [0xEE; 8]);
                let (completion, got) = endpoint.read(&region, offset, vec![0u8; size]).wait().unwrap();
                assert_eq!(completion.bytes, size);
                assert!(got == contents[offset..offset + size], "{size} bytes at {offset}");
            }
        }
        meet(&endpoint);
    });
}

#[test]
fn a_count_of_immediates_is_reached_only_when_all_have_come_with_their_bytes() {
    const BLOCK: usize = 1000;
    ranks(4, |endpoint| {
        let (me, writers) = (endpoint.rank(), endpoint.size() - 1);
        if me == 0 {
            let region = endpoint.allocate::<u32>(BLOCK * writers).unwrap().expose(Access::Write).unwrap();
            tell(&endpoint, &region);
            let all = endpoint.immediate_data(7, writers as u64);
            // The last writer waits to be told, so until then one is missing for certain.
            for rank in 1..writers {
                endpoint.recv_blocking(rank, 1u32, &mut [0u8]).unwrap();
            }
            assert!(!all.is_done());
            endpoint.send_blocking(writers, 2u32, &[0u8]).unwrap();
            all.wait().unwrap();
            for (rank, block) in region.to_vec().chunks(BLOCK).enumerate() {
                assert!(block.iter().all(|&value| value == rank as u32 + 1), "block of rank {}", rank + 1);
            }
            meet(&endpoint);
        } else {
            let region = learn(&endpoint, 0);
            if me == writers {
                endpoint.recv_blocking(0, 2u32, &mut [0u8]).unwrap();
            }
            let block = vec![me as u32; BLOCK];
            endpoint.write_immediate_blocking(&region, (me - 1) * BLOCK * 4, &block, 7).unwrap();
            if me != writers {
                endpoint.send_blocking(0, 1u32, &[0u8]).unwrap();
            }
            meet(&endpoint);
        }
    });
}

#[test]
fn many_ranks_writing_with_many_immediates_lose_none() {
    const WRITES: usize = 200;
    ranks(4, |endpoint| {
        let (me, writers) = (endpoint.rank(), endpoint.size() - 1);
        if me == 0 {
            let region = endpoint.allocate::<u64>(WRITES * writers).unwrap().expose(Access::Write).unwrap();
            tell(&endpoint, &region);
            for value in 0..4 {
                endpoint.wait_for_immediate_data(value, (WRITES / 4 * writers) as u64).unwrap();
            }
            for (place, value) in region.to_vec().into_iter().enumerate() {
                assert_eq!(value, place as u64 + 1);
            }
            meet(&endpoint);
        } else {
            let region = learn(&endpoint, 0);
            let writes: Vec<_> = (0..WRITES)
                .map(|number| {
                    let place = (me - 1) * WRITES + number;
                    let value = vec![place as u64 + 1];
                    endpoint.write_immediate(&region, place * 8, value, number as u32 % 4)
                })
                .collect();
            for write in writes {
                write.wait().unwrap();
            }
            meet(&endpoint);
        }
    });
}

#[test]
fn a_wait_for_immediates_uses_them_up_and_can_be_cancelled() {
    ranks(1, |endpoint| {
        let region = endpoint.allocate::<u8>(8).unwrap().expose(Access::Write).unwrap().remote_of_self();
        for _ in 0..3 {
            endpoint.write_immediate_blocking(&region.1, 0, &[1u8], 5).unwrap();
        }
        endpoint.wait_for_immediate_data(5, 2).unwrap();
        let more = endpoint.immediate_data(5, 2);
        assert!(!more.is_done());
        more.cancel();
        assert!(matches!(more.wait(), Err(OpError { error: Error::Cancelled(_), .. })));
        endpoint.wait_for_immediate_data(5, 1).unwrap();
        endpoint.wait_for_immediate_data(5, 0).unwrap();

        // One that wants more must not keep what has come from one that came later, once it is gone.
        let (more, fewer) = (endpoint.immediate_data(5, 10), endpoint.immediate_data(5, 1));
        endpoint.write_immediate_blocking(&region.1, 0, &[1u8], 5).unwrap();
        assert!(!fewer.is_done());
        more.cancel();
        assert!(fewer.is_done());
        drop(more);
        fewer.wait().unwrap();
    });
}

/// A region together with the way to it, for a rank that writes to itself.
trait RemoteOfSelf: Sized {
    fn remote_of_self(self) -> (Self, RemoteRegion);
}

impl RemoteOfSelf for efa_core::memory::Region<u8> {
    fn remote_of_self(self) -> (Self, RemoteRegion) {
        let remote = self.remote();
        (self, remote)
    }
}

#[test]
fn what_lies_outside_of_a_region_or_its_rights_is_refused_before_anything_is_sent() {
    ranks(2, |endpoint| {
        let mine = endpoint.allocate::<u8>(64).unwrap();
        let access = if endpoint.rank() == 0 { Access::Read } else { Access::Write };
        let region = mine.expose(access).unwrap();
        tell(&endpoint, &region);
        let theirs = learn(&endpoint, 1 - endpoint.rank());
        let mut buffer = [0u8; 8];
        if theirs.access() == Access::Read {
            is_misuse(endpoint.write_blocking(&theirs, 0, &buffer));
            is_misuse(both(endpoint.write_immediate(&theirs, 0, vec![0u8; 8], 1).wait()).0);
            for offset in [57, 64, 65, usize::MAX] {
                is_misuse(endpoint.read_blocking(&theirs, offset, &mut buffer));
                is_misuse(both(endpoint.read(&theirs, offset, vec![0u8; 8]).wait()).0);
            }
            endpoint.read_blocking(&theirs, 56, &mut buffer).unwrap();
        } else {
            is_misuse(endpoint.read_blocking(&theirs, 0, &mut buffer));
            for offset in [57, 64, 65, usize::MAX] {
                is_misuse(endpoint.write_blocking(&theirs, offset, &buffer));
                is_misuse(both(endpoint.write(&theirs, offset, vec![0u8; 8]).wait()).0);
            }
            endpoint.write_blocking(&theirs, 56, &buffer).unwrap();
        }
        meet(&endpoint);
        assert_eq!(region.to_vec(), [0; 64]);
    });
}

#[test]
fn an_access_to_a_closed_region_is_an_error_that_names_its_owner_and_nobody_hangs() {
    if provider() == Provider::Shm && !is_patched("on shm a closed region is still reached") {
        return;
    }
    for write in [true, false] {
        let over = AtomicBool::new(false);
        // Where the provider never answers, the deadline of the operation ends it.
        ranks_with(2, config().timeout(Duration::from_secs(3)), |endpoint, _| {
            if endpoint.rank() == 0 {
                // An efa provider that is not patched keeps regions with both rights until the endpoint is closed.
                let access = match (provider(), write) {
                    (Provider::Efa, true) => Access::Write,
                    (Provider::Efa, false) => Access::Read,
                    _ => Access::ReadWrite,
                };
                let region = endpoint.allocate::<u8>(1 << 16).unwrap().expose(access).unwrap();
                tell(&endpoint, &region);
                region.close();
                // Only once the region is closed does the other rank go on.
                meet(&endpoint);
                until("the other rank has its error", || over.load(Ordering::Acquire));
            } else {
                let region = learn(&endpoint, 0);
                meet(&endpoint);
                let (result, buffer) = both(match write {
                    true => endpoint.write(&region, 0, vec![7u8; 1 << 16]).wait(),
                    false => endpoint.read(&region, 0, vec![7u8; 1 << 16]).wait(),
                });
                assert_eq!(buffer.len(), 1 << 16);
                let error = result.unwrap_err();
                let clear = matches!(error, Error::Operation { .. } | Error::Timeout { .. });
                assert!(clear && error.to_string().contains("rank 0"), "{error}");
                if provider() == Provider::Tcp {
                    assert!(error.to_string().contains("region is still open"), "{error}");
                }
                over.store(true, Ordering::Release);
            }
        });
    }
}

#[test]
fn a_target_that_computes_and_never_polls_is_read_and_written_all_the_same() {
    let done = AtomicBool::new(false);
    ranks(2, |endpoint| {
        const LEN: usize = 3 << 20;
        if endpoint.rank() == 0 {
            let region = endpoint.allocate::<u8>(LEN).unwrap().expose(Access::ReadWrite).unwrap();
            tell(&endpoint, &region);
            until("the other rank is done", || done.load(Ordering::Acquire));
            assert!(region.to_vec() == pattern(LEN, 9));
        } else {
            let region = learn(&endpoint, 0);
            endpoint.write_blocking(&region, 0, &pattern(LEN, 9)).unwrap();
            let mut back = vec![0u8; LEN];
            endpoint.read_blocking(&region, 0, &mut back).unwrap();
            assert!(back == pattern(LEN, 9));
            done.store(true, Ordering::Release);
        }
        meet(&endpoint);
    });
}

#[test]
fn a_rank_reaches_its_own_region_too() {
    ranks(1, |endpoint| {
        let region = endpoint.allocate::<u64>(4096).unwrap().expose(Access::ReadWrite).unwrap();
        let remote = region.remote();
        endpoint.write_blocking(&remote, 80, &[1u64, 2, 3]).unwrap();
        let mut back = [0u64; 3];
        endpoint.read_blocking(&remote, 80, &mut back).unwrap();
        assert_eq!(back, [1, 2, 3]);
        assert_eq!(region.to_vec()[9..14], [0, 1, 2, 3, 0]);
    });
}

#[test]
fn a_mapped_file_is_sent_and_written_straight_from_its_pages() {
    const LEN: usize = 3_000_001;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    std::fs::write(&path, pattern(LEN, 3)).unwrap();
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let file = MappedFile::open(&path).unwrap();
            let (completion, part) = endpoint.send(1, 1u32, file.slice(1000..LEN).unwrap()).wait().unwrap();
            assert_eq!(completion.bytes, LEN - 1000);
            let region = learn(&endpoint, 1);
            drop(file);
            // The slice keeps the file mapped.
            endpoint.write_immediate(&region, 0, part, 1).wait().unwrap();
        } else {
            let mut got = vec![0u8; LEN - 1000];
            endpoint.recv_blocking(0, 1u32, &mut got).unwrap();
            assert!(got == pattern(LEN, 3)[1000..]);
            let region = endpoint.allocate::<u8>(LEN - 1000).unwrap().expose(Access::Write).unwrap();
            tell(&endpoint, &region);
            endpoint.wait_for_immediate_data(1, 1).unwrap();
            assert!(region.to_vec() == got);
        }
        meet(&endpoint);
    });
}

#[test]
fn pooled_buffers_carry_messages_and_come_back() {
    ranks(2, |endpoint| {
        let pool = endpoint.pool(3000, 4).unwrap();
        let peer = 1 - endpoint.rank();
        for round in 0..20 {
            let mut send = pool.take().unwrap();
            send.copy_from_slice(&pattern(3000, round + endpoint.rank()));
            let receive = endpoint.recv(peer, 1u32, pool.take().unwrap());
            send.set_len(1000 + round).unwrap();
            let sending = endpoint.send(peer, 1u32, send);
            let (completion, got) = receive.wait().unwrap();
            let bytes = completion.bytes;
            assert_eq!(bytes, 1000 + round);
            assert!(got[..bytes] == pattern(3000, round + peer)[..bytes]);
            sending.wait().unwrap();
        }
        assert_eq!(pool.available(), 4);
        let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!((all.len(), pool.available()), (4, 0));
        is_misuse(all.into_iter().next().unwrap().set_len(3001));
        meet(&endpoint);
    });
}

#[test]
fn registered_memory_serves_every_verb_and_outlives_its_endpoint() {
    let kept = std::sync::Mutex::new(Vec::new());
    ranks(2, |endpoint| {
        let peer = 1 - endpoint.rank();
        let mut buffer = endpoint.allocate::<f32>(50_000).unwrap();
        assert!(buffer.iter().all(|&value| value == 0.0));
        buffer.fill(endpoint.rank() as f32 + 1.0);
        let region = endpoint.allocate::<f32>(50_000).unwrap().expose(Access::ReadWrite).unwrap();
        tell(&endpoint, &region);
        let theirs = learn(&endpoint, peer);
        let (_, buffer) = endpoint.write(&theirs, 0, buffer).wait().unwrap();
        meet(&endpoint);
        let other = endpoint.allocate::<f32>(50_000).unwrap();
        let (_, other) = endpoint.read(&theirs, 0, other).wait().unwrap();
        assert!(other[..] == buffer[..]);
        let receive = endpoint.recv(peer, 1u32, other);
        let (_, buffer) = endpoint.send(peer, 1u32, buffer).wait().unwrap();
        let (_, other) = receive.wait().unwrap();
        assert!(other.iter().all(|&value| value == peer as f32 + 1.0));
        meet(&endpoint);
        drop(endpoint);
        kept.lock().unwrap().push((buffer, other, region.to_vec()));
    });
    for (mut buffer, other, region) in kept.into_inner().unwrap() {
        buffer[49_999] = 5.0;
        assert!(other[0] > 0.0 && region[0] == other[0]);
    }
}

#[test]
fn memory_that_cannot_be_had_is_an_error_that_says_what_to_do() {
    use efa_core::memory::Pages;
    ranks(1, |endpoint| {
        is_misuse(endpoint.allocate::<u64>(usize::MAX));
        is_misuse(endpoint.pool(usize::MAX / 2, 3));
        let error = endpoint.allocate::<u8>(1 << 62).unwrap_err();
        assert!(matches!(error, Error::System { .. }), "{error}");
        let merged = endpoint.allocate_pages::<u8>(5 << 20, Pages::Transparent).unwrap();
        assert!(merged.iter().all(|&byte| byte == 0));
        let reserved = std::fs::read_to_string("/proc/sys/vm/nr_hugepages").unwrap_or_default();
        match endpoint.allocate_pages::<u8>(1000, Pages::Huge) {
            Ok(huge) => assert!(huge.len() == 1000 && reserved.trim() != "0"),
            Err(error) => assert!(error.to_string().contains("vm.nr_hugepages"), "{error}"),
        }
        let empty = endpoint.allocate::<u8>(0).unwrap().expose(Access::ReadWrite).unwrap();
        assert!(empty.is_empty() && empty.to_vec().is_empty());
    });
}

#[test]
fn atomics_are_atomic_where_the_provider_has_them_and_refused_where_not() {
    const ROUNDS: u64 = 300;
    ranks(4, |endpoint| {
        let region = (endpoint.rank() == 0).then(|| {
            let region = endpoint.allocate::<u64>(8).unwrap().expose(Access::ReadWrite).unwrap();
            tell(&endpoint, &region);
            region
        });
        let remote = region.as_ref().map_or_else(|| learn(&endpoint, 0), |region| region.remote());
        if !endpoint.limits().atomics {
            assert_ne!(provider(), Provider::Shm);
            let error = endpoint.fetch_add(&remote, 0, 1u64).unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
            assert!(error.to_string().contains("use shm"), "{error}");
            return meet(&endpoint);
        }
        for _ in 0..ROUNDS {
            endpoint.fetch_add(&remote, 0, 1u64).unwrap();
            endpoint.fetch_add(&remote, 12, -2i32).unwrap();
            // Adds one by compare-and-swap.
            let mut expected = 0u64;
            loop {
                let found = endpoint.compare_swap(&remote, 16, expected, expected + 1).unwrap();
                if found == expected {
                    break;
                }
                expected = found;
            }
        }
        let before = endpoint.swap(&remote, 24, endpoint.rank() as u32 + 1).unwrap();
        assert!(before <= 4 && before != endpoint.rank() as u32 + 1);
        is_misuse(endpoint.fetch_add(&remote, 4, 1u64));
        is_misuse(endpoint.fetch_add(&remote, 64, 1u32));
        meet(&endpoint);
        if let Some(region) = region {
            let all = region.to_vec();
            let (total, minus) = (ROUNDS * 4, -2 * 4 * ROUNDS as i64);
            assert_eq!((all[0], (all[1] >> 32) as i32 as i64, all[2]), (total, minus, total));
            assert!((1..=4).contains(&all[3]));
        }
    });
}
