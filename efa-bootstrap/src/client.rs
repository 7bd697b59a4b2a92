//! The background thread of every rank but 0: one connection, to rank 0.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::ControlConfig;
use super::dial::{Dialled, dial};
use super::fault::{called_off, peer_lost, seconds};
use super::gather::deadline_after;
use super::inbox::Inbox;
use super::job::{Job, Rendezvous};
use super::message::{Health, Message};
use super::running::RunningTime;
use super::secure_connection::{ConnectionError, SecureConnection};
use super::worker::{Clock, Command, Commands, Worker};
use crate::{Error, Peer, Result};

/// Connects to rank 0, retrying within `limit`, and starts the background thread; also returns when the time is over.
pub(super) fn start(
    job: &Job,
    rendezvous: &Rendezvous,
    config: &ControlConfig,
    inbox: &Arc<Inbox>,
    limit: Duration,
) -> Result<(Worker, Instant)> {
    let mut clock = RunningTime::start();
    let Dialled { poll, secure, address, early } = dial(job, rendezvous, config, &mut clock, limit)?;
    let patience = clock.left(limit);
    let failed =
        |error| Error::system(error, "cannot set up the control connection", "raise the limit of open files");
    let (mut worker, commands) = Commands::new(&poll).map_err(failed)?;
    let client = Client {
        poll,
        secure,
        commands,
        config: config.clone(),
        inbox: Arc::clone(inbox),
        root: Peer { rank: 0, host: String::new(), address: address.to_string() },
        early,
        clock: Clock::new(config, Instant::now()),
        last_loop: Instant::now(),
        silent: false,
        leaving: None,
    };
    let thread = std::thread::Builder::new().name(format!("efa-control-{}", job.rank)).spawn(|| client.run());
    worker.thread = Some(thread.map_err(failed)?);
    Ok((worker, deadline_after(Instant::now(), patience)))
}

struct Client {
    poll: Poll,
    secure: SecureConnection,
    commands: Commands,
    config: ControlConfig,
    inbox: Arc<Inbox>,
    /// Rank 0 as messages name it before it has told its host.
    root: Peer,
    /// What has come with the answer to the greeting.
    early: Vec<Vec<u8>>,
    clock: Clock,
    last_loop: Instant,
    /// Whether rank 0 is reported silent.
    silent: bool,
    /// Set once goodbye is said: until when to wait for rank 0 to close its end.
    leaving: Option<Instant>,
}

impl Client {
    fn run(mut self) {
        let mut events = Events::with_capacity(8);
        // What has come already is not announced again.
        if let Err(error) = self.exchange() {
            return self.lost(&error);
        }
        loop {
            let timeout = self.clock.sleep(Instant::now(), self.leaving);
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return self.lost(&ConnectionError::Io(error));
            }
            if let Err(error) = self.exchange() {
                return self.lost(&error);
            }
            if self.leaving.is_some_and(|until| Instant::now() >= until) || self.inbox.has_failed() {
                return;
            }
        }
    }

    /// Reads, does what is asked, and writes.
    fn exchange(&mut self) -> Result<(), ConnectionError> {
        let mut messages = std::mem::take(&mut self.early);
        let outcome = self.secure.receive(&mut messages, usize::MAX);
        for message in messages {
            if !Message::decode(&message).is_ok_and(|message| self.inbox.handle(message)) {
                return Err(ConnectionError::Nonsense);
            }
        }
        outcome?;
        self.take_commands();
        let now = Instant::now();
        if self.clock.is_heartbeat(now) && self.secure.is_flushed() && self.leaving.is_none() {
            self.secure.send(Arc::new(Message::Heartbeat.encode()));
        }
        self.secure.flush()?;
        if self.secure.is_flushed() {
            self.commands.answer_flushes();
            if self.leaving.is_some() {
                self.secure.close_sending();
            }
        }
        if self.clock.is_tick(now) && self.inbox.has_begun() {
            self.watch_root(now)?;
        }
        self.last_loop = now;
        Ok(())
    }

    fn take_commands(&mut self) {
        while self.leaving.is_none()
            && let Some(command) = self.commands.next_command()
        {
            match command {
                Command::Send(message) => self.secure.send(Arc::new(message.encode())),
                Command::Stop { goodbye, patience } => {
                    self.secure.send(Arc::new(goodbye.encode()));
                    self.leaving = Some(deadline_after(Instant::now(), patience));
                }
                Command::Flush(_) => {}
            }
        }
    }

    /// Notices when rank 0 says nothing although the connection is open.
    fn watch_root(&mut self, now: Instant) -> Result<(), ConnectionError> {
        // If this process was itself held up, rank 0 is not to blame for what could not be read meanwhile.
        let held_up = now.duration_since(self.last_loop).saturating_sub(self.config.heartbeat_period);
        self.secure.last_heard += held_up.min(now.saturating_duration_since(self.secure.last_heard));
        let quiet = now.saturating_duration_since(self.secure.last_heard);
        let silent = quiet > self.config.silent_after;
        if quiet > self.config.dead_after {
            let reason = format!("nothing was heard from it for {}", seconds(quiet));
            return Err(ConnectionError::Io(io::Error::new(io::ErrorKind::TimedOut, reason)));
        }
        if silent != self.silent {
            self.silent = silent;
            self.inbox.liveness.set(0, &if silent { Health::Silent { quiet } } else { Health::Alive });
        }
        Ok(())
    }

    /// Ends with the connection: says why to everyone who waits.
    fn lost(self, error: &ConnectionError) {
        if self.leaving.is_some() {
            return;
        }
        let root = &self.root;
        if !self.inbox.has_begun() {
            return self.inbox.end(peer_lost(
                root.clone(),
                format!("{root} went away before all members of the job had arrived"),
                error.to_string(),
            ));
        }
        let reason = match error {
            ConnectionError::Closed => "its control connection was closed without a goodbye".to_owned(),
            other => other.to_string(),
        };
        // Nobody else could tell who dies from now on, so that the job ends here, for every rank.
        self.inbox.liveness.set_root_lost(&reason);
        if let Some(cause) = self.inbox.liveness.called_off() {
            self.inbox.end(called_off(cause));
        }
    }
}
