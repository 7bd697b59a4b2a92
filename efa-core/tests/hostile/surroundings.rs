//! A process whose limits or variables keep libfabric from working.

use efa_core::Endpoint;
use efa_core::fabric::Provider;

use super::again::{self, Again};
use super::common;

/// The longest file that the process which opens an endpoint may write, in bytes: any.
const ANY: &str = "18446744073709551615";

/// Opens an endpoint and reports how it went, if this is the process for that; it is given the longest file.
fn is_opener() -> bool {
    let Some(longest) = again::given() else { return false };
    let admission = common::admission(1);
    let longest: u64 = longest.to_str().unwrap().parse().unwrap();
    let limit = libc::rlimit { rlim_cur: longest, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure is ours.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    match Endpoint::open(&admission, common::config()) {
        Ok(_) => again::report("done"),
        Err(error) => again::report(&error.to_string()),
    }
    true
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_says_so_and_no_signal() {
    if is_opener() || common::provider() != Provider::Shm {
        return;
    }
    let said =
        Again::start(a_limit_on_the_size_of_files_is_an_error_that_says_so_and_no_signal, "1048576", &[])
            .reports();
    assert!(said.contains("1048576 bytes") && said.contains("ulimit -f"), "{said}");
}

#[test]
fn a_variable_that_leaves_the_provider_out_is_named() {
    if is_opener() || !matches!(common::provider(), Provider::Tcp | Provider::Shm) {
        return;
    }
    let but_ours = format!("^{}", common::provider());
    let variables = [("FI_PROVIDER", but_ours.as_str())];
    let said = Again::start(a_variable_that_leaves_the_provider_out_is_named, ANY, &variables).reports();
    assert!(said.contains(&format!("FI_PROVIDER={but_ours}")), "{said}");
}
