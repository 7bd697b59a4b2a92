//! A process whose limits or variables keep libfabric from working.

use std::process::Command;

use efa_core::Endpoint;
use efa_core::fabric::Provider;

use super::common;

/// Set in the process that opens an endpoint: the longest file that it may write, in bytes.
const LONGEST: &str = "EFA_TEST_LONGEST_FILE";
const SAID: &str = "opening the endpoint: ";

/// Runs the test `name` in a process with this variable, and returns what opening an endpoint said there.
fn said_with(name: &str, (variable, value): (&str, &str)) -> String {
    let process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("surroundings::{name}"), "--nocapture"])
        .env(LONGEST, "18446744073709551615")
        .env(variable, value)
        .output()
        .unwrap();
    assert!(process.status.success(), "{process:?}");
    let output = String::from_utf8_lossy(&process.stdout).into_owned();
    output.split(SAID).nth(1).expect("the process says how it went").to_owned()
}

/// Opens an endpoint and says how it went, if this is the process for that.
fn is_opener() -> bool {
    let Ok(longest) = std::env::var(LONGEST) else { return false };
    let admission = common::admission(1);
    let longest: u64 = longest.parse().unwrap();
    let limit = libc::rlimit { rlim_cur: longest, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure is ours.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    match Endpoint::open(&admission, common::config()) {
        Ok(_) => println!("{SAID}done"),
        Err(error) => println!("{SAID}{error}"),
    }
    true
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_says_so_and_no_signal() {
    if is_opener() || common::provider() != Provider::Shm {
        return;
    }
    let name = "a_limit_on_the_size_of_files_is_an_error_that_says_so_and_no_signal";
    let said = said_with(name, (LONGEST, "1048576"));
    assert!(said.contains("1048576 bytes") && said.contains("ulimit -f"), "{said}");
}

#[test]
fn a_variable_that_leaves_the_provider_out_is_named() {
    if is_opener() || !matches!(common::provider(), Provider::Tcp | Provider::Shm) {
        return;
    }
    let but_ours = format!("^{}", common::provider());
    let said = said_with("a_variable_that_leaves_the_provider_out_is_named", ("FI_PROVIDER", &but_ours));
    assert!(said.contains(&format!("FI_PROVIDER={but_ours}")), "{said}");
}
