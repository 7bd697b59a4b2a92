//! What members tell one another over the control connections, and how it is written as bytes.
//!
//! Numbers are big-endian; texts and byte strings follow their length in four bytes. Errors are JSON, as serde writes them. The greeting begins with a magic
//! number and the protocol's version in every version, so that members of different versions can say so.

use std::net::IpAddr;
use std::time::Duration;

use super::secret::JobSecret;
use crate::{Error, Peer};

/// The version of this protocol; it changes whenever the messages do.
pub(super) const PROTOCOL_VERSION: u16 = 6;

/// What a member says of itself when it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) protocol: u16,
    pub(super) rank: u64,
    pub(super) size: u64,
    pub(super) job_id: String,
    pub(super) host: String,
    /// The local end of its control connection.
    pub(super) address: IpAddr,
    /// The version of this library.
    pub(super) library: String,
    /// How long it is willing to wait for the others, from now.
    pub(super) patience: Duration,
}

/// How a collective operation of the control plane hands out what it has gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathering {
    /// Everyone gets everyone's contribution.
    Exchange,
    /// Everyone gets rank 0's contribution.
    Broadcast,
    /// Nobody gets anything but the knowledge that all were there.
    Barrier,
    /// As a barrier, of ranks that end without having finished. Whoever is in another operation at the time hears nothing
    /// of it: those who fail call the job off in a moment, and that is what the others are to hear.
    Failing,
}

impl Gathering {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Broadcast => "broadcast",
            Self::Barrier => "barrier",
            Self::Failing => "end",
        }
    }
}

/// How a member fares, as rank 0 tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Alive,
    Left,
    Silent { quiet: Duration },
    Dead { reason: String },
}

/// Everything that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// To rank 0, first of all.
    Greeting(Greeting),
    /// From rank 0, the answer to a greeting: the rank is counted among those that have arrived.
    Admitted,
    /// From rank 0, the answer to a greeting: this job takes no more ranks, so come again for the next one that meets here.
    /// The fault is what is wrong should there be no next one; there is none where the rank has ended in this job.
    Later { fault: Option<Error> },
    /// From rank 0: all have arrived, these they are, and this is what they share.
    Welcome { peers: Vec<Peer>, secret: JobSecret },
    /// From rank 0: you, or the whole job, can't go on.
    Refused(Error),
    /// Both ways: still there.
    Heartbeat,
    /// To rank 0: my part of operation number `sequence`.
    Contribute { sequence: u64, gathering: Gathering, label: String, patience: Duration, data: Vec<u8> },
    /// From rank 0: parts `first..` of the `total` that operation `sequence` has gathered.
    Parts { sequence: u64, total: u32, first: u32, parts: Vec<Vec<u8>> },
    /// From rank 0: operation `sequence` has failed.
    Failed { sequence: u64, fault: Error },
    /// From rank 0: how `rank` fares now.
    Status { rank: u32, health: Health },
    /// From rank 0: these have left in good order since it last said so.
    Departed { ranks: Vec<u32> },
    /// Both ways: `rank` calls the job off, because it has lost the rank `lost` if there is one.
    Abort { rank: u32, lost: Option<u32>, reason: String },
    /// To rank 0: I leave in good order.
    Leave,
    /// To rank 0: I go without having left.
    Dying { reason: String },
}

/// Bytes that are no message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Begins a greeting.
const MAGIC: [u8; 4] = *b"EFAj";

impl Message {
    /// Returns the message as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer(Vec::new());
        match self {
            Self::Greeting(greeting) => {
                w.u8(0);
                w.0.extend_from_slice(&MAGIC);
                w.0.extend_from_slice(&greeting.protocol.to_be_bytes());
                w.u64(greeting.rank);
                w.u64(greeting.size);
                w.text(&greeting.job_id);
                w.text(&greeting.host);
                w.text(&greeting.address.to_string());
                w.text(&greeting.library);
                w.time(greeting.patience);
            }
            Self::Welcome { peers, secret } => {
                w.u8(1);
                w.0.extend_from_slice(secret.as_bytes());
                w.u32(peers.len() as u32);
                peers.iter().for_each(|peer| w.peer(peer));
            }
            Self::Refused(fault) => {
                w.u8(2);
                w.error(fault);
            }
            Self::Heartbeat => w.u8(3),
            Self::Contribute { sequence, gathering, label, patience, data } => {
                w.u8(4);
                w.u64(*sequence);
                w.u8(match gathering {
                    Gathering::Exchange => 0,
                    Gathering::Broadcast => 1,
                    Gathering::Barrier => 2,
                    Gathering::Failing => 3,
                });
                w.text(label);
                w.time(*patience);
                w.bytes(data);
            }
            Self::Parts { sequence, total, first, parts } => {
                w.u8(5);
                w.u64(*sequence);
                w.u32(*total);
                w.u32(*first);
                w.u32(parts.len() as u32);
                parts.iter().for_each(|part| w.bytes(part));
            }
            Self::Failed { sequence, fault } => {
                w.u8(6);
                w.u64(*sequence);
                w.error(fault);
            }
            Self::Status { rank, health } => {
                w.u8(7);
                w.u32(*rank);
                match health {
                    Health::Alive => w.u8(0),
                    Health::Left => w.u8(1),
                    Health::Silent { quiet } => {
                        w.u8(2);
                        w.time(*quiet);
                    }
                    Health::Dead { reason } => {
                        w.u8(3);
                        w.text(reason);
                    }
                }
            }
            Self::Abort { rank, lost, reason } => {
                w.u8(8);
                w.u32(*rank);
                w.u8(u8::from(lost.is_some()));
                lost.iter().for_each(|&rank| w.u32(rank));
                w.text(reason);
            }
            Self::Leave => w.u8(9),
            Self::Dying { reason } => {
                w.u8(10);
                w.text(reason);
            }
            Self::Departed { ranks } => {
                w.u8(11);
                w.u32(ranks.len() as u32);
                ranks.iter().for_each(|&rank| w.u32(rank));
            }
            Self::Admitted => w.u8(12),
            Self::Later { fault } => {
                w.u8(13);
                w.u8(u8::from(fault.is_some()));
                fault.iter().for_each(|fault| w.error(fault));
            }
        }
        w.0
    }

    /// Reads a message back.
    ///
    /// Of a greeting in another version of the protocol only that version can be told: it comes with rank 0 of 0.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader(bytes);
        let message = match r.u8()? {
            0 => {
                if r.take(4)? != MAGIC {
                    return Err(Malformed);
                }
                let protocol = u16::from_be_bytes(r.array()?);
                if protocol != PROTOCOL_VERSION {
                    return Ok(Self::Greeting(Greeting::of_version(protocol)));
                }
                Self::Greeting(Greeting {
                    protocol,
                    rank: r.u64()?,
                    size: r.u64()?,
                    job_id: r.text()?,
                    host: r.text()?,
                    address: r.text()?.parse().map_err(|_| Malformed)?,
                    library: r.text()?,
                    patience: r.time()?,
                })
            }
            1 => Self::Welcome { secret: JobSecret::from_bytes(r.array()?), peers: r.list(Reader::peer)? },
            2 => Self::Refused(r.error()?),
            3 => Self::Heartbeat,
            4 => Self::Contribute {
                sequence: r.u64()?,
                gathering: match r.u8()? {
                    0 => Gathering::Exchange,
                    1 => Gathering::Broadcast,
                    2 => Gathering::Barrier,
                    3 => Gathering::Failing,
                    _ => return Err(Malformed),
                },
                label: r.text()?,
                patience: r.time()?,
                data: r.bytes()?.to_vec(),
            },
            5 => Self::Parts {
                sequence: r.u64()?,
                total: r.u32()?,
                first: r.u32()?,
                parts: r.list(|r| r.bytes().map(<[u8]>::to_vec))?,
            },
            6 => Self::Failed { sequence: r.u64()?, fault: r.error()? },
            7 => Self::Status {
                rank: r.u32()?,
                health: match r.u8()? {
                    0 => Health::Alive,
                    1 => Health::Left,
                    2 => Health::Silent { quiet: r.time()? },
                    3 => Health::Dead { reason: r.text()? },
                    _ => return Err(Malformed),
                },
            },
            8 => Self::Abort {
                rank: r.u32()?,
                lost: match r.u8()? {
                    0 => None,
                    1 => Some(r.u32()?),
                    _ => return Err(Malformed),
                },
                reason: r.text()?,
            },
            9 => Self::Leave,
            10 => Self::Dying { reason: r.text()? },
            11 => Self::Departed { ranks: r.list(Reader::u32)? },
            12 => Self::Admitted,
            13 => Self::Later {
                fault: match r.u8()? {
                    0 => None,
                    1 => Some(r.error()?),
                    _ => return Err(Malformed),
                },
            },
            _ => return Err(Malformed),
        };
        if r.0.is_empty() { Ok(message) } else { Err(Malformed) }
    }
}

impl Greeting {
    /// Returns what is known of a member that speaks another version.
    fn of_version(protocol: u16) -> Self {
        Self {
            protocol,
            rank: 0,
            size: 0,
            job_id: String::new(),
            host: String::new(),
            address: IpAddr::from([0, 0, 0, 0]),
            library: String::new(),
            patience: Duration::ZERO,
        }
    }
}

/// Appends values to bytes.
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.0.extend_from_slice(value);
    }

    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    fn time(&mut self, value: Duration) {
        self.u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX));
    }

    fn peer(&mut self, peer: &Peer) {
        self.u32(peer.rank as u32);
        self.text(&peer.host);
        self.text(&peer.address);
    }

    /// An error as JSON. It has no parts that can fail to be written.
    fn error(&mut self, error: &Error) {
        self.bytes(&serde_json::to_vec(error).expect("texts and numbers are written without fail"));
    }
}

/// Takes values off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed)
    }

    fn time(&mut self) -> Result<Duration, Malformed> {
        self.u64().map(Duration::from_millis)
    }

    /// Returns a list of items after their number; every item takes at least four bytes, which bounds the number.
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        let count = self.u32()? as usize;
        if count > self.0.len() / 4 {
            return Err(Malformed);
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn peer(&mut self) -> Result<Peer, Malformed> {
        Ok(Peer { rank: self.u32()? as usize, host: self.text()?, address: self.text()? })
    }

    fn error(&mut self) -> Result<Error, Malformed> {
        serde_json::from_slice(self.bytes()?).map_err(|_| Malformed)
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
