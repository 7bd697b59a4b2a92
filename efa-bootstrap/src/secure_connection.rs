//! One encrypted connection without blocking: bytes in, messages out, and the other way round.
//!
//! The side that connects opens with [`PREAMBLE`] in clear, so that a port scanner is told apart from a member with the
//! wrong key, then both do the Noise handshake `NNpsk0`: the job key proves that either side belongs to the job, the
//! ephemeral keys keep past traffic secret even if the job key leaks later.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;

use mio::net::TcpStream;
use snow::{Builder, HandshakeState, TransportState};

use super::frame::{
    Assembler, FrameError, MAX_GREETING, MAX_MESSAGE, MAX_RECORD, Records, next_piece, put_record,
};

/// What the connecting side sends first, in clear; also bound into the handshake.
pub(super) const PREAMBLE: &[u8; 8] = b"efa-job\n";

/// The handshake: no static keys, the pre-shared key mixed in first. Pure Rust, no assembly, no ring.
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// Bytes read from a connection at once.
const READ_BYTES: usize = 64 << 10;

/// The same while the other side has not proved anything: a handshake fits easily.
const READ_BYTES_OF_STRANGERS: usize = 256;

/// What the accepting side answers, in clear and instead of its part of the handshake, to whoever holds another key.
/// Anybody on the way could say so as well; but whoever can may break the connection anyway.
const WRONG_KEY: [u8; 1] = [1];

/// Why a connection has ended.
#[derive(Debug)]
pub(super) enum ConnectionError {
    /// The other side closed it between two messages.
    Closed,
    /// The other side closed it in the middle of a message.
    Truncated,
    /// The system says that it is broken.
    Io(io::Error),
    /// What came first was not the preamble.
    NotAMember,
    /// The handshake failed: the two sides hold different keys.
    WrongKey,
    /// What came is no frame of ours.
    Frame(FrameError),
    /// What came is a frame, but no message that belongs here.
    Nonsense,
    /// A record could not be decrypted, so something altered it on the way.
    Corrupt,
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection was closed"),
            Self::Truncated => f.write_str("the connection was closed in the middle of a frame"),
            Self::Io(error) => write!(f, "the connection broke: {error}"),
            Self::NotAMember => f.write_str("what connected does not speak this protocol"),
            Self::WrongKey => f.write_str("the job keys differ"),
            Self::Frame(error) => write!(f, "{error}"),
            Self::Nonsense => f.write_str("it sent a message that makes no sense"),
            Self::Corrupt => f.write_str("a frame was altered on the way"),
        }
    }
}

/// How far the two sides have come.
enum Cipher {
    /// The accepting side waits for the preamble.
    Preamble(Box<HandshakeState>),
    /// The handshake is under way.
    Handshake(Box<HandshakeState>),
    /// Records are encrypted.
    Transport(Box<TransportState>),
    /// The handshake has failed.
    Broken,
}

/// A connection to a member of the job, or to whoever claims to be one.
pub(super) struct SecureConnection {
    pub(super) stream: TcpStream,
    cipher: Cipher,
    initiator: bool,
    records: Records,
    assembler: Assembler,
    /// Messages that wait to be encrypted: only as much as the system takes is, so that one message to a thousand
    /// members is held in memory once. With each, how much of it is encrypted already.
    outgoing: VecDeque<(Arc<Vec<u8>>, usize)>,
    /// Encrypted bytes that wait to be written, from `written` on.
    wire: Vec<u8>,
    written: usize,
    /// When bytes last came.
    pub(super) last_heard: Instant,
}

impl SecureConnection {
    /// Makes the connecting side's end. The handshake begins with the first [`flush`](Self::flush).
    pub(super) fn initiator(stream: TcpStream, psk: &[u8; 32], now: Instant) -> Result<Self, snow::Error> {
        let mut handshake = Box::new(builder(psk)?.build_initiator()?);
        let mut secure = Self::new(stream, true, now);
        secure.wire.extend_from_slice(PREAMBLE);
        secure.put_handshake(&mut handshake)?;
        secure.cipher = Cipher::Handshake(handshake);
        Ok(secure)
    }

    /// Makes the accepting side's end.
    pub(super) fn responder(stream: TcpStream, psk: &[u8; 32], now: Instant) -> Result<Self, snow::Error> {
        let handshake = Box::new(builder(psk)?.build_responder()?);
        let mut secure = Self::new(stream, false, now);
        secure.cipher = Cipher::Preamble(handshake);
        Ok(secure)
    }

    fn new(stream: TcpStream, initiator: bool, now: Instant) -> Self {
        Self {
            stream,
            cipher: Cipher::Broken,
            initiator,
            records: Records::default(),
            assembler: Assembler::new(if initiator { MAX_MESSAGE } else { MAX_GREETING }),
            outgoing: VecDeque::new(),
            wire: Vec::new(),
            written: 0,
            last_heard: now,
        }
    }

    /// Accepts messages of full length from now on: the other side has said who it is.
    pub(super) fn trust(&mut self) {
        self.assembler.limit = MAX_MESSAGE;
    }

    /// Returns `true` if the handshake is done, which proves that the other side holds the same key.
    pub(super) fn is_established(&self) -> bool {
        matches!(self.cipher, Cipher::Transport(_))
    }

    /// Returns `true` if everything sent has been handed to the system.
    pub(super) fn is_flushed(&self) -> bool {
        self.outgoing.is_empty() && self.written == self.wire.len()
    }

    /// Queues a message; [`flush`](Self::flush) sends it.
    pub(super) fn send(&mut self, message: Arc<Vec<u8>>) {
        self.outgoing.push_back((message, 0));
    }

    /// Writes what is queued until all is written or the system takes no more.
    pub(super) fn flush(&mut self) -> Result<(), ConnectionError> {
        loop {
            while self.written < self.wire.len() {
                match self.stream.write(&self.wire[self.written..]) {
                    Ok(0) => return Err(ConnectionError::Closed),
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(ConnectionError::Io(error)),
                }
            }
            self.wire.clear();
            self.written = 0;
            if !self.encrypt_next()? {
                return Ok(());
            }
        }
    }

    /// Encrypts the next piece of what is queued; false if there is none, or the handshake is not done.
    fn encrypt_next(&mut self) -> Result<bool, ConnectionError> {
        let Cipher::Transport(transport) = &mut self.cipher else { return Ok(false) };
        let Some((message, at)) = self.outgoing.front_mut() else { return Ok(false) };
        let mut piece = Vec::new();
        *at = next_piece(message, *at, &mut piece);
        let mut record = vec![0; MAX_RECORD.min(piece.len() + super::frame::TAG_BYTES)];
        let length = transport.write_message(&piece, &mut record).map_err(|_| ConnectionError::Corrupt)?;
        put_record(&mut self.wire, &record[..length]);
        if *at == message.len() {
            self.outgoing.pop_front();
        }
        Ok(true)
    }

    /// Reads until nothing more is there or `budget` bytes have come, and adds the messages that are complete to `inbox`.
    /// Returns whether there may be more.
    ///
    /// # Errors
    /// Why the connection has ended. What came before that is in `inbox` all the same.
    pub(super) fn receive(
        &mut self,
        inbox: &mut Vec<Vec<u8>>,
        budget: usize,
    ) -> Result<bool, ConnectionError> {
        let (mut small, mut large) = ([0; READ_BYTES_OF_STRANGERS], Vec::new());
        let buffer = match self.is_established() {
            false => &mut small[..],
            true => {
                large.resize(READ_BYTES, 0);
                &mut large[..]
            }
        };
        let mut total = 0;
        while total < budget {
            match self.stream.read(buffer) {
                Ok(0) => {
                    let midway = !self.records.waiting().is_empty() || self.assembler.is_midway();
                    return Err(if midway { ConnectionError::Truncated } else { ConnectionError::Closed });
                }
                Ok(count) => {
                    self.last_heard = Instant::now();
                    total += count;
                    self.records.feed(&buffer[..count]);
                    self.take_records(inbox)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ConnectionError::Io(error)),
            }
        }
        Ok(true)
    }

    /// Writes only half of the first record that is queued, as a member that is killed might.
    #[cfg(test)]
    pub(super) fn send_half(&mut self) {
        assert!(self.encrypt_next().is_ok_and(|encrypted| encrypted));
        let half = self.wire.len() / 2;
        assert_eq!(self.stream.write(&self.wire[..half]).ok(), Some(half));
    }

    /// Tells the other side that nothing more comes, after what was flushed.
    pub(super) fn close_sending(&mut self) {
        // It fails only on a connection that has ended, which is what is wanted.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Handles every whole record that has come.
    fn take_records(&mut self, inbox: &mut Vec<Vec<u8>>) -> Result<(), ConnectionError> {
        let mut plain = Vec::new();
        loop {
            self.cipher = match std::mem::replace(&mut self.cipher, Cipher::Broken) {
                Cipher::Preamble(handshake) => {
                    let came = self.records.waiting().len().min(PREAMBLE.len());
                    if self.records.waiting()[..came] != PREAMBLE[..came] {
                        return Err(ConnectionError::NotAMember);
                    }
                    if self.records.next_bytes(PREAMBLE.len()).is_none() {
                        self.cipher = Cipher::Preamble(handshake);
                        return Ok(());
                    }
                    Cipher::Handshake(handshake)
                }
                Cipher::Handshake(mut handshake) => {
                    self.check_handshake_length()?;
                    let Some(record) = self.records.next_record() else {
                        self.cipher = Cipher::Handshake(handshake);
                        return Ok(());
                    };
                    if self.initiator && record == WRONG_KEY {
                        return Err(ConnectionError::WrongKey);
                    }
                    let mut payload = [0; HANDSHAKE_BYTES as usize];
                    if handshake.read_message(record, &mut payload).is_err() {
                        if !self.initiator {
                            put_record(&mut self.wire, &WRONG_KEY);
                            // The connection ends here; whether this gets through is seen by the other side only.
                            let _ = self.flush();
                        }
                        return Err(ConnectionError::WrongKey);
                    }
                    if !self.initiator {
                        self.put_handshake(&mut handshake).map_err(|_| ConnectionError::WrongKey)?;
                    }
                    let transport = handshake.into_transport_mode().map_err(|_| ConnectionError::WrongKey)?;
                    Cipher::Transport(Box::new(transport))
                }
                Cipher::Transport(mut transport) => {
                    let Some(record) = self.records.next_record() else {
                        self.cipher = Cipher::Transport(transport);
                        return Ok(());
                    };
                    plain.resize(MAX_RECORD, 0);
                    let length =
                        transport.read_message(record, &mut plain).map_err(|_| ConnectionError::Corrupt)?;
                    if let Some(message) =
                        self.assembler.push(&plain[..length]).map_err(ConnectionError::Frame)?
                    {
                        inbox.push(message);
                    }
                    Cipher::Transport(transport)
                }
                Cipher::Broken => return Err(ConnectionError::WrongKey),
            };
        }
    }

    /// Checks that a handshake record is 48 bytes, or the one byte of a refusal; whoever announces another length is no member
    /// and need not be waited for.
    fn check_handshake_length(&self) -> Result<(), ConnectionError> {
        let [high, low, ..] = self.records.waiting() else { return Ok(()) };
        match usize::from(u16::from_be_bytes([*high, *low])) {
            length if length == usize::from(HANDSHAKE_BYTES) => Ok(()),
            length if self.initiator && length == WRONG_KEY.len() => Ok(()),
            _ => Err(ConnectionError::NotAMember),
        }
    }

    fn put_handshake(&mut self, handshake: &mut HandshakeState) -> Result<(), snow::Error> {
        let mut record = [0; HANDSHAKE_BYTES as usize];
        let length = handshake.write_message(&[], &mut record)?;
        put_record(&mut self.wire, &record[..length]);
        Ok(())
    }
}

/// Each handshake record: an ephemeral public key and a tag.
const HANDSHAKE_BYTES: u16 = 32 + super::frame::TAG_BYTES as u16;

fn builder(psk: &[u8; 32]) -> Result<Builder<'_>, snow::Error> {
    Builder::new(PATTERN.parse()?).prologue(PREAMBLE)?.psk(0, psk)
}

#[cfg(test)]
#[path = "secure_connection_tests.rs"]
mod tests;
