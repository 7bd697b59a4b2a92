//! What kind of failure an error is, and whose it is to mend: [`ErrorKind`], [`Origin`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The kind of an [`Error`]: its variant without what the variant holds. Its name on the wire is what `Display` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// [`Error::Misuse`].
    Misuse,
    /// [`Error::Setting`].
    Setting,
    /// [`Error::System`].
    System,
    /// [`Error::Fabric`].
    Fabric,
    /// [`Error::Provider`].
    Provider,
    /// [`Error::Unsupported`].
    Unsupported,
    /// [`Error::Operation`].
    Operation,
    /// [`Error::Truncated`].
    Truncated,
    /// [`Error::PeerLost`].
    PeerLost,
    /// [`Error::Timeout`].
    Timeout,
    /// [`Error::Cancelled`].
    Cancelled,
    /// [`Error::Closed`].
    Closed,
    /// [`Error::Refused`].
    Refused,
    /// [`Error::Rendezvous`].
    Rendezvous,
    /// [`Error::Aborted`].
    Aborted,
    /// [`Error::Defect`].
    Defect,
}

/// Whose an error is to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The caller's: the program or its settings ask for what can't be. The same call fails again.
    Misuse,
    /// The world's: the system, the network, a device, another rank. The same call may succeed at another time.
    Failure,
    /// This library's: please report it.
    Defect,
}

impl ErrorKind {
    /// Returns whose an error of this kind is to mend.
    pub fn origin(self) -> Origin {
        match self {
            Self::Misuse | Self::Setting | Self::Unsupported | Self::Truncated => Origin::Misuse,
            Self::System
            | Self::Fabric
            | Self::Provider
            | Self::Operation
            | Self::PeerLost
            | Self::Timeout
            | Self::Cancelled
            | Self::Closed
            | Self::Refused
            | Self::Rendezvous
            | Self::Aborted => Origin::Failure,
            Self::Defect => Origin::Defect,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name that serde gives it, so that there is one list of names.
        self.serialize(f)
    }
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Misuse(_) => ErrorKind::Misuse,
            Self::Setting(_) => ErrorKind::Setting,
            Self::System { .. } => ErrorKind::System,
            Self::Fabric { .. } => ErrorKind::Fabric,
            Self::Provider(_) => ErrorKind::Provider,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Operation { .. } => ErrorKind::Operation,
            Self::Truncated { .. } => ErrorKind::Truncated,
            Self::PeerLost { .. } => ErrorKind::PeerLost,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Cancelled(_) => ErrorKind::Cancelled,
            Self::Closed(_) => ErrorKind::Closed,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Rendezvous(_) => ErrorKind::Rendezvous,
            Self::Aborted { .. } => ErrorKind::Aborted,
            Self::Defect(_) => ErrorKind::Defect,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misuse_a_failure_and_a_defect_are_told_apart() {
        let misuse = Error::misuse("cannot send", "the job has 2 ranks", "use a rank of the job");
        assert_eq!((misuse.kind(), misuse.kind().origin()), (ErrorKind::Misuse, Origin::Misuse));
        let failure = Error::system(std::io::Error::from_raw_os_error(2), "cannot open it", "look");
        assert_eq!((failure.kind(), failure.kind().origin()), (ErrorKind::System, Origin::Failure));
        let defect = Error::defect("cannot wait", "nothing is under way");
        assert_eq!((defect.kind(), defect.kind().origin()), (ErrorKind::Defect, Origin::Defect));
        let told = defect.to_string();
        assert!(told.contains("defect of the library") && told.contains("efa info --json"), "{told}");
        assert!(format!("{defect:?}").ends_with("\n  kind: defect"), "{defect:?}");
    }

    #[test]
    fn a_kind_is_printed_by_its_name_on_the_wire() {
        assert_eq!(ErrorKind::PeerLost.to_string(), "peer-lost");
        assert_eq!(serde_json::to_string(&ErrorKind::PeerLost).unwrap(), "\"peer-lost\"");
    }
}
