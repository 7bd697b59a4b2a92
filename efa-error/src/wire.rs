//! How an [`Error`] is written and read by serde: one flat object, with the facts that its kind has.
//!
//! ```json
//! {"kind":"peer-lost","what":"…","why":"…","remedy":"…","who":{"rank":3,"host":"node-b","address":"192.0.2.7"}}
//! ```
//!
//! Errors come from other ranks, so what is read is checked: no text is longer than one that is written, and a kind has
//! the facts that it needs and no others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Code, Error, ErrorKind, Explanation, Peer};

/// The longest text of an error that is written or read, in bytes. A longer one is cut when it is written.
const LONGEST: usize = 1 << 16;

/// An error as it is written. Facts that its kind does not have are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    kind: ErrorKind,
    what: String,
    why: String,
    remedy: String,
    /// The peer that is lost, that aborted the job, or that tells why it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    who: Option<Peer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capacity: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    elapsed: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undetermined: Option<bool>,
}

impl From<&Error> for Wire {
    fn from(error: &Error) -> Self {
        let Explanation { what, why, remedy } = error.explanation();
        let mut wire = Self {
            kind: error.kind(),
            what: cut(what),
            why: cut(why),
            remedy: cut(remedy),
            who: error.peer().map(cut_peer),
            code: error.code().map(|code| code.0),
            provider_code: None,
            capacity: None,
            elapsed: error.elapsed(),
            undetermined: None,
        };
        match error {
            Error::Operation { provider_code, .. } => wire.provider_code = Some(*provider_code),
            Error::Truncated { capacity, .. } => wire.capacity = Some(*capacity),
            Error::Refused { undetermined, told_by, .. } => {
                wire.undetermined = Some(*undetermined);
                wire.who = told_by.as_deref().map(cut_peer);
            }
            _ => {}
        }
        wire
    }
}

impl TryFrom<Wire> for Error {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, String> {
        let peer_texts = wire.who.iter().flat_map(|peer| [&peer.host, &peer.address]);
        if [&wire.what, &wire.why, &wire.remedy]
            .into_iter()
            .chain(peer_texts)
            .any(|text| text.len() > LONGEST)
        {
            return Err(format!("a text of an error has more than {LONGEST} bytes"));
        }
        let lacking = |fact| format!("an error of the kind {} has no {fact}", wire.kind);
        let who = || wire.who.clone().map(Box::new).ok_or_else(|| lacking("who"));
        let code = || wire.code.map(Code).ok_or_else(|| lacking("code"));
        let text = Explanation::new(&*wire.what, &*wire.why, &*wire.remedy);
        let error = match wire.kind {
            ErrorKind::Misuse => Self::Misuse(text),
            ErrorKind::Setting => Self::Setting(text),
            ErrorKind::System => {
                let said = || io::Error::other(wire.why.clone());
                let source = Arc::new(wire.code.map_or_else(said, io::Error::from_raw_os_error));
                Self::System { source, text }
            }
            ErrorKind::Fabric => Self::Fabric { code: code()?, text },
            ErrorKind::Provider => Self::Provider(text),
            ErrorKind::Unsupported => Self::Unsupported(text),
            ErrorKind::Operation => {
                let provider_code = wire.provider_code.ok_or_else(|| lacking("provider_code"))?;
                Self::Operation { code: code()?, provider_code, text }
            }
            ErrorKind::Truncated => {
                Self::Truncated { capacity: wire.capacity.ok_or_else(|| lacking("capacity"))?, text }
            }
            ErrorKind::PeerLost => Self::PeerLost { peer: who()?, text },
            ErrorKind::Timeout => {
                Self::Timeout { elapsed: wire.elapsed.ok_or_else(|| lacking("elapsed"))?, text }
            }
            ErrorKind::Cancelled => Self::Cancelled(text),
            ErrorKind::Closed => Self::Closed(text),
            ErrorKind::Refused => Self::Refused {
                undetermined: wire.undetermined.ok_or_else(|| lacking("undetermined"))?,
                told_by: wire.who.clone().map(Box::new),
                text,
            },
            ErrorKind::Rendezvous => Self::Rendezvous(text),
            ErrorKind::Aborted => Self::Aborted { by: who()?, text },
            ErrorKind::Defect => Self::Defect(text),
        };
        // Whatever the kind has no place for is not in the error.
        if Self::wire(&error) != wire {
            return Err(format!("an error of the kind {} has facts of another kind", wire.kind));
        }
        Ok(error)
    }
}

impl Error {
    fn wire(&self) -> Wire {
        Wire::from(self)
    }
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.wire().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Wire::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.wire() == other.wire()
    }
}

impl Eq for Error {}

/// The text, or as much of it as is written.
fn cut(text: &str) -> String {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn cut_peer(peer: &Peer) -> Peer {
    Peer { rank: peer.rank, host: cut(&peer.host), address: cut(&peer.address) }
}

#[cfg(test)]
mod tests {
    use efa_fuzz::{Random, rounds};
    use proptest::prelude::*;

    use super::*;

    fn peer() -> Peer {
        Peer { rank: 3, host: "node-b".into(), address: "192.0.2.7".into() }
    }

    /// An error of each kind.
    fn errors(what: &str, why: &str, remedy: &str) -> Vec<Error> {
        let text = || Explanation::new(what, why, remedy);
        let told_by = Some(Box::new(peer()));
        vec![
            Error::misuse(what, why, remedy),
            Error::setting(what, why, remedy),
            Error::System { source: Arc::new(io::Error::from_raw_os_error(13)), text: text() },
            Error::System { source: Arc::new(io::Error::other("no number")), text: text() },
            Error::Fabric { code: Code(61), text: text() },
            Error::Provider(text()),
            Error::unsupported(what, why, remedy),
            Error::Operation { code: Code(5), provider_code: -4, text: text() },
            Error::Truncated { capacity: 10, text: text() },
            Error::peer_lost(peer(), what, why, remedy),
            Error::timeout(Duration::from_micros(2_500_001), what, why, remedy),
            Error::Cancelled(text()),
            Error::Closed(text()),
            Error::refused(true, what, why, remedy),
            Error::Refused { undetermined: false, told_by, text: text() },
            Error::rendezvous(what, why, remedy),
            Error::aborted(peer(), what, why, remedy),
            Error::Defect(text()),
        ]
    }

    fn read(json: &str) -> Result<Error, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    proptest! {
        #[test]
        fn every_error_is_read_as_it_was_written(what in ".{0,20}", why in ".{0,20}", remedy in ".{0,20}") {
            for error in errors(&what, &why, &remedy) {
                let json = serde_json::to_string(&error).unwrap();
                let read = read(&json).unwrap();
                prop_assert_eq!(&read, &error);
                prop_assert_eq!(format!("{read:?}"), format!("{error:?}"));
                prop_assert_eq!((read.kind(), read.code(), read.elapsed(), read.peer()),
                    (error.kind(), error.code(), error.elapsed(), error.peer()));
            }
        }
    }

    #[test]
    fn the_shape_on_the_wire_is_flat_and_has_no_empty_facts() {
        let error = Error::peer_lost(peer(), "cannot send", "it was killed", "start again");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"kind":"peer-lost","what":"cannot send","why":"it was killed","remedy":"start again","who":{"rank":3,"host":"node-b","address":"192.0.2.7"}}"#
        );
    }

    #[test]
    fn an_error_that_lacks_a_fact_or_has_one_too_many_is_not_read() {
        let with = |kind: &str, facts: &str| {
            read(&format!(r#"{{"kind":"{kind}","what":"a","why":"b","remedy":"c"{facts}}}"#))
        };
        assert!(with("closed", "").is_ok());
        let who = r#","who":{"rank":1,"host":"","address":""}"#;
        assert!(with("peer-lost", who).is_ok());
        for (kind, facts, says) in [
            ("peer-lost", "", "has no who"),
            ("aborted", "", "has no who"),
            ("timeout", "", "has no elapsed"),
            ("fabric", "", "has no code"),
            ("operation", r#","code":5"#, "has no provider_code"),
            ("truncated", "", "has no capacity"),
            ("refused", "", "has no undetermined"),
            ("closed", who, "facts of another kind"),
            ("closed", r#","code":5"#, "facts of another kind"),
            ("closed", r#","more":5"#, "unknown field"),
            ("unheard-of", "", "unknown variant"),
            ("timeout", r#","elapsed":{"secs":18446744073709551615,"nanos":4000000000}"#, "overflow"),
        ] {
            let error = with(kind, facts).unwrap_err();
            assert!(error.contains(says), "{kind}{facts}: {error}");
        }
        assert!(read("{}").is_err() && read("[]").is_err() && read("").is_err());
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_when_written_and_refused_when_read() {
        // The limit lies within a letter.
        let long = format!("a{}", "é".repeat(LONGEST));
        let error = Error::setting(&*long, "b", "c");
        let read_back = read(&serde_json::to_string(&error).unwrap()).unwrap();
        assert_eq!(read_back.explanation().what, long[..LONGEST - 1]);
        let json = format!(r#"{{"kind":"closed","what":"{long}","why":"b","remedy":"c"}}"#);
        assert!(read(&json).unwrap_err().contains("more than"));
        let json = format!(
            r#"{{"kind":"peer-lost","what":"a","why":"b","remedy":"c","who":{{"rank":1,"host":"{long}","address":""}}}}"#
        );
        assert!(read(&json).unwrap_err().contains("more than"));
    }

    #[test]
    fn errors_are_equal_by_what_they_say() {
        let errors = errors("a", "b", "c");
        for (index, error) in errors.iter().enumerate() {
            assert_eq!(errors.iter().position(|other| other == error), Some(index));
            assert_eq!(&error.clone(), error);
        }
    }

    #[test]
    fn fuzz_errors_are_refused_or_written_as_they_were_read() {
        let written: Vec<Vec<u8>> =
            errors("what", "why", "remedy").iter().map(|error| serde_json::to_vec(error).unwrap()).collect();
        rounds("errors", 50_000, |random: &mut Random| {
            let one = random.pick(&written).clone();
            let bytes = random.mutate(&one);
            if let Ok(error) = serde_json::from_slice::<Error>(&bytes) {
                let again = serde_json::to_vec(&error).expect("an error can be written");
                assert_eq!(serde_json::from_slice::<Error>(&again).expect("it was written"), error);
                assert!(!format!("{error:?} {error}").contains('\x1b'));
            }
        });
    }
}
