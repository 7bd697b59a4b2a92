//! How a rank other than 0 gets its authenticated connection to rank 0, which counts it among those that have arrived: it
//! tries until the deadline.
//!
//! A launcher may run one program after another (`srun sh -c 'first && second'`). A rank of the second may then meet the
//! rank 0 of the first, whose other ranks still leave. That one sends it away, or closes the port just now. So nothing that
//! happens to a connection before rank 0 has admitted the rank tells that rank 0 of this job is gone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use zeroize::Zeroizing;

use super::ControlConfig;
use super::address::{require_loopback, resolve};
use super::fault::{peer_lost, seconds};
use super::job::{Job, Rendezvous};
use super::key::{JobKey, pre_shared_key};
use super::message::{Greeting, Message, PROTOCOL_VERSION};
use super::running::RunningTime;
use super::same_user::{Answer, ask_for_key};
use super::secure_connection::{ConnectionError, SecureConnection};
use crate::{Error, Peer, Result};

/// The token of the connection in the poll that comes with it.
pub(super) const LINK: Token = Token(1);

/// The shortest and the longest pause between two attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// The longest pause after a connection was accepted and then closed: rank 0 is there, and makes room for the newest.
const TURNED_AWAY: Duration = Duration::from_millis(50);

/// How long rank 0 may say that another process has our rank before that is believed. Where a process has just left the job,
/// rank 0 may not have heard of it yet.
const TAKEN_AFTER: Duration = Duration::from_secs(5);

/// How long nobody listens before a rank 0 whose process has ended is taken for gone.
const GONE_AFTER: Duration = Duration::from_secs(2);

/// One attempt to connect takes no longer, so that a host that swallows packets doesn't use up the deadline.
const ATTEMPT: Duration = Duration::from_secs(5);

/// A connection to rank 0, which has proved to hold the same key and counts this rank among those that have arrived.
pub(super) struct Dialled {
    pub(super) poll: Poll,
    pub(super) secure: SecureConnection,
    pub(super) address: SocketAddr,
    /// The messages that have come with its answer.
    pub(super) early: Vec<Vec<u8>>,
}

/// Why an attempt led to nothing.
enum Miss {
    /// No path leads there, or nobody listens.
    Unreachable(String),
    /// The connection was accepted and closed, or not answered.
    TurnedAway(String),
    /// What listens there is not rank 0 of this job.
    Wrong(SocketAddr, ConnectionError),
    /// It is the rank 0 of a job that takes no more ranks; and what is wrong if it should be that of this job.
    Later(Option<Error>),
}

/// Connects to the rendezvous, again and again until the deadline: rank 0 may start later than we do, and it turns
/// connections away while it has too many.
pub(super) fn dial(
    job: &Job,
    rendezvous: &Rendezvous,
    config: &ControlConfig,
    clock: &mut RunningTime,
    until: Duration,
) -> Result<Dialled> {
    let begun = clock.now();
    let mut last_error = "no time was left to try".to_owned();
    let mut pause = BACKOFF.0;
    let mut was_there = false;
    let (mut taken_since, mut gone_since) = (None, None);
    loop {
        if clock.left(until).is_zero() {
            let waited = clock.now() - begun;
            let never = match was_there {
                true => "rank 0 took connections and did not admit this rank",
                false => "rank 0 was never reached",
            };
            return Err(Error::timeout(
                waited,
                format!("rank {} looked for rank 0 at {rendezvous} for {}", job.rank, seconds(waited)),
                format!("{never}; the last attempt: {last_error}"),
                "see in rank 0's own output whether it still runs and has come to join the job; check that EFA_RENDEZVOUS \
                 leads to its host and that no firewall is in between, or allow more time with EFA_ARRIVAL_TIMEOUT",
            ));
        }
        match attempt(job, rendezvous, config, clock, until)? {
            Ok(dialled) => return Ok(dialled),
            Err(Miss::Wrong(address, error))
                if job.key.is_some() || !matches!(error, ConnectionError::WrongKey) =>
            {
                return Err(not_rank_0(job, address, &error));
            }
            // The key came from rank 0 itself, so somebody else listens at the port; rank 0 will say so.
            Err(Miss::Wrong(address, _)) => {
                last_error = format!("what listens at {address} does not hold the key of rank 0");
            }
            Err(Miss::Unreachable(why)) => {
                if rendezvous.root.is_some_and(|process| process.has_ended()) {
                    let now = clock.now();
                    if now - *gone_since.get_or_insert(now) >= GONE_AFTER {
                        return Err(never_came(rendezvous, &why));
                    }
                }
                last_error = why;
            }
            Err(Miss::TurnedAway(why)) => {
                was_there = true;
                last_error = why;
                pause = pause.min(TURNED_AWAY);
            }
            Err(Miss::Later(fault)) => {
                was_there = true;
                last_error = format!("rank 0 at {rendezvous} belongs to a job that has all its ranks");
                pause = pause.min(TURNED_AWAY);
                let now = clock.now();
                match fault {
                    None => taken_since = None,
                    Some(fault) if now - *taken_since.get_or_insert(now) >= TAKEN_AFTER => {
                        return Err(fault);
                    }
                    Some(fault) => last_error.push_str(&format!(
                        "; {}: {}",
                        fault.explanation().what,
                        fault.explanation().why
                    )),
                }
            }
        }
        // Ranks started together should not all knock together.
        let jitter = Duration::from_millis(job.rank as u64 % 16);
        std::thread::sleep((pause + jitter).min(clock.left(until)));
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Tries every address once. The outer error is one that no further attempt mends.
fn attempt(
    job: &Job,
    rendezvous: &Rendezvous,
    config: &ControlConfig,
    clock: &mut RunningTime,
    until: Duration,
) -> Result<Result<Dialled, Miss>> {
    let left = |clock: &mut RunningTime| clock.left(until).max(BACKOFF.0);
    let limit = left(clock).min(ATTEMPT);
    let addresses = match resolve(rendezvous, clock, limit) {
        Ok(addresses) => addresses,
        Err(error) => return Ok(Err(Miss::Unreachable(format!("its name has no address: {error}")))),
    };
    let handed_out;
    let key = match &job.key {
        Some(key) => key,
        None => {
            require_loopback(rendezvous, &addresses)?;
            handed_out = match ask_rank_0(job, rendezvous, clock, until)? {
                Ok(key) => key,
                Err(miss) => return Ok(Err(miss)),
            };
            &handed_out
        }
    };
    let psk = pre_shared_key(key);
    let mut miss = Miss::Unreachable("the rendezvous has no address".into());
    for address in addresses {
        let limit = left(clock).min(ATTEMPT);
        let next = match connect(address, clock, limit) {
            // With nobody listening, a socket may happen to connect to itself.
            Ok((_, stream)) if stream.local_addr().ok() == Some(address) => continue,
            Ok((poll, stream)) => {
                let limit = left(clock).min(config.handshake_limit);
                match handshake(poll, stream, &psk, clock, limit) {
                    Ok((poll, secure)) => return introduce(poll, secure, address, job, clock, until),
                    Err(error @ (ConnectionError::WrongKey | ConnectionError::NotAMember)) => {
                        Miss::Wrong(address, error)
                    }
                    Err(error) => Miss::TurnedAway(format!(
                        "what listens at {address} took the connection and did not complete the handshake: {error}"
                    )),
                }
            }
            Err(error) => Miss::Unreachable(format!("{address}: {error}")),
        };
        // Of several addresses, the one where somebody answers says most.
        let is_silent = matches!(next, Miss::Unreachable(_));
        if !(is_silent && matches!(miss, Miss::Wrong(..) | Miss::TurnedAway(_))) {
            miss = next;
        }
    }
    Ok(Err(miss))
}

/// Returns the key of a job that was given none; the inner error says why there is none yet.
fn ask_rank_0(
    job: &Job,
    rendezvous: &Rendezvous,
    clock: &mut RunningTime,
    until: Duration,
) -> Result<Result<JobKey, Miss>> {
    match ask_for_key(rendezvous.port, clock, until)? {
        Answer::Key(key) => Ok(Ok(key)),
        Answer::NotNow(why) => Ok(Err(Miss::Unreachable(why.to_owned()))),
        Answer::BringYours => Err(Error::rendezvous(
            format!("rank {} cannot join the job that meets at {rendezvous}", job.rank),
            "wrong or missing job key: rank 0 has one and this rank has none",
            "give every rank the same EFA_JOB_KEY or EFA_JOB_KEY_FILE",
        )),
        Answer::Unauthenticated(holder) => Err(Error::rendezvous(
            format!("rank {} does not join: another user takes the part of rank 0 at {rendezvous}", job.rank),
            format!(
                "{holder} listens at the abstract Unix socket of the port; without a job key only the same user is trusted"
            ),
            "start all ranks as one user, choose another port with EFA_RENDEZVOUS, or set EFA_JOB_KEY for all ranks",
        )),
    }
}

fn never_came(rendezvous: &Rendezvous, why: &str) -> Error {
    let root = Peer { rank: 0, host: String::new(), address: rendezvous.to_string() };
    let what = format!("{root} ended before it joined the job");
    peer_lost(root, what, format!("its process has ended, and nobody listens: {why}"))
}

fn not_rank_0(job: &Job, address: SocketAddr, error: &ConnectionError) -> Error {
    match error {
        ConnectionError::WrongKey => Error::rendezvous(
            format!("rank {} and rank 0 at {address} hold different job keys", job.rank),
            "wrong or missing job key: the handshake failed",
            "give every rank, rank 0 too, the same EFA_JOB_KEY or EFA_JOB_KEY_FILE, and each job a rendezvous of its own",
        ),
        other => Error::rendezvous(
            format!("what listens at {address} is not rank 0 of this job"),
            format!("{other} during the handshake or after it"),
            "give each job a rendezvous of its own with EFA_RENDEZVOUS",
        ),
    }
}

/// Connects within `limit`.
fn connect(address: SocketAddr, clock: &mut RunningTime, limit: Duration) -> io::Result<(Poll, TcpStream)> {
    let until = clock.now().saturating_add(limit);
    let mut poll = Poll::new()?;
    let mut stream = TcpStream::connect(address)?;
    poll.registry().register(&mut stream, LINK, Interest::READABLE | Interest::WRITABLE)?;
    let mut events = Events::with_capacity(8);
    loop {
        let nap = clock.nap(until);
        match poll.poll(&mut events, Some(nap)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => return Ok((poll, stream)),
            Err(error) if error.kind() != io::ErrorKind::NotConnected => return Err(error),
            Err(_) if nap.is_zero() => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
            }
            Err(_) => {}
        }
    }
}

/// Proves to each other that both hold the key, within `limit`.
fn handshake(
    mut poll: Poll,
    stream: TcpStream,
    psk: &Zeroizing<[u8; 32]>,
    clock: &mut RunningTime,
    limit: Duration,
) -> Result<(Poll, SecureConnection), ConnectionError> {
    let until = clock.now().saturating_add(limit);
    stream.set_nodelay(true).map_err(ConnectionError::Io)?;
    let mut secure = SecureConnection::initiator(stream, psk, Instant::now())
        .map_err(|error| ConnectionError::Io(io::Error::other(error.to_string())))?;
    let mut events = Events::with_capacity(8);
    loop {
        // Whether it reads or writes first does not matter: nothing is lost by trying.
        secure.flush()?;
        secure.receive(&mut Vec::new(), usize::MAX)?;
        if secure.is_established() {
            return Ok((poll, secure));
        }
        let nap = clock.nap(until);
        if nap.is_zero() {
            let why = format!("no answer within {}", seconds(limit));
            return Err(ConnectionError::Io(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        match poll.poll(&mut events, Some(nap)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(ConnectionError::Io(error));
            }
            _ => {}
        }
    }
}

/// Says to rank 0 at `address` who this is, and waits until rank 0 has admitted the rank. The outer error is one that no
/// further attempt mends.
fn introduce(
    mut poll: Poll,
    mut secure: SecureConnection,
    address: SocketAddr,
    job: &Job,
    clock: &mut RunningTime,
    until: Duration,
) -> Result<Result<Dialled, Miss>> {
    let turned_away = |error: &dyn std::fmt::Display| {
        Ok(Err(Miss::TurnedAway(format!("what listens at {address} did not answer the greeting: {error}"))))
    };
    let local = match secure.stream.local_addr() {
        Ok(local) => local.ip().to_canonical(),
        Err(error) => return turned_away(&error),
    };
    let greeting = Greeting {
        protocol: PROTOCOL_VERSION,
        rank: job.rank as u64,
        size: job.size as u64,
        job_id: job.id.clone(),
        host: job.host.clone(),
        address: local,
        library: env!("CARGO_PKG_VERSION").to_owned(),
        patience: clock.left(until),
    };
    secure.send(Arc::new(Message::Greeting(greeting).encode()));
    let mut events = Events::with_capacity(8);
    let mut messages = Vec::new();
    loop {
        let outcome = secure.flush().and_then(|()| secure.receive(&mut messages, usize::MAX));
        if !messages.is_empty() {
            let early = messages.split_off(1);
            return match Message::decode(&messages[0]) {
                Ok(Message::Admitted) => Ok(Ok(Dialled { poll, secure, address, early })),
                Ok(Message::Refused(fault)) => Err(fault),
                Ok(Message::Later { fault }) => Ok(Err(Miss::Later(fault))),
                _ => Err(not_rank_0(job, address, &ConnectionError::Nonsense)),
            };
        }
        if let Err(error) = outcome {
            return turned_away(&error);
        }
        let nap = clock.nap(until);
        if nap.is_zero() {
            return turned_away(&"the time was over");
        }
        match poll.poll(&mut events, Some(nap)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return turned_away(&error),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
