//! A failure as one member tells it to the others: every rank gets the same words.

use std::time::Duration;

use super::liveness::CalledOff;
use crate::Explanation;
use crate::{Error, Peer};

/// What kind of [`Error`] a fault becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    Rendezvous,
    Timeout,
    PeerLost,
    Aborted,
}

/// A failure that can be copied, sent and turned into an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// Who is lost or who aborted; meaningless for the other kinds.
    pub(super) peer: Peer,
    /// How long had been waited; zero where that has no meaning.
    pub(super) elapsed: Duration,
    pub(super) text: Explanation,
}

impl Fault {
    fn new(kind: FaultKind, what: String, why: String, remedy: &str) -> Self {
        let peer = Peer { rank: 0, host: String::new(), address: String::new() };
        let text = Explanation { what, why, remedy: remedy.to_owned() };
        Self { kind, peer, elapsed: Duration::ZERO, text }
    }

    /// Members that could not find, recognise or trust one another.
    pub(super) fn rendezvous(what: impl Into<String>, why: impl Into<String>, remedy: &str) -> Self {
        Self::new(FaultKind::Rendezvous, what.into(), why.into(), remedy)
    }

    /// A deadline that passed.
    pub(super) fn timeout(
        elapsed: Duration,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: &str,
    ) -> Self {
        Self { elapsed, ..Self::new(FaultKind::Timeout, what.into(), why.into(), remedy) }
    }

    /// A member that is gone while others need it.
    pub(super) fn peer_lost(peer: Peer, what: impl Into<String>, why: impl Into<String>) -> Self {
        let remedy = "look at that rank's own output for the cause, then start the job again";
        Self { peer, ..Self::new(FaultKind::PeerLost, what.into(), why.into(), remedy) }
    }

    /// A job that ends for all.
    pub(super) fn called_off(cause: CalledOff) -> Self {
        let why = cause.to_string();
        match cause {
            CalledOff::Lost { peer, .. } => Self::peer_lost(peer, "the job was called off", why),
            CalledOff::Aborted { by, reason } => {
                let what = format!("the job was aborted by {by}");
                let remedy = "mend what that rank complains about, then start the job again";
                Self { peer: by, ..Self::new(FaultKind::Aborted, what, reason, remedy) }
            }
        }
    }

    pub(super) fn into_error(self) -> Error {
        let text = Box::new(self.text);
        match self.kind {
            FaultKind::Rendezvous => Error::Rendezvous(text),
            FaultKind::Timeout => Error::Timeout { elapsed: self.elapsed, text },
            FaultKind::PeerLost => Error::PeerLost { peer: Box::new(self.peer), text },
            FaultKind::Aborted => Error::Aborted { by: Box::new(self.peer), text },
        }
    }
}

/// A duration as messages print it: `250 ms`, `2.5 s`, `120 s`.
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
    fn a_fault_becomes_the_error_of_its_kind() {
        let peer = Peer { rank: 3, host: "node-b".into(), address: String::new() };
        let error =
            Fault::called_off(CalledOff::Aborted { by: peer.clone(), reason: "out of memory".into() })
                .into_error();
        assert!(matches!(&error, Error::Aborted { by, .. } if **by == peer));
        assert!(error.to_string().contains("rank 3 (node-b)") && error.to_string().contains("out of memory"));
        let error = Fault::peer_lost(peer.clone(), "cannot", "gone").into_error();
        assert_eq!(error.peer(), Some(&peer));
        let error = Fault::timeout(Duration::from_secs(2), "a", "b", "c").into_error();
        assert!(matches!(error, Error::Timeout { elapsed, .. } if elapsed == Duration::from_secs(2)));
    }

    #[test]
    fn times_are_printed_in_the_unit_that_fits() {
        for (ms, text) in [(250, "250 ms"), (2500, "2.5 s"), (120_000, "120 s")] {
            assert_eq!(seconds(Duration::from_millis(ms)), text);
        }
    }
}
