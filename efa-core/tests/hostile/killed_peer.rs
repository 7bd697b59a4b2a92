//! A peer that is killed at the worst moment. Each rank is a process.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use efa_core::fabric::Provider;

use super::again::{self, Again};
use super::common;
use super::shm::process;

/// Which rank a process is that the test starts.
const RANK: &str = "EFA_TEST_RANK";

/// Takes the lock of this process's own region of libfabric's shm provider, as a call into libfabric does now and then,
/// also in a peer's region. The provider can't tell who took it: unpatched it never can, and patched it can't where the
/// holder has no `/proc`.
fn take_lock_in_shared_memory() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mine = format!(".{}.", std::process::id());
    let line = maps.lines().find(|line| line.contains("efa-ep.") && line.contains(&mine));
    let line = line.expect("the endpoint's region is mapped");
    let start = usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    // `struct smr_region` of 1.22: 16 bytes of version, flags and process, twice 16 of XPMEM, a pointer, the lock.
    const LOCK: usize = 16 + 2 * 16 + 8;
    // Taken both for a spin lock of the C library, 32 bits and negative, and for the patched one, without a namespace.
    const TAKEN: u64 = 1 << 31 | 1;
    // SAFETY: the region is mapped as long as the endpoint is open, is aligned to pages, and has its lock there.
    let lock = unsafe { &*((start + LOCK) as *const AtomicU64) };
    lock.store(TAKEN, Ordering::SeqCst);
}

#[test]
fn who_waits_for_a_lock_that_a_killed_peer_holds_is_ended_with_a_message() {
    if common::provider() != Provider::Shm {
        return;
    }
    let test = who_waits_for_a_lock_that_a_killed_peer_holds_is_ended_with_a_message;
    let connect =
        |folder: &Path, rank| process::connect(folder, 2, &[rank], &common::config()).0.swap_remove(0);
    match (again::given(), std::env::var(RANK).as_deref()) {
        (Some(folder), Ok("0")) => {
            let endpoint = connect(&folder, 0);
            process::hear(&folder, "locked");
            // The buffer for a message of this length is in the peer's region, under its lock.
            let result = endpoint.send_blocking(1, 1u32, &[1u8; 1000]);
            unreachable!("the lock was not held: {result:?}");
        }
        (Some(folder), _) => {
            let _endpoint = connect(&folder, 1);
            take_lock_in_shared_memory();
            process::tell(&folder, "locked");
            // SAFETY: of this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        (None, _) => {
            let folder = tempfile::tempdir().unwrap();
            let [mut zero, mut one] =
                ["0", "1"].map(|rank| Again::start(test, folder.path(), &[(RANK, rank)]));
            let ended = zero.wait();
            let said = zero.printed();
            assert_eq!(one.wait().signal(), Some(libc::SIGKILL));
            assert_eq!(ended.signal(), Some(libc::SIGABRT), "{said}");
            assert!(
                said.contains("the process of rank 1") && said.contains("lock in shared memory"),
                "{said}"
            );
        }
    }
}
