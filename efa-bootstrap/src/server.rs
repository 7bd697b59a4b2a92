//! The background thread of rank 0: listens at the rendezvous and holds a connection to every other rank.
//!
//! One thread with non-blocking sockets serves all of them, since jobs of thousands of ranks are foreseen, where a
//! thread for each would cost gigabytes of stacks. `mio` tells which sockets are ready: its interface is safe, and it
//! brings nothing else along.

mod arrivals;
mod ending;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use zeroize::Zeroizing;

use super::ControlConfig;
use super::address::{listen, require_loopback, resolve};
use super::coordinator::{Coordinator, Output};
use super::gather::deadline_after;
use super::inbox::Inbox;
use super::job::{Job, Rendezvous};
use super::key::{JobKey, pre_shared_key};
use super::message::Message;
use super::running::RunningTime;
use super::same_user::KeyDesk;
use super::secret::JobSecret;
use super::secure_connection::{ConnectionError, SecureConnection};
use super::worker::{Clock, Commands, WAKER, Worker};
use crate::{Error, Result};

/// The listener's token.
const LISTENER: Token = Token(1);

/// The token of where the key is handed out; connections have the numbers after it.
const DESK: Token = Token(2);

/// How many bytes are read from a connection before the others have their turn: of an unauthenticated peer, of whoever holds the key
/// but has not greeted, and of a rank.
const STRANGER_BYTES_PER_TURN: usize = 256;
const GREETING_BYTES_PER_TURN: usize = 32 << 10;
const MEMBER_BYTES_PER_TURN: usize = 1 << 20;

/// How long a connection that was told to go may take to read the reason.
const FAREWELL: Duration = Duration::from_secs(1);

/// Listens at the rendezvous and starts the background thread; also returns when all must have arrived, within `limit`.
pub(super) fn start(
    job: &Job,
    rendezvous: &Rendezvous,
    config: &ControlConfig,
    inbox: &Arc<Inbox>,
    limit: Duration,
) -> Result<(Worker, Instant)> {
    let mut clock = RunningTime::start();
    let addresses = resolve(rendezvous, &mut clock, limit).map_err(|error| {
        let what = format!("rank 0 cannot find the address of the rendezvous {rendezvous}");
        Error::system(error, what, "set EFA_RENDEZVOUS to an address of rank 0's host and a free port")
    })?;
    if job.key.is_none() {
        require_loopback(rendezvous, &addresses)?;
    }
    let listener = listen(rendezvous, &addresses, job.key.is_some())?;
    let (key, mut desk) = match &job.key {
        Some(key) => (key.clone(), KeyDesk::asking_for_keys(rendezvous.port)),
        None => {
            let key = JobKey::generate()?;
            let desk = KeyDesk::handing_out(rendezvous.port, &key)?;
            (key, Some(desk))
        }
    };
    let setup = || -> io::Result<(Poll, TcpListener, Worker, Commands)> {
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        if let Some(desk) = &mut desk {
            poll.registry().register(&mut desk.listener, DESK, Interest::READABLE)?;
        }
        let (worker, commands) = Commands::new(&poll)?;
        Ok((poll, listener, worker, commands))
    };
    let failed =
        |error| Error::system(error, "cannot set up the rendezvous", "raise the limit of open files");
    let (poll, listener, mut worker, commands) = setup().map_err(failed)?;
    let (now, patience) = (Instant::now(), clock.left(limit));
    let server = Server {
        poll,
        listener: Some(listener),
        desk,
        accepts_more: true,
        serves_more: true,
        connections: HashMap::new(),
        unauthenticated: BTreeSet::new(),
        ungreeted: BTreeSet::new(),
        unread: Vec::new(),
        turned_away: 0,
        token_of: vec![None; job.size],
        next_token: DESK.0 + 1,
        coordinator: Coordinator::new(job, JobSecret::generate()?, config, now, patience),
        inbox: Arc::clone(inbox),
        commands,
        config: config.clone(),
        psk: pre_shared_key(&key),
        clock: Clock::new(config, now),
        ending: None,
    };
    let thread = std::thread::Builder::new().name("efa-control-0".into()).spawn(|| server.run());
    worker.thread = Some(thread.map_err(failed)?);
    Ok((worker, deadline_after(now, patience)))
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy)]
enum Party {
    /// Not known yet, and must say so before the time comes.
    Unauthenticated {
        until: Instant,
    },
    Member(usize),
    /// Told to go: closed when it has read why, or when the time comes.
    Leaving {
        until: Instant,
    },
}

struct Connection {
    secure: SecureConnection,
    party: Party,
    from: SocketAddr,
}

/// How rank 0 ends.
#[derive(Clone, Copy)]
enum Ending {
    /// It has left and serves the others until they have left too, or until the time comes; it has ended by `limit`.
    Lingering { until: Instant, limit: Instant },
    /// It sends what is queued and ends.
    Draining { until: Instant },
}

struct Server {
    poll: Poll,
    /// Closed when the job ends, so that the next job's ranks don't knock here.
    listener: Option<TcpListener>,
    /// Open as long as the listener is.
    desk: Option<KeyDesk>,
    /// Whether somebody may wait at the listener, and at the desk.
    accepts_more: bool,
    serves_more: bool,
    connections: HashMap<usize, Connection>,
    /// Of the connections, those that have not proved to hold the key, and those that have and did not greet yet. Lower
    /// numbers are older.
    unauthenticated: BTreeSet<usize>,
    ungreeted: BTreeSet<usize>,
    /// Connections whose turn ended before all that has come was read.
    unread: Vec<usize>,
    /// How many unauthenticated peers made room for others since that was last logged.
    turned_away: usize,
    /// The connection of each rank.
    token_of: Vec<Option<usize>>,
    next_token: usize,
    coordinator: Coordinator,
    inbox: Arc<Inbox>,
    commands: Commands,
    config: ControlConfig,
    psk: Zeroizing<[u8; 32]>,
    clock: Clock,
    ending: Option<Ending>,
}

impl Server {
    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        while !self.has_ended() {
            let busy = self.accepts_more || self.serves_more || !self.unread.is_empty();
            let timeout = match busy {
                true => Duration::ZERO,
                false => self.clock.sleep(Instant::now(), self.next_deadline()),
            };
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("the rendezvous ends because the system cannot wait for connections: {error}");
                return;
            }
            let held_up = self.coordinator.look(Instant::now());
            self.forgive(held_up);
            for event in &events {
                match event.token() {
                    WAKER => {}
                    LISTENER => self.accepts_more = true,
                    DESK => self.serves_more = true,
                    Token(token) => self.unread.push(token),
                }
            }
            for token in std::mem::take(&mut self.unread) {
                self.serve(token);
            }
            self.accept();
            self.hand_out_keys();
            self.take_commands();
            let now = Instant::now();
            if self.clock.is_tick(now)
                || self.coordinator.next_deadline().is_some_and(|deadline| now >= deadline)
            {
                self.coordinator.tick(now);
                self.deliver();
                self.drop_overdue(now);
                // A connection that could not be accepted for want of descriptors is not announced again.
                (self.accepts_more, self.serves_more) = (true, true);
                self.log_turned_away();
            }
            if self.clock.is_heartbeat(now) {
                self.send_heartbeats();
            }
            self.advance_ending(now);
        }
    }

    /// Lets a time for which this process did not run count against nobody.
    fn forgive(&mut self, held_up: Duration) {
        if held_up.is_zero() {
            return;
        }
        for connection in self.connections.values_mut() {
            if let Party::Unauthenticated { until } | Party::Leaving { until } = &mut connection.party {
                *until = deadline_after(*until, held_up);
            }
        }
    }

    /// Reads from a connection for one turn, and writes what could not be written before.
    fn serve(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let budget = match connection.party {
            Party::Member(_) | Party::Leaving { .. } => MEMBER_BYTES_PER_TURN,
            Party::Unauthenticated { .. } if connection.secure.is_established() => GREETING_BYTES_PER_TURN,
            Party::Unauthenticated { .. } => STRANGER_BYTES_PER_TURN,
        };
        let mut messages = Vec::new();
        let received = connection.secure.receive(&mut messages, budget);
        if received.as_ref().is_ok_and(|&more| more) {
            self.unread.push(token);
        }
        if connection.secure.is_established() && self.unauthenticated.remove(&token) {
            self.ungreeted.insert(token);
        }
        let mut outcome = received.map(drop);
        for message in messages {
            self.handle(token, &message);
        }
        if let Some(connection) = self.connections.get_mut(&token) {
            if let Party::Member(rank) = connection.party {
                self.coordinator.heard(rank, Instant::now());
            }
            outcome = outcome.and_then(|()| connection.secure.flush());
        }
        if let Err(error) = outcome {
            self.lost(token, &error);
        }
        self.deliver();
    }

    /// Handles a whole message.
    fn handle(&mut self, token: usize, bytes: &[u8]) {
        let now = Instant::now();
        let Some(connection) = self.connections.get_mut(&token) else { return };
        match (connection.party, Message::decode(bytes)) {
            (Party::Leaving { .. }, _) => {}
            (Party::Member(rank), Ok(message)) => {
                self.coordinator.message(rank, message, now);
                self.deliver();
            }
            (Party::Member(rank), Err(_)) => {
                self.coordinator.lost(rank, ConnectionError::Nonsense.to_string());
                self.coordinator.outputs.push(Output::Disconnect(rank));
                self.deliver();
            }
            (Party::Unauthenticated { .. }, Ok(Message::Greeting(greeting))) => {
                self.ungreeted.remove(&token);
                let to =
                    connection.secure.stream.local_addr().map_or(greeting.address, |address| address.ip());
                match self.coordinator.greet(&greeting, connection.from, to, now) {
                    Ok(rank) => {
                        connection.secure.trust();
                        connection.party = Party::Member(rank);
                        self.token_of[rank] = Some(token);
                    }
                    Err(answer) => {
                        match &*answer {
                            Message::Refused(fault) => {
                                log::warn!(
                                    "rendezvous: {} was refused: {}",
                                    connection.from,
                                    fault.explanation().why
                                );
                            }
                            _ => log::info!("rendezvous: {} came for another job", connection.from),
                        }
                        connection.secure.send(Arc::new(answer.encode()));
                        connection.party = Party::Leaving { until: now + FAREWELL };
                    }
                }
                self.deliver();
            }
            (Party::Unauthenticated { .. }, _) => {
                log::warn!("rendezvous: {} holds the job key but did not greet", connection.from);
                self.remove(token);
            }
        }
    }

    /// Handles the end of a connection.
    fn lost(&mut self, token: usize, error: &ConnectionError) {
        let Some(connection) = self.remove(token) else { return };
        match connection.party {
            Party::Leaving { .. } => {}
            Party::Unauthenticated { .. } => {
                log::info!("rendezvous: sent {} away: {error}", connection.from);
                if matches!(error, ConnectionError::WrongKey) {
                    self.coordinator.wrong_key = Some(connection.from);
                }
            }
            Party::Member(rank) => {
                self.token_of[rank] = None;
                self.coordinator.lost(
                    rank,
                    match error {
                        ConnectionError::Closed => {
                            "its control connection was closed without a goodbye".to_owned()
                        }
                        other => other.to_string(),
                    },
                );
            }
        }
    }

    fn remove(&mut self, token: usize) -> Option<Connection> {
        self.unauthenticated.remove(&token);
        self.ungreeted.remove(&token);
        self.connections.remove(&token)
    }

    /// Does what the coordinator wants done, until it wants nothing more.
    fn deliver(&mut self) {
        while !self.coordinator.outputs.is_empty() {
            for output in std::mem::take(&mut self.coordinator.outputs) {
                match output {
                    Output::Send(0, message) => self.deliver_here(message),
                    Output::Send(rank, message) => self.send(rank, &Arc::new(message.encode())),
                    Output::SendAll(message) => {
                        let bytes = Arc::new(message.encode());
                        for rank in 1..self.token_of.len() {
                            self.send(rank, &bytes);
                        }
                        self.deliver_here(message);
                    }
                    Output::Disconnect(rank) => self.disconnect(rank),
                }
            }
        }
    }

    fn deliver_here(&self, message: Message) {
        if !self.inbox.handle(message) {
            log::error!("rank 0 sent itself a message that it cannot take");
        }
    }

    /// Sends to a rank, if it is connected.
    fn send(&mut self, rank: usize, bytes: &Arc<Vec<u8>>) {
        let Some(token) = self.token_of[rank] else { return };
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.secure.send(Arc::clone(bytes));
        if let Err(error) = connection.secure.flush() {
            self.lost(token, &error);
        }
    }

    /// Closes a member's connection after what is still to be sent to it.
    fn disconnect(&mut self, rank: usize) {
        let Some(token) = self.token_of.get_mut(rank).and_then(Option::take) else { return };
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.party = Party::Leaving { until: Instant::now() + FAREWELL };
        }
    }

    fn send_heartbeats(&mut self) {
        let heartbeat = Arc::new(Message::Heartbeat.encode());
        for rank in 1..self.token_of.len() {
            // Whoever does not read has enough to read.
            let idle =
                |token| self.connections.get(&token).is_some_and(|connection| connection.secure.is_flushed());
            if self.token_of[rank].is_some_and(idle) {
                self.send(rank, &heartbeat);
            }
        }
        self.deliver();
    }

    /// Closes connections whose time is up: unauthenticated peers that did not say who they are, and those told to go.
    fn drop_overdue(&mut self, now: Instant) {
        let overdue = |connection: &Connection| match connection.party {
            Party::Member(_) => false,
            Party::Leaving { until } | Party::Unauthenticated { until } => now >= until,
        };
        let tokens: Vec<usize> =
            self.connections.iter().filter(|(_, c)| overdue(c)).map(|(&token, _)| token).collect();
        for token in tokens {
            if let Some(Connection { party: Party::Unauthenticated { .. }, from, .. }) = self.remove(token) {
                log::info!("rendezvous: {from} did not say who it is in time");
            }
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
