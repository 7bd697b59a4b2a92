//! A peer that is killed at the worst moment. Each rank is a process: this test program, started once more.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use efa_core::Endpoint;
use efa_core::bootstrap::Liveness;
use efa_core::endpoint::PeerAddress;
use efa_core::fabric::Provider;

use super::common;

/// Which rank this process is, and the folder where the ranks leave their addresses.
const RANK: &str = "EFA_TEST_RANK";
const FOLDER: &str = "EFA_TEST_FOLDER";
const SOON: Duration = Duration::from_secs(60);

/// The rank that this process plays, if it is not the test itself.
fn rank() -> Option<usize> {
    std::env::var(RANK).ok().map(|rank| rank.parse().unwrap())
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

/// Starts this test once more as a rank.
fn start(test: &str, rank: usize, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(RANK, rank.to_string())
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_for(path: &Path) {
    common::until(&path.display().to_string(), || path.exists());
}

/// Writes a file that is there with all its contents or not at all.
fn leave(path: &Path, contents: &[u8]) {
    let unfinished = path.with_extension("unfinished");
    fs::File::create(&unfinished).unwrap().write_all(contents).unwrap();
    fs::rename(&unfinished, path).unwrap();
}

/// An endpoint of this process that is connected to that of the other rank.
fn connect(rank: usize) -> Endpoint {
    let members = common::members(2);
    let endpoint = Endpoint::open(&common::admit(&members), common::config()).unwrap();
    let peer_address = serde_json::to_vec(&endpoint.peer_address(&members[rank])).unwrap();
    leave(&folder().join(format!("card-{rank}")), &peer_address);
    let peer_addresses: Vec<PeerAddress> = (0..2)
        .map(|rank| {
            let path = folder().join(format!("card-{rank}"));
            wait_for(&path);
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
        })
        .collect();
    endpoint.connect(rank, peer_addresses, Arc::new(Liveness::alone(2))).unwrap()
}

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
    let test = "killed_peer::who_waits_for_a_lock_that_a_killed_peer_holds_is_ended_with_a_message";
    match rank() {
        Some(0) => {
            let endpoint = connect(0);
            wait_for(&folder().join("locked"));
            // The buffer for a message of this length is in the peer's region, under its lock.
            let result = endpoint.send_blocking(1, 1u32, &[1u8; 1000]);
            unreachable!("the lock was not held: {result:?}");
        }
        Some(_) => {
            let _endpoint = connect(1);
            take_lock_in_shared_memory();
            leave(&folder().join("locked"), b"");
            // SAFETY: of this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        None => {
            let folder = tempfile::tempdir().unwrap();
            let mut ranks = [0, 1].map(|rank| start(test, rank, folder.path()));
            let begun = Instant::now();
            while ranks[0].try_wait().unwrap().is_none() {
                if begun.elapsed() > SOON {
                    ranks.iter_mut().for_each(|rank| rank.kill().unwrap());
                    panic!("rank 0 waits for a lock that nobody will release");
                }
                thread::sleep(Duration::from_millis(20));
            }
            let [zero, mut one] = ranks;
            assert_eq!(one.wait().unwrap().signal(), Some(libc::SIGKILL));
            let zero = zero.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&zero.stderr);
            assert_eq!(zero.status.signal(), Some(libc::SIGABRT), "{said}");
            assert!(
                said.contains("the process of rank 1") && said.contains("lock in shared memory"),
                "{said}"
            );
        }
    }
}
