//! A process that may open too few files.

use std::fs::File;

use efa_core::Endpoint;

use super::again::{self, Again};
use super::common;

/// Uses up the descriptors of this process but for `left`.
fn leave_descriptors(left: usize) {
    let limit = libc::rlimit { rlim_cur: 256, rlim_max: 256 };
    // SAFETY: the structure is ours.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let mut files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.truncate(files.len() - left);
    std::mem::forget(files);
}

#[test]
fn an_endpoint_that_lacks_descriptors_says_so() {
    if let Some(left) = again::given() {
        let members = common::members(1);
        let admission = common::admit(&members);
        leave_descriptors(left.to_str().unwrap().parse().unwrap());
        return match Endpoint::open(&admission, common::config()) {
            Ok(_) => again::report("done"),
            Err(error) => again::report(&error.to_string()),
        };
    }
    for left in 0..64 {
        let reports =
            Again::start(an_endpoint_that_lacks_descriptors_says_so, left.to_string(), &[]).reports();
        let said = reports.lines().next().unwrap();
        if said == "done" {
            assert!(left > 0, "not even the first attempt had too few descriptors");
            return;
        }
        assert!(said.contains("open files") && said.contains("ulimit -n"), "with {left} left: {said}");
    }
    panic!("no limit was enough");
}
