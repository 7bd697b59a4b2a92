//! The one error type of efa's crates.
//!
//! Every error carries the same three sentences: what failed, why, and what to do about it. Its [kind](Error::kind) says
//! what failed, in one word, and [whose](ErrorKind::origin) it is to mend: a misuse, a failure of the world around, or a
//! defect of this library. The variant holds what a program may want to branch on: the peer, the code, the time.
//!
//! ```
//! use efa_error::{Error, Origin};
//!
//! fn is_worth_another_start(error: &Error) -> bool {
//!     match error {
//!         Error::PeerLost { peer, .. } => peer.rank != 0,
//!         other => other.kind().origin() == Origin::Failure,
//!     }
//! }
//! # assert!(!is_worth_another_start(&Error::setting("cannot parse 8:x", "'x' is not a size", "write 8:4M")));
//! ```
//!
//! Ranks send errors to one another by serde: a rank that gets one can branch on it as the rank that had it first.

#![forbid(unsafe_code)]

pub mod input;
mod kind;
mod wire;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use kind::{ErrorKind, Origin};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, why, and what to do about it: one sentence each, without a final full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What could not be done.
    pub what: String,
    /// Why it could not be done.
    pub why: String,
    /// What mends it.
    pub remedy: String,
}

impl Explanation {
    /// Puts the three sentences together.
    pub fn new(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Box<Self> {
        Box::new(Self { what: what.into(), why: why.into(), remedy: remedy.into() })
    }
}

/// The text with every control character but the line feed spelt out, such as `\u{1b}`: what comes from a file or a peer
/// must not steer a terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers = |letter: char| letter.is_control() && letter != '\n';
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let spelt = text.chars().flat_map(|letter| {
        let (plain, escaped) = match steers(letter) {
            true => (None, Some(letter.escape_unicode())),
            false => (Some(letter), None),
        };
        plain.into_iter().chain(escaped.into_iter().flatten())
    });
    Cow::Owned(spelt.collect())
}

/// A member of the job as messages name it: its rank, its host, and the address its endpoint has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Peer {
    /// Its rank in the job.
    pub rank: usize,
    /// The name of the host it runs on; empty when unknown.
    pub host: String,
    /// Its fabric or network address in printable form; empty when unknown.
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {}", self.rank)?;
        match (self.host.as_str(), self.address.as_str()) {
            ("", "") => Ok(()),
            (host, "") => write!(f, " ({host})"),
            ("", address) => write!(f, " ({address})"),
            (host, address) => write!(f, " ({host}, {address})"),
        }
    }
}

/// A positive libfabric or system error number, as `fi_errno(3)` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub i32);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.0)
    }
}

/// What to do when an error number says that there is no file descriptor left; `None` for any other number.
pub fn no_descriptor_left(errno: i32) -> Option<&'static str> {
    // errno(3): the numbers are Linux's on every architecture.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match errno {
        EMFILE => Some("raise the limit on open files of the process (ulimit -n)"),
        ENFILE => Some("raise the limit on open files of the system (sysctl fs.file-max)"),
        _ => None,
    }
}

/// Everything that can go wrong. `Display` gives it on one line, and `Debug`, which is what a `main` that returns it
/// prints, on four: what, why, what to do, and the kind.
///
/// Two errors are equal if they have the same kind, the same sentences and the same facts.
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// The program broke a rule of this interface; the same call will fail again.
    Misuse(Box<Explanation>),
    /// A setting from the environment, a flag, a file or a peer's input makes no sense.
    Setting(Box<Explanation>),
    /// A call to the operating system failed.
    System {
        /// What the system said. Shared, so that an error can be copied for each of those who wait for it.
        source: Arc<io::Error>,
        /// The three sentences.
        text: Box<Explanation>,
    },
    /// A call to libfabric failed while something was being set up or taken down.
    Fabric {
        /// libfabric's error number.
        code: Code,
        /// The three sentences.
        text: Box<Explanation>,
    },
    /// The provider asked for is not on this machine, or is the wrong one for this job.
    Provider(Box<Explanation>),
    /// The provider in use can't do what was asked.
    Unsupported(Box<Explanation>),
    /// An operation was posted and failed.
    Operation {
        /// libfabric's error number.
        code: Code,
        /// The provider's own status, which often says more.
        provider_code: i32,
        /// The three sentences.
        text: Box<Explanation>,
    },
    /// A message was longer than the buffer posted for it.
    Truncated {
        /// How many bytes the posted buffer had.
        capacity: usize,
        /// The three sentences.
        text: Box<Explanation>,
    },
    /// A member of the job is gone, and with it what was under way with it.
    PeerLost {
        /// Who is gone.
        peer: Box<Peer>,
        /// The three sentences.
        text: Box<Explanation>,
    },
    /// A deadline passed.
    Timeout {
        /// How long it had been under way.
        elapsed: Duration,
        /// The three sentences.
        text: Box<Explanation>,
    },
    /// The operation was cancelled before it took effect.
    Cancelled(Box<Explanation>),
    /// The endpoint was closed, by the program or to get memory back from the device.
    Closed(Box<Explanation>),
    /// Admission refused the job. Every rank gets this; so that people read the finding once, rank 0's has it in full
    /// and that of the others says who has it.
    Refused {
        /// True when no rule is known to be broken but something could not be determined.
        undetermined: bool,
        /// The rank whose error has the finding; `None` for this one.
        told_by: Option<Box<Peer>>,
        /// The three sentences.
        text: Box<Explanation>,
    },
    /// The members of the job could not find, recognise or trust one another.
    Rendezvous(Box<Explanation>),
    /// A member of the job called the whole job off.
    Aborted {
        /// The rank that aborted the job.
        by: Box<Peer>,
        /// The three sentences.
        text: Box<Explanation>,
    },
    /// This library did what it must never do. Nothing that the program did is wrong.
    Defect(Box<Explanation>),
}

/// The explanation that every variant of an error holds, borrowed as the error is.
macro_rules! text_of {
    ($error:expr) => {
        match $error {
            Error::Misuse(text)
            | Error::Setting(text)
            | Error::Provider(text)
            | Error::Unsupported(text)
            | Error::Cancelled(text)
            | Error::Closed(text)
            | Error::Rendezvous(text)
            | Error::Defect(text)
            | Error::System { text, .. }
            | Error::Fabric { text, .. }
            | Error::Operation { text, .. }
            | Error::Truncated { text, .. }
            | Error::PeerLost { text, .. }
            | Error::Timeout { text, .. }
            | Error::Refused { text, .. }
            | Error::Aborted { text, .. } => text,
        }
    };
}

impl Error {
    /// A broken rule of this interface.
    pub fn misuse(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Misuse(Explanation::new(what, why, remedy))
    }

    /// A setting, file or input that makes no sense.
    pub fn setting(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Setting(Explanation::new(what, why, remedy))
    }

    /// A failed call to the operating system; `why` is what the system said.
    ///
    /// If file descriptors have run out, that is what mends it, whatever the call was for.
    pub fn system(source: io::Error, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let why = source.to_string();
        let remedy = match source.raw_os_error().and_then(no_descriptor_left) {
            Some(right) => right.into(),
            None => remedy.into(),
        };
        Self::System { source: Arc::new(source), text: Explanation::new(what, why, remedy) }
    }

    /// A file that can't be opened, read or mapped.
    pub fn file(source: io::Error, path: &Path) -> Self {
        Self::system(source, format!("cannot read {}", path.display()), "check the path and its permissions")
    }

    /// Something the provider in use can't do.
    pub fn unsupported(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unsupported(Explanation::new(what, why, remedy))
    }

    /// Members that could not find, recognise or trust one another.
    pub fn rendezvous(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Rendezvous(Explanation::new(what, why, remedy))
    }

    /// A job, or an endpoint, that admission refuses.
    pub fn refused(
        undetermined: bool,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Refused { undetermined, told_by: None, text: Explanation::new(what, why, remedy) }
    }

    /// The same at a rank that leaves it to another to tell.
    #[doc(hidden)]
    pub fn refused_elsewhere(undetermined: bool, by: Peer) -> Self {
        let text = Explanation::new(
            "admission refused the job",
            format!("{by} tells why"),
            format!("look at the output of rank {}; 'efa doctor' in the same job shows it all", by.rank),
        );
        Self::Refused { undetermined, told_by: Some(Box::new(by)), text }
    }

    /// A deadline that passed.
    pub fn timeout(
        elapsed: Duration,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Timeout { elapsed, text: Explanation::new(what, why, remedy) }
    }

    /// A member that is gone, and `what` can't be done without it.
    pub fn peer_lost(
        peer: Peer,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::PeerLost { peer: Box::new(peer), text: Explanation::new(what, why, remedy) }
    }

    /// A job that `by` called off for all.
    pub fn aborted(
        by: Peer,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Aborted { by: Box::new(by), text: Explanation::new(what, why, remedy) }
    }

    /// What this library must never do. The remedy is to report it, with what a report needs.
    pub fn defect(what: impl Into<String>, why: impl Into<String>) -> Self {
        let remedy = "this is a defect of the library: please report it, with this message, the output of 'efa info \
                      --json' and the steps that lead to it";
        Self::Defect(Explanation::new(what, why, remedy))
    }

    /// The three sentences: what failed, why, what to do.
    pub fn explanation(&self) -> &Explanation {
        text_of!(self)
    }

    /// The same error with `course` in front of what failed: what it was a part of.
    pub fn in_the_course_of(mut self, course: &str) -> Self {
        let text = text_of!(&mut self);
        text.what = format!("{course}: {}", text.what);
        self
    }

    /// The member of the job that the failure is about, where there is exactly one.
    pub fn peer(&self) -> Option<&Peer> {
        match self {
            Self::PeerLost { peer, .. } | Self::Aborted { by: peer, .. } => Some(peer),
            _ => None,
        }
    }

    /// The error number, as `errno(3)` and `fi_errno(3)` list them: of a failed call to the operating system or to
    /// libfabric, or of an operation.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::System { source, .. } => source.raw_os_error().map(Code),
            Self::Fabric { code, .. } | Self::Operation { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// How long what timed out had been under way.
    pub fn elapsed(&self) -> Option<Duration> {
        match self {
            Self::Timeout { elapsed, .. } => Some(*elapsed),
            _ => None,
        }
    }
}

/// The same three sentences and the kind on a line each: this is what people see of an error that `main` returns.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { what, why, remedy } = self.explanation();
        let [what, why, remedy] = [what, why, remedy].map(|text| printable(text));
        write!(f, "{what}\n  why: {why}\n  fix: {remedy}\n  kind: {}", self.kind())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { what, why, remedy } = self.explanation();
        let [what, why, remedy] = [what, why, remedy].map(|text| printable(text));
        write!(f, "{what}: {why}; {remedy}")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let error = Error::setting("cannot parse --sizes 8:x", "'x' is not a size", "write it like 8:4M");
        assert_eq!(error.to_string(), "cannot parse --sizes 8:x: 'x' is not a size; write it like 8:4M");
        assert_eq!(
            format!("{error:?}"),
            "cannot parse --sizes 8:x\n  why: 'x' is not a size\n  fix: write it like 8:4M\n  kind: setting"
        );
    }

    #[test]
    fn control_characters_are_spelt_out() {
        assert_eq!(printable("a\x1b[31m\tb\n\u{9b}"), "a\\u{1b}[31m\\u{9}b\n\\u{9b}");
        let error = Error::setting("cannot use \x1b]0;x\x07", "why", "fix");
        assert!(!format!("{error} {error:?}").contains(['\x1b', '\x07']));
    }

    #[test]
    fn too_few_descriptors_are_told_as_such_whatever_was_attempted() {
        let failed =
            |errno| Error::system(io::Error::from_raw_os_error(errno), "cannot start it", "mount /proc");
        assert!(failed(24).to_string().ends_with("(ulimit -n)"), "{}", failed(24));
        assert!(failed(23).to_string().contains("fs.file-max"));
        assert!(failed(2).to_string().ends_with("mount /proc"));
    }

    #[test]
    fn a_peer_is_named_by_all_that_is_known_of_it() {
        let mut peer = Peer { rank: 3, host: "node-b".into(), address: "192.0.2.7:4711".into() };
        assert_eq!(peer.to_string(), "rank 3 (node-b, 192.0.2.7:4711)");
        peer.address.clear();
        assert_eq!(peer.to_string(), "rank 3 (node-b)");
    }

    #[test]
    fn an_error_stays_small_enough_to_return_in_registers_and_a_little_more() {
        assert!(std::mem::size_of::<Error>() <= 40);
    }
}
