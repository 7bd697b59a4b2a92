//! Processes that are gone, and memory that is full.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use efa_core::bootstrap::Liveness;
use efa_core::{Endpoint, Error};

use super::again::{self, Again};
use super::process;
use super::{LONG, common, is_ours};

/// Where the lock is in a region of the patched libfabric: `struct smr_region` of smr_util.h.
const LOCK: u64 = 56;

#[test]
fn a_lock_that_a_killed_process_held_is_taken_over() {
    if !is_ours()
        || !common::is_patched("the watchdog ends a process that waits for the lock of a killed one")
    {
        return;
    }
    let (mut endpoints, _) = common::endpoints(2, common::config());
    let (other, endpoint) = (endpoints.pop().unwrap(), endpoints.pop().unwrap());
    let hello = endpoint.send(1, 1u32, vec![1u8; 8]);
    other.recv_blocking(0, 1u32, &mut [0u8; 8]).unwrap();
    hello.wait().unwrap();
    // Its holder is alive, and then dead, but not yet waited for.
    let mut holder = Command::new("sleep").arg("60").spawn().unwrap();
    let namespace = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    let region = File::options().write(true).open(region_of(&endpoint, 1)).unwrap();
    let lock = namespace << 32 | u64::from(holder.id());
    region.write_all_at(&lock.to_ne_bytes(), LOCK).unwrap();
    thread::scope(|scope| {
        // A buffered message: the buffers are what the lock is for.
        let send = scope.spawn(|| endpoint.send_blocking(1, 2u32, &[2u8; 1000]));
        thread::sleep(Duration::from_millis(300));
        assert!(!send.is_finished(), "it took the lock of a process that lives");
        holder.kill().unwrap();
        for _ in 0..6000 {
            if send.is_finished() {
                return send.join().unwrap().unwrap();
            }
            thread::sleep(Duration::from_millis(10));
        }
        // The thread can't be ended.
        eprintln!("a process that died holds the lock for ever");
        std::process::abort();
    });
    holder.wait().unwrap();
    let mut got = [0u8; 1000];
    other.recv_blocking(0, 2u32, &mut got).unwrap();
    assert_eq!(got, [2; 1000]);
}

/// The file of a rank's endpoint.
fn region_of(endpoint: &Endpoint, rank: usize) -> String {
    format!("/dev/shm/{}", endpoint.peers()[rank].address)
}

#[test]
fn an_endpoint_that_is_gone_is_not_mistaken_for_another() {
    if !is_ours() {
        return;
    }
    let members = common::members(3);
    let admission = common::admit(&members);
    let mut open: Vec<_> = (0..3).map(|_| Endpoint::open(&admission, common::config()).unwrap()).collect();
    let peer_addresses: Vec<_> =
        open.iter().zip(&members).map(|(endpoint, facts)| endpoint.peer_address(facts)).collect();
    // Before the others have heard of it.
    drop(open.remove(1));
    let result = open.remove(0).connect(0, peer_addresses, Arc::new(Liveness::alone(3)));
    assert!(matches!(result, Err(Error::PeerLost { ref peer, .. }) if peer.rank == 1), "{result:?}");
}

#[test]
fn a_rank_that_is_killed_leaves_no_file() {
    if !is_ours()
        || !common::is_patched("the file of a killed rank stays until another endpoint opens or closes")
    {
        return;
    }
    if let Some(folder) = again::given() {
        let world = efa_core::init().unwrap();
        let mut data = vec![1.0f32; LONG];
        world.all_reduce_in_place(&mut data, efa_core::collective::ReduceOp::Sum).unwrap();
        assert!(data == vec![2.0; LONG], "long messages get through without the name");
        process::tell(&folder, &format!("joined-{}", world.rank()));
        process::hear(&folder, "never");
        unreachable!();
    }
    let folder = tempfile::tempdir().unwrap();
    // Taken and given back: a port that is most likely free.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ranks: Vec<Again> = ["0", "1"]
        .into_iter()
        .map(|rank| {
            let variables = [
                ("EFA_RANK", rank),
                ("EFA_WORLD_SIZE", "2"),
                ("EFA_LOCAL_RANK", rank),
                ("EFA_LOCAL_WORLD_SIZE", "2"),
                ("EFA_RENDEZVOUS", &port.to_string()),
                ("EFA_PROVIDER", "shm"),
            ];
            Again::start(a_rank_that_is_killed_leaves_no_file, folder.path(), &variables)
        })
        .collect();
    for rank in 0..2 {
        process::hear(folder.path(), &format!("joined-{rank}"));
    }
    let pids: Vec<String> = ranks.iter().map(|rank| format!(".{}.", rank.id())).collect();
    drop(ranks);
    for file in fs::read_dir("/dev/shm").unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let is_theirs = name.starts_with("efa-ep") && pids.iter().any(|pid| name.contains(pid));
        assert!(!is_theirs, "{name} stays");
    }
}

#[test]
fn a_full_dev_shm_kills_nobody() {
    if !is_ours() || !common::is_patched("/dev/shm that fills up kills with SIGBUS") {
        return;
    }
    if again::given().is_some() {
        let endpoint = Endpoint::alone(&common::admission(1), common::config()).unwrap();
        let mut rest = File::create("/dev/shm/rest").unwrap();
        while rest.write(&[1; 4096]).is_ok() {}
        // Goes through all of the segments' buffers, since there is no other way.
        for number in 0..4u32 {
            let mut got = vec![0u8; 8 * LONG];
            let message = common::pattern(got.len(), number as usize);
            endpoint.scope(|scope| {
                let receive = scope.recv(0, number, &mut got[..]);
                scope.send(0, number, &message[..]).wait().unwrap();
                receive.wait().unwrap();
            });
            assert!(got == message);
        }
        return;
    }
    // libfabric wants room for as many endpoints as there are processors.
    let cores = thread::available_parallelism().unwrap().get();
    let mount = format!("mount -t tmpfs -o size={}m tmpfs /dev/shm && exec \"$@\"", 16 * cores + 1);
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command
    };
    if !unshare("mount -t tmpfs tmpfs /dev/shm").output().is_ok_and(|output| output.status.success()) {
        println!("NOT TESTED: a full /dev/shm needs the right to mount one");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = unshare(&mount);
    command.arg(std::env::current_exe().unwrap());
    Again::start_by(command, a_full_dev_shm_kills_nobody, folder.path(), &[("FI_SHM_DISABLE_CMA", "1")])
        .passes();
}
