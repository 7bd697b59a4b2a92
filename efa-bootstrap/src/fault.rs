//! Errors that one member tells to the others: every rank gets the same words.

use std::time::Duration;

use super::liveness::CalledOff;
use crate::{Error, Peer};

/// Returns the error of a member that is gone while others need it.
pub(super) fn peer_lost(peer: Peer, what: impl Into<String>, why: impl Into<String>) -> Error {
    let remedy = "look at that rank's own output for the cause, then start the job again";
    Error::peer_lost(peer, what, why, remedy)
}

/// Returns the error of a job that ends for all.
pub(super) fn called_off(cause: CalledOff) -> Error {
    let why = cause.to_string();
    match cause {
        CalledOff::Lost { peer, .. } => peer_lost(peer, "the job was called off", why),
        CalledOff::Aborted { by, reason } => {
            let what = format!("the job was aborted by {by}");
            Error::aborted(by, what, reason, "mend what that rank complains about, then start the job again")
        }
    }
}

/// Returns a duration as messages print it: `250 ms`, `2.5 s`, `120 s`.
pub(super) fn seconds(time: Duration) -> String {
    match time.as_millis() {
        ms if ms < 1000 => format!("{ms} ms"),
        ms if ms < 10_000 => format!("{:.1} s", ms as f64 / 1000.0),
        ms => format!("{} s", ms / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_was_called_off_names_who_did() {
        let peer = Peer { rank: 3, host: "node-b".into(), address: String::new() };
        let error = called_off(CalledOff::Aborted { by: peer.clone(), reason: "out of memory".into() });
        assert!(matches!(&error, Error::Aborted { by, .. } if **by == peer));
        assert!(error.to_string().contains("rank 3 (node-b)") && error.to_string().contains("out of memory"));
        let error = called_off(CalledOff::Lost { peer: peer.clone(), reason: "it was killed".into() });
        assert!(matches!(error, Error::PeerLost { .. }) && error.peer() == Some(&peer), "{error}");
    }

    #[test]
    fn times_are_printed_in_the_unit_that_fits() {
        for (ms, text) in [(250, "250 ms"), (2500, "2.5 s"), (120_000, "120 s")] {
            assert_eq!(seconds(Duration::from_millis(ms)), text);
        }
    }
}
