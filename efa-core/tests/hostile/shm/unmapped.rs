//! A process without the address space for a peer's region.

use std::os::unix::process::ExitStatusExt;
use std::panic::catch_unwind;

use super::again::{self, Again};
use super::process;
use super::{common, impatient, is_ours};

/// Room for an endpoint of one's own, and not for that of a peer: each takes 16 MiB.
const ROOM: u64 = 24 << 20;

/// Allows this process so many more bytes of address space.
fn allow_more(bytes: u64) {
    let pages: u64 =
        std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    // SAFETY: always allowed; it touches no memory of ours.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let limit = libc::rlimit { rlim_cur: pages * page + bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure is ours.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

#[test]
fn a_peer_that_can_not_be_mapped_is_an_error() {
    if !is_ours() || !common::is_patched("a peer's region that could not be mapped is used all the same") {
        return;
    }
    if let Some(folder) = again::given() {
        allow_more(ROOM);
        // It panics with the error, which is what is looked for here.
        std::panic::set_hook(Box::new(|_| {}));
        let connected = catch_unwind(|| process::connect(&folder, 2, &[1], &impatient()));
        return process::tell(&folder, if connected.is_ok() { "mapped" } else { "refused" });
    }
    let folder = tempfile::tempdir().unwrap();
    let mut other =
        Again::start(a_peer_that_can_not_be_mapped_is_an_error, folder.path(), &[("RUST_BACKTRACE", "0")]);
    // It fails if the other is gone by then.
    let connected = catch_unwind(|| process::connect(folder.path(), 2, &[0], &impatient()));
    let status = other.wait();
    assert_eq!(status.signal(), None, "{status}");
    assert!(
        status.success() && folder.path().join("refused").exists(),
        "there was room for the peer, or {status}"
    );
    drop(connected);
}
