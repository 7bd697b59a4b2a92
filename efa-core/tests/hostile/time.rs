//! Time that does not count, and time that must.

use std::time::{Duration, Instant};

use efa_core::Error;

use super::again::{self, Again};
use super::common;

const READY: &str = "the receive is posted";
const TIMEOUT: Duration = Duration::from_secs(4);
const STOPPED: Duration = Duration::from_secs(5);

#[test]
fn time_for_which_a_process_was_stopped_does_not_count_against_timeouts() {
    if again::given().is_some() {
        let (mut all, _) = common::endpoints(1, common::config().timeout(TIMEOUT));
        let endpoint = all.pop().unwrap();
        let begun = Instant::now();
        println!("{READY}");
        let error = endpoint.recv_blocking(0, 1u32, &mut [0u8]).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(begun.elapsed() > STOPPED + TIMEOUT * 3 / 4, "timed out after {:?}", begun.elapsed());
        return;
    }
    let mut process =
        Again::start(time_for_which_a_process_was_stopped_does_not_count_against_timeouts, "", &[]);
    common::until("the process is ready", || process.printed().contains(READY));
    std::thread::sleep(TIMEOUT / 4);
    process.stop();
    std::thread::sleep(STOPPED);
    process.proceed();
    process.passes();
}
