//! A program that runs out of file descriptors, and one that starts other programs.

use efa_core::Endpoint;
use efa_core::fabric::Provider;

use super::again::{self, Again};
use super::common::{admission, config, endpoints, is_patched, provider};

/// Input, output and errors.
const STANDARD: u64 = 3;

fn open_descriptors() -> Vec<String> {
    let mut open: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap())
        // Not the one that this very list is read through.
        .filter_map(|entry| {
            Some(format!("{:?} {:?}", entry.file_name(), std::fs::read_link(entry.path()).ok()?))
        })
        .filter(|open| !open.contains("/fd"))
        .collect();
    open.sort();
    open
}

/// Allows descriptors below `limit` from now on.
fn allow(limit: u64) {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut now), 0);
        now.rlim_cur = limit.min(now.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &now), 0);
    }
}

#[test]
fn an_endpoint_that_cannot_be_opened_leaves_nothing_open() {
    if again::given().is_some() {
        return run_out_of_descriptors();
    }
    Again::start(an_endpoint_that_cannot_be_opened_leaves_nothing_open, "", &[]).passes();
}

fn run_out_of_descriptors() {
    let admission = admission(1);
    // What libfabric opens once and keeps is open by then.
    drop(Endpoint::alone(&admission, config()).unwrap());
    let before = open_descriptors();
    let mut failures = 0;
    for more in 0u64.. {
        allow(STANDARD + more);
        let opened = Endpoint::alone(&admission, config());
        allow(u64::MAX);
        match opened {
            Ok(_) => break,
            Err(error) => println!("with {more} descriptors: {error}"),
        }
        assert_eq!(open_descriptors(), before, "after a failure with {more} descriptors");
        failures += 1;
        assert!(more < 100, "{} never opens", provider());
    }
    assert!(failures > 0, "{} needs no descriptors", provider());
}

/// The descriptors that a program inherits which this process starts, from fdinfo in proc_pid_fdinfo(5).
fn inherited_descriptors() -> Vec<String> {
    let numbers = std::fs::read_dir("/proc/self/fdinfo").unwrap().map(|entry| entry.unwrap().file_name());
    let is_inherited = |number: &std::ffi::OsString| {
        let info = std::fs::read_to_string(std::path::Path::new("/proc/self/fdinfo").join(number));
        // None: the one that this very list is read through.
        let info = info.unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.is_some_and(|flags| i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_CLOEXEC == 0)
    };
    numbers.filter(is_inherited).map(|number| number.into_string().unwrap()).collect()
}

#[test]
fn a_program_that_a_rank_starts_inherits_nothing_of_its_endpoint() {
    if !matches!(provider(), Provider::Tcp | Provider::Shm) {
        return;
    }
    if provider() == Provider::Tcp && !is_patched("programs that a rank starts inherit its sockets") {
        return;
    }
    if again::given().is_some() {
        let before = inherited_descriptors();
        let (open, _) = endpoints(2, config());
        let greeting = open[0].send(1, 1u32, vec![1u8; 8]);
        open[1].recv_blocking(0, 1u32, &mut [0u8; 8]).unwrap();
        greeting.wait().unwrap();
        return assert_eq!(inherited_descriptors(), before, "{:?}", open_descriptors());
    }
    Again::start(a_program_that_a_rank_starts_inherits_nothing_of_its_endpoint, "", &[]).passes();
}
