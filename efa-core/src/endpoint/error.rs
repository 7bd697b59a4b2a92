//! Turns a failed operation into an error that names the peer and says what to do.

use super::driver::Shared;
use super::engine::slot::{CancelReason, Outcome};
use super::request::{Operation, Request};
use crate::admission::CLOSED_EFA_PATH;
use crate::bootstrap::{CalledOff, Status};
use crate::error::{Code, Error, Explanation};
use crate::ffi::CompletionError;

/// `FI_ETRUNC`: a message was longer than the buffer.
pub(super) const TRUNCATED: Code = Code(265);
/// `FI_ENOMSG`: a probe found nothing.
pub(crate) const NO_MESSAGE: Code = Code(libc::ENOMSG);
const CANCELLED: Code = Code(libc::ECANCELED);

/// How many ranks an error names.
const MOST_TOLD: usize = 3;
const SEE_LOG: &str = "see the provider's log: FI_LOG_LEVEL=warn";

/// What an EFA's status means, as libfabric's efa provider passes it on: the device's own below 4096, the provider's
/// from there on.
fn device_status(status: i32) -> Option<&'static str> {
    Some(match status {
        1 => "our own device was reset or is gone",
        6 => "a message was longer than the device takes",
        7 => "the remote key or address was refused",
        9 => "the peer's endpoint is no longer there",
        10 => "the peer had no receive posted for too long",
        11 => "a message was longer than the receive posted for it",
        13 | 4124 | 4126 => "the peer does not respond",
        14 => "the peer is not known",
        15 => "the peer can't be reached",
        _ => return None,
    })
}

/// Whether the status says that nothing gets through to the peer.
fn is_closed_path(status: i32) -> bool {
    matches!(status, 13 | 15 | 4124 | 4126)
}

/// What mends it. A path that is closed is the most common cause by far, and the device can't tell it from a dead host.
fn device_remedy(status: i32) -> Option<&'static str> {
    Some(match status {
        1 => "see what the kernel says about the device (dmesg), then start the job again",
        status if is_closed_path(status) => {
            "run 'efa doctor' in the same job: it tries every pair, and prints the command that opens a path"
        }
        9 => "look at the output of that rank: its process has ended or has opened its endpoint again",
        10 => "let the peer receive, or look at why it does not",
        _ => return None,
    })
}

/// Whether it says that nothing can be had from the peer, whatever is asked of it.
fn is_loss(status: i32) -> bool {
    matches!(status, 9 | 13 | 15 | 4124 | 4126)
}

/// Whether a failure may come of the death of the operation's peer although nothing in it says so.
pub(super) fn is_doubtful(request: &Request, code: Code) -> bool {
    let is_remote = request.operation.is_remote();
    request.peer.is_some()
        && match code {
            TRUNCATED | NO_MESSAGE => false,
            // A message: the connection to the peer broke, and the error names it. Remote memory: the same, or the
            // target refused it.
            CANCELLED => is_remote,
            Code(libc::EINVAL | libc::EMSGSIZE | libc::ENOMEM | libc::EOPNOTSUPP | libc::ENOSYS) => false,
            _ => true,
        }
}

/// A failure that a device reports, in words.
pub(super) fn device_failure(code: Code, status: i32) -> String {
    match device_status(status) {
        Some(meaning) if is_closed_path(status) => {
            format!("{meaning} (device status {status}); {CLOSED_EFA_PATH}")
        }
        Some(meaning) => format!("{meaning} (device status {status})"),
        None => format!("{} ({code}, device status {status})", crate::ffi::describe(code)),
    }
}

impl Shared {
    /// The error of an operation that did not end as it should.
    #[cold]
    pub(crate) fn explain(
        &self,
        request: &Request,
        started: u32,
        cancel_reason: Option<CancelReason>,
        outcome: Outcome,
        closed: Option<&str>,
    ) -> Error {
        let elapsed = self.clock.since(started);
        let what = format!("the {} failed after {elapsed:?}", self.describe(request));
        match (cancel_reason, outcome) {
            (Some(CancelReason::Cancelled), Outcome::Failed(error)) if error.code == CANCELLED => {
                let why = "it was cancelled before it took effect";
                Error::Cancelled(Explanation::new(what, why, "post it again if it is still wanted"))
            }
            (Some(CancelReason::Overdue), _) => Error::timeout(
                elapsed,
                what,
                format!(
                    "nothing came of it within {:?}{}",
                    self.config.timeout,
                    self.who_is_missing(request)
                ) + self.held_up(request),
                "see what that rank is doing, or allow more time with EFA_TIMEOUT (seconds)",
            ),
            (Some(CancelReason::Aborted), _) => self.aborted(what),
            (Some(CancelReason::PeerLost), _) => self.peer_lost(request, what, "the operation was ended"),
            // A cancellation that came too late has no part in how it ended.
            (None | Some(CancelReason::Cancelled | CancelReason::Pointless), Outcome::Failed(error)) => {
                self.failed(request, what, &error)
            }
            (
                None | Some(CancelReason::Cancelled | CancelReason::Pointless),
                Outcome::Unregistered(error),
            ) => *error,
            (None | Some(CancelReason::Cancelled | CancelReason::Pointless), _) => {
                let why = format!("the endpoint was closed: {}", closed.unwrap_or("the program closed it"));
                Error::Closed(Explanation::new(what, why, "look for the first error; that is the cause"))
            }
        }
    }

    /// An operation in words: what, with whom, how much.
    pub(crate) fn describe(&self, request: &Request) -> String {
        let &Request { operation, peer, tag, length, .. } = request;
        let (name, tag) = (operation.name(), tag.value());
        let peer = match peer {
            Some(rank) => self.peer_name(rank as usize),
            None => "any rank".into(),
        };
        match operation {
            Operation::Send { .. } => format!("{name} of {length} bytes to {peer} with tag {tag}"),
            Operation::Receive { .. } => {
                format!("{name} of up to {length} bytes from {peer} with tag {tag}")
            }
            Operation::Probe { .. } => format!("{name} for a message from {peer} with tag {tag}"),
            Operation::Read { .. } => format!("{name} of {length} bytes from {peer}"),
            Operation::Write { .. } | Operation::WriteImmediate { .. } | Operation::Atomic { .. } => {
                format!("{name} of {length} bytes to {peer}")
            }
            Operation::ImmediateData { value, .. } => format!("{name} {value}"),
            Operation::Group => name.into(),
        }
    }

    fn peer_name(&self, rank: usize) -> String {
        self.peers.get(rank).map_or_else(|| format!("rank {rank}"), |peer| peer.to_string())
    }

    fn failed(&self, request: &Request, what: String, error: &CompletionError) -> Error {
        let remedy_for_rma =
            "check that the region is still open at its owner, and that it was exposed for this";
        let remote = request.operation.is_remote();
        match error.code {
            code if code != TRUNCATED && self.is_gone(request) => {
                self.peer_lost(request, what, &crate::ffi::describe(code))
            }
            TRUNCATED => {
                let why = format!("the message is longer than the {} bytes posted for it", request.length);
                let text = Explanation::new(what, why, "post a larger buffer; probe tells a message's size");
                Error::Truncated { capacity: request.length, text }
            }
            code if self.quirks.reports_device_status
                && (code != CANCELLED || device_status(error.provider_code).is_some()) =>
            {
                let status = error.provider_code;
                let why = device_failure(code, status);
                let peer = request.peer.and_then(|rank| self.peers.get(rank as usize));
                match (device_remedy(status), peer) {
                    (Some(remedy), Some(peer)) if is_loss(status) => {
                        let text = Explanation::new(what, format!("{peer} is lost: {why}"), remedy);
                        Error::PeerLost { peer: Box::new(peer.clone()), text }
                    }
                    (Some(remedy), _) => self.operation(error, what, why, remedy),
                    (None, _) => {
                        self.operation(error, what, why, if remote { remedy_for_rma } else { SEE_LOG })
                    }
                }
            }
            CANCELLED if remote => {
                let why = "the target refused it and the provider reset the connection";
                self.operation(error, what, why.into(), remedy_for_rma)
            }
            // Nobody here asked for it: the connection to the peer broke.
            CANCELLED => self.peer_lost(request, what, "the connection to it broke"),
            Code(
                libc::ECONNRESET | libc::ECONNREFUSED | libc::ECONNABORTED | libc::EPIPE | libc::EHOSTDOWN,
            ) => self.peer_lost(request, what, &crate::ffi::describe(error.code)),
            code => {
                let why = format!("{} ({code})", crate::ffi::describe(code));
                self.operation(error, what, why, if remote { remedy_for_rma } else { SEE_LOG })
            }
        }
    }

    fn operation(&self, error: &CompletionError, what: String, why: String, remedy: &str) -> Error {
        let text = Explanation::new(what, why, remedy);
        Error::Operation { code: error.code, provider_code: error.provider_code, text }
    }

    fn is_gone(&self, request: &Request) -> bool {
        request.peer.is_some_and(|rank| self.liveness.status(rank as usize).is_gone())
    }

    fn peer_lost(&self, request: &Request, what: String, how: &str) -> Error {
        let Some(peer) = request.peer.and_then(|rank| self.peers.get(rank as usize)) else {
            return self.all_lost(what, how);
        };
        let why = match self.liveness.status(peer.rank) {
            Status::Dead { reason } => format!("{peer} is dead: {reason}"),
            Status::Left => format!("{peer} has left the job"),
            _ => format!("{peer} can't be reached: {how}"),
        };
        let remedy =
            format!("look at the output of rank {}; start the job again when it is mended", peer.rank);
        Error::PeerLost { peer: Box::new(peer.clone()), text: Explanation::new(what, why, remedy) }
    }

    /// The error of a receive from any rank that can't come, since all other ranks are gone.
    fn all_lost(&self, what: String, how: &str) -> Error {
        let gone: Vec<_> = (0..self.peers.len())
            .filter(|&rank| rank != self.me)
            .filter_map(|rank| match self.liveness.status(rank) {
                Status::Dead { reason } => Some((rank, format!("{} is dead: {reason}", self.peers[rank]))),
                Status::Left => Some((rank, format!("{} has left the job", self.peers[rank]))),
                Status::Alive | Status::Silent { .. } => None,
            })
            .collect();
        // Whoever died first is the cause, most likely.
        let first = self.liveness.first_dead().map(|(peer, _)| peer.rank);
        let Some((rank, _)) = gone.iter().find(|(rank, _)| Some(*rank) == first).or(gone.first()) else {
            return Error::Closed(Explanation::new(what, how, "look for the rank that ended first"));
        };
        let told: Vec<_> = gone.iter().map(|(_, text)| text.as_str()).take(MOST_TOLD).collect();
        let more = match gone.len().saturating_sub(told.len()) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let why = format!("no other rank is left to send it: {}{more}", told.join("; "));
        let remedy = format!("look at the output of rank {rank}; start the job again when it is mended");
        Error::PeerLost {
            peer: Box::new(self.peers[*rank].clone()),
            text: Explanation::new(what, why, remedy),
        }
    }

    /// The error of a collective that can't be finished, if the job has lost a rank.
    #[cold]
    pub(crate) fn first_lost(&self) -> Option<Error> {
        if self.liveness.aborted().is_some() {
            // Whoever called the job off may be gone by now, and that is not the cause.
            return None;
        }
        let (first, _) = self.liveness.first_dead()?;
        let request = Request { peer: u32::try_from(first.rank).ok(), ..Request::GROUP };
        Some(self.peer_lost(&request, "the collective can't be finished".into(), "it is gone"))
    }

    /// The error of an operation that ended with its job.
    pub(crate) fn aborted(&self, what: String) -> Error {
        let cause = self.liveness.called_off().unwrap_or_else(|| CalledOff::Aborted {
            by: self.peers[self.me].clone(),
            reason: "the reason is no longer known".into(),
        });
        let why = cause.to_string();
        match cause {
            CalledOff::Aborted { by, .. } => Error::Aborted {
                by: Box::new(by),
                text: Explanation::new(what, why, "mend that and start again"),
            },
            CalledOff::Lost { peer, .. } => {
                let remedy = format!(
                    "look at the output of rank {}; start the job again when it is mended",
                    peer.rank
                );
                Error::PeerLost { peer: Box::new(peer), text: Explanation::new(what, why, remedy) }
            }
        }
    }

    /// What may keep a message from arriving although its sender is well.
    fn held_up(&self, request: &Request) -> &'static str {
        if self.quirks.holds_back_messages && request.operation.is_receive() {
            "; on tcp a message can be held up by earlier ones of its sender that nobody has received: libfabric keeps \
             64 of each, and the built-in one 256 MiB"
        } else {
            ""
        }
    }

    /// What is known against the ranks that an overdue operation waited for.
    fn who_is_missing(&self, request: &Request) -> String {
        let ranks = match request.peer {
            Some(rank) => rank as usize..rank as usize + 1,
            None => 0..self.peers.len(),
        };
        let found: String = ranks.filter_map(|rank| self.suspicion(rank)).take(MOST_TOLD).collect();
        if !found.is_empty() || request.peer.is_none() {
            return found;
        }
        // It may wait in turn for one that is to blame.
        let others = (0..self.peers.len()).filter(|&rank| rank != self.me);
        let found: String = others.filter_map(|rank| self.suspicion(rank)).take(MOST_TOLD).collect();
        match found.as_str() {
            "" => found,
            _ => format!("; it is alive and may wait itself{found}"),
        }
    }

    /// What is known against a rank, if anything.
    fn suspicion(&self, rank: usize) -> Option<String> {
        match self.liveness.status(rank) {
            Status::Alive if self.has_ended(rank) => Some(format!("; the process of rank {rank} has ended")),
            Status::Alive => None,
            Status::Left => Some(format!("; rank {rank} has left")),
            Status::Silent { quiet } => Some(format!(
                "; {} has given no sign of life for {quiet:.1?}: it is stopped, or cut off",
                self.peer_name(rank)
            )),
            // Whoever ends because the job is called off is not to blame for it.
            Status::Dead { .. }
                if self.liveness.called_off().is_some_and(|cause| cause.is_not_about(rank)) =>
            {
                None
            }
            Status::Dead { reason } => Some(format!("; rank {rank} is dead: {reason}")),
        }
    }
}
