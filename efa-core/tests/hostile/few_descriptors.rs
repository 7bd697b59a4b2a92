//! A process that may open too few files.

use std::fs::File;
use std::process::Command;

use efa_core::Endpoint;

use super::common;

/// How many descriptors a process that opens an endpoint has left.
const LEFT: &str = "EFA_TEST_DESCRIPTORS_LEFT";
const SAID: &str = "opening the endpoint: ";

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
    if let Ok(left) = std::env::var(LEFT) {
        let members = common::members(1);
        let admission = common::admit(&members);
        leave_descriptors(left.parse().unwrap());
        let said = match Endpoint::open(&admission, common::config()) {
            Ok(_) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        return println!("{SAID}{said}");
    }
    for left in 0..64 {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "few_descriptors::an_endpoint_that_lacks_descriptors_says_so", "--nocapture"])
            .env(LEFT, left.to_string())
            .output()
            .unwrap();
        assert!(process.status.success(), "with {left} left: {process:?}");
        let output = String::from_utf8_lossy(&process.stdout).into_owned();
        let said = output.split(SAID).nth(1).expect("the process says how it went").lines().next().unwrap();
        if said == "done" {
            assert!(left > 0, "not even the first attempt had too few descriptors");
            return;
        }
        assert!(said.contains("open files") && said.contains("ulimit -n"), "with {left} left: {said}");
    }
    panic!("no limit was enough");
}
