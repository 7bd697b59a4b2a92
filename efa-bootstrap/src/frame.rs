//! How messages become bytes on the wire, apart from encryption and input/output.
//!
//! A *message* (up to [`MAX_MESSAGE`]) travels as one or more *records*, because a Noise message holds 65,535 bytes at
//! most. On the wire a record is its length in two bytes, most significant first, and so many bytes of ciphertext. Its
//! plaintext is a marker byte, [`MORE`] or [`LAST`], and a piece of the message.

use std::fmt;

/// The largest payload that one member may contribute at once.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// The largest message: a payload with its label and numbers.
pub(super) const MAX_MESSAGE: usize = MAX_PAYLOAD + (64 << 10);

/// The largest message from a connection whose owner is not yet known; a greeting fits easily.
pub(super) const MAX_GREETING: usize = 16 << 10;

/// The largest Noise message, by the Noise specification, section 3.
pub(super) const MAX_RECORD: usize = 65_535;

/// What encryption adds to a record: the authentication tag.
pub(super) const TAG_BYTES: usize = 16;

/// The most bytes of a message that fit into one record, beside the marker.
const MAX_PIECE: usize = MAX_RECORD - TAG_BYTES - 1;

/// Marks a piece that others follow.
const MORE: u8 = 1;

/// Marks the last piece of a message.
const LAST: u8 = 0;

/// Why bytes that arrived are no message of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FrameError {
    /// The message is longer than allowed.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A record without a marker, or with one that doesn't exist.
    BadMarker,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "a frame is longer than the limit of {limit} bytes"),
            Self::BadMarker => f.write_str("a frame has no valid marker"),
        }
    }
}

/// Appends a record to what is to be written.
///
/// `record` is at most [`MAX_RECORD`] long, as the cipher's output buffer is.
pub(super) fn put_record(wire: &mut Vec<u8>, record: &[u8]) {
    debug_assert!(record.len() <= MAX_RECORD);
    wire.extend_from_slice(&(record.len() as u16).to_be_bytes());
    wire.extend_from_slice(record);
}

/// Puts the next piece of `message`, from `at`, with its marker into `piece`; returns where the one after it starts.
///
/// An empty message is one empty piece. When the returned value equals the message's length, that was the last.
pub(super) fn next_piece(message: &[u8], at: usize, piece: &mut Vec<u8>) -> usize {
    let end = message.len().min(at + MAX_PIECE);
    piece.clear();
    piece.push(if end == message.len() { LAST } else { MORE });
    piece.extend_from_slice(&message[at..end]);
    end
}

/// Cuts a stream of bytes into records.
#[derive(Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    start: usize,
}

impl Records {
    /// Takes bytes as they came from the connection.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next whole record, if it is there.
    pub(super) fn next_record(&mut self) -> Option<&[u8]> {
        let rest = &self.bytes[self.start..];
        let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        let record = rest.get(2..2 + length)?;
        self.start += 2 + length;
        Some(record)
    }

    /// Returns the next `count` bytes as they are, if they are there.
    pub(super) fn next_bytes(&mut self, count: usize) -> Option<&[u8]> {
        let bytes = self.bytes.get(self.start..self.start + count)?;
        self.start += count;
        Some(bytes)
    }

    /// Returns what has come so far and is not yet taken.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// Puts the pieces of messages together again.
pub(super) struct Assembler {
    message: Vec<u8>,
    /// The longest message accepted, in bytes.
    pub(super) limit: usize,
}

impl Assembler {
    pub(super) fn new(limit: usize) -> Self {
        Self { message: Vec::new(), limit }
    }

    /// Takes a piece with its marker; returns the message when it is complete.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Option<Vec<u8>>, FrameError> {
        let (&marker, piece) = piece.split_first().ok_or(FrameError::BadMarker)?;
        if self.message.len() + piece.len() > self.limit {
            return Err(FrameError::TooLong { limit: self.limit });
        }
        self.message.extend_from_slice(piece);
        match marker {
            LAST => Ok(Some(std::mem::take(&mut self.message))),
            // Otherwise a stream of them would never reach the limit.
            MORE if piece.is_empty() => Err(FrameError::BadMarker),
            MORE => Ok(None),
            _ => Err(FrameError::BadMarker),
        }
    }

    /// Returns `true` if a message has begun and not ended.
    pub(super) fn is_midway(&self) -> bool {
        !self.message.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns all messages as one stream of unencrypted records.
    fn to_wire(messages: &[Vec<u8>]) -> Vec<u8> {
        let (mut wire, mut piece) = (Vec::new(), Vec::new());
        for message in messages {
            let mut at = 0;
            loop {
                at = next_piece(message, at, &mut piece);
                put_record(&mut wire, &piece);
                if at == message.len() {
                    break;
                }
            }
        }
        wire
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn messages_survive_however_the_stream_is_cut(
            lengths in prop::collection::vec(prop_oneof![0..40_usize, MAX_PIECE - 2..MAX_PIECE + 3, 0..200_000_usize], 0..6),
            cuts in prop::collection::vec(1..70_000_usize, 1..20),
        ) {
            let messages: Vec<Vec<u8>> = lengths.iter().map(|&n| (0..n).map(|i| (i * 7 + n) as u8).collect()).collect();
            let wire = to_wire(&messages);
            let (mut records, mut assembler, mut found) = (Records::default(), Assembler::new(MAX_MESSAGE), Vec::new());
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            while at < wire.len() {
                let end = wire.len().min(at + cuts.next().unwrap());
                records.feed(&wire[at..end]);
                at = end;
                while let Some(record) = records.next_record() {
                    found.extend(assembler.push(record).unwrap());
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert!(records.waiting().is_empty() && !assembler.is_midway());
        }

        #[test]
        fn any_bytes_at_all_are_records_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let (mut records, mut assembler) = (Records::default(), Assembler::new(100));
            records.feed(&bytes);
            while let Some(record) = records.next_record() {
                if let Ok(Some(message)) = assembler.push(record) {
                    prop_assert!(message.len() <= 100);
                }
            }
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_before_it_is_complete() {
        let mut assembler = Assembler::new(10);
        assert_eq!(assembler.push(&[MORE, 1, 2, 3, 4, 5, 6]), Ok(None));
        assert_eq!(assembler.push(&[MORE, 1, 2, 3, 4, 5, 6]), Err(FrameError::TooLong { limit: 10 }));
    }

    #[test]
    fn markers_that_do_not_exist_are_refused() {
        for piece in [&[] as &[u8], &[2, 1], &[MORE]] {
            assert_eq!(Assembler::new(10).push(piece), Err(FrameError::BadMarker));
        }
    }

    #[test]
    fn a_truncated_record_is_seen_as_such() {
        let wire = to_wire(&[vec![1, 2, 3]]);
        let mut records = Records::default();
        records.feed(&wire[..wire.len() - 1]);
        assert!(records.next_record().is_none());
        assert!(!records.waiting().is_empty());
    }
}
