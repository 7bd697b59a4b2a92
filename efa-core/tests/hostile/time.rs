//! Time that does not count, and time that must.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use efa_core::Error;

use super::common;

/// Says that this process is the one to be stopped.
const ROLE: &str = "EFA_TEST_TO_BE_STOPPED";
const READY: &str = "the receive is posted";
const TIMEOUT: Duration = Duration::from_secs(4);
const STOPPED: Duration = Duration::from_secs(5);

#[test]
fn time_for_which_a_process_was_stopped_does_not_count_against_timeouts() {
    if std::env::var_os(ROLE).is_some() {
        let (mut all, _) = common::endpoints(1, common::config().timeout(TIMEOUT));
        let endpoint = all.pop().unwrap();
        let begun = Instant::now();
        println!("{READY}");
        let error = endpoint.recv_blocking(0, 1u32, &mut [0u8]).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(begun.elapsed() > STOPPED + TIMEOUT * 3 / 4, "timed out after {:?}", begun.elapsed());
        return;
    }
    let name = "time::time_for_which_a_process_was_stopped_does_not_count_against_timeouts";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let signal = |signal: &str| {
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
        assert!(sent.unwrap().success());
    };
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(output.any(|line| line.unwrap().contains(READY)), "the process ended early");
    std::thread::sleep(TIMEOUT / 4);
    signal("STOP");
    std::thread::sleep(STOPPED);
    signal("CONT");
    output.for_each(drop);
    let status = child.wait().unwrap();
    assert!(status.success(), "the process that was stopped: {status}");
}
