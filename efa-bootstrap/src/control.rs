//! The control connection of one member: small collective operations, and the news of who is still there.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::frame::MAX_PAYLOAD;
use super::gather::{MAX_LABEL, deadline_after, fits};
use super::inbox::Inbox;
use super::job::Job;
use super::liveness::Liveness;
use super::message::{Gathering, Message};
use super::ranks::{group_by_value, list_groups};
use super::secret::JobSecret;
use super::worker::{Command, Worker};
use super::{client, server};
use crate::{Error, Peer, Result};
use efa_error::input;

/// How much later than a deadline a member gives up by itself: rank 0 enforces deadlines, because it can name who is
/// missing, and its word needs a moment to arrive.
const GRACE: Duration = Duration::from_secs(2);

/// How long a member that ends without leaving tries to say so.
const DYING_FLUSH: Duration = Duration::from_millis(500);

/// How long [`Control::abort`] waits until its message is on its way.
const ABORT_FLUSH: Duration = Duration::from_secs(1);

/// How long a rank that fails waits for the others to fail in the same way, before it calls the job off.
const AGREEMENT: Duration = Duration::from_secs(1);

/// How long the other ranks wait for the one that has the error to be gone, and how long its program then has to print.
const SPEAKER_LEAVES: Duration = Duration::from_secs(2);
const SPEAKER_PRINTS: Duration = Duration::from_millis(250);

/// The shortest time after which a member is reported as silent by default.
const SOONEST_SILENT: Duration = Duration::from_millis(500);

/// How a control connection keeps time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// How often a member shows that it is still there. Default 1 s: a rank 0 of thousands can bear it.
    pub heartbeat_period: Duration,
    /// After how long without a sign a member is reported as silent. Nothing ends for that; the errors of operations that
    /// time out name it. Default 4 s: on a busy machine a sign may come late by a second or two.
    pub silent_after: Duration,
    /// After how long without a sign a member is taken for dead. Default 120 s: longer than most network outages that
    /// heal by themselves.
    pub dead_after: Duration,
    /// How long a connection may take to prove that it belongs to the job. Default 10 s.
    pub handshake_limit: Duration,
    /// How long [leaving](Control::leave) may take at most. Default: no limit at rank 0, which goes on serving those who
    /// are still there; the others make sure within 2 s that their goodbye is on its way.
    pub linger: Duration,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            heartbeat_period: Duration::from_secs(1),
            silent_after: Duration::from_secs(4),
            dead_after: Duration::from_secs(120),
            handshake_limit: Duration::from_secs(10),
            linger: Duration::MAX,
        }
    }
}

impl ControlConfig {
    /// Returns the defaults, with what the environment overrides, in seconds: `EFA_HEARTBEAT_PERIOD`, `EFA_SILENT_AFTER` and
    /// `EFA_DEAD_AFTER`.
    ///
    /// Where operations may take less than four times as long as a rank may be silent (`EFA_TIMEOUT`), a rank is reported
    /// silent sooner, so that the error of an operation can name it.
    ///
    /// # Errors
    /// [`Error::Setting`] when a variable makes no sense.
    pub fn from_env() -> Result<Self> {
        let variable = |name, default| input::seconds(name, default, 0.001..=31_536_000.0);
        let default = Self::default();
        let timeout = variable("EFA_TIMEOUT", Duration::MAX)?;
        let silent_after = default.silent_after.min((timeout / 4).max(SOONEST_SILENT));
        let silent_after = variable("EFA_SILENT_AFTER", silent_after)?;
        let config = Self {
            heartbeat_period: variable(
                "EFA_HEARTBEAT_PERIOD",
                default.heartbeat_period.min(silent_after / 4),
            )?,
            dead_after: variable("EFA_DEAD_AFTER", default.dead_after.max(silent_after))?,
            silent_after,
            ..default
        };
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<()> {
        let ordered = self.heartbeat_period < self.silent_after && self.silent_after <= self.dead_after;
        if ordered && self.heartbeat_period >= Duration::from_millis(1) {
            return Ok(());
        }
        Err(Error::setting(
            "the times of the control connection make no sense",
            format!("{self:?} has no order"),
            "set 1 ms <= heartbeat_period < silent_after <= dead_after (EFA_HEARTBEAT_PERIOD, EFA_SILENT_AFTER, EFA_DEAD_AFTER)",
        ))
    }
}

/// One member's connection to the others, by way of rank 0.
///
/// The collective calls ([`exchange`](Self::exchange), [`barrier`](Self::barrier), [`agree`](Self::agree),
/// [`broadcast_from_root`](Self::broadcast_from_root)) must be made in the same order by every rank. All methods may be
/// called from any thread, but two threads of a rank that make collective calls at once have no order between them.
///
/// Dropping it without [`leave`](Self::leave), on an error or a panic, say, tells the others that this member is dead.
pub struct Control {
    rank: usize,
    peers: Vec<Peer>,
    local_address: IpAddr,
    secret: JobSecret,
    inbox: Arc<Inbox>,
    /// None in a job of one.
    worker: Option<Worker>,
    linger: Duration,
}

impl Control {
    /// Connects as [`Job::connect`] says.
    pub(super) fn connect(job: &Job, config: &ControlConfig, deadline: Duration) -> Result<Self> {
        job.validate()?;
        config.validate()?;
        let address = match job.size {
            1 => Ipv4Addr::LOCALHOST.to_string(),
            _ => String::new(),
        };
        let unknown = |rank| Peer { rank, host: String::new(), address: address.clone() };
        let mut peers: Vec<Peer> = (0..job.size).map(unknown).collect();
        peers[job.rank].host.clone_from(&job.host);
        let inbox = Arc::new(Inbox::new(Arc::new(Liveness::new(peers.clone()))));
        let mut control = Self {
            rank: job.rank,
            peers,
            local_address: IpAddr::from(Ipv4Addr::LOCALHOST),
            // That of a job of one; else the members agree on another.
            secret: JobSecret::generate()?,
            inbox,
            worker: None,
            linger: config.linger,
        };
        if job.size > 1 {
            control.meet(job, config, deadline)?;
        }
        Ok(control)
    }

    /// Starts the background thread and waits until everyone has arrived.
    fn meet(&mut self, job: &Job, config: &ControlConfig, deadline: Duration) -> Result<()> {
        let rendezvous = job.rendezvous.as_ref().ok_or_else(|| {
            Error::setting(
                format!("rank {} does not know where to meet the others", job.rank),
                "the job has no rendezvous address",
                "set EFA_RENDEZVOUS to the host of rank 0 and a free port (host:port), the same for all ranks",
            )
        })?;
        let begun = Instant::now();
        let start = if job.rank == 0 { server::start } else { client::start };
        let (worker, until) = start(job, rendezvous, config, &self.inbox, deadline)?;
        self.worker = Some(worker);
        match self.inbox.wait_for_arrival(until + GRACE) {
            Some(Ok(meeting)) => (self.peers, self.secret) = (meeting.peers, meeting.secret),
            Some(Err(fault)) => return Err(fault),
            None => {
                return Err(Error::timeout(
                    begun.elapsed(),
                    format!("rank {} was not told that all members have arrived", job.rank),
                    format!("rank 0 at {rendezvous} does not answer"),
                    "see what rank 0 is doing, and whether EFA_RENDEZVOUS leads to it",
                ));
            }
        }
        if let Ok(address) = self.peers[self.rank].address.parse() {
            self.local_address = address;
        }
        Ok(())
    }

    /// Returns this member's rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Returns how many members the job has.
    pub fn size(&self) -> usize {
        self.peers.len()
    }

    /// Returns the members by rank, with their hosts and IP addresses (without a port).
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Returns the IP address of this host that leads to the others: this member's end of the control connection. It is
    /// a loopback address only if all members meet on the loopback interface, or the job has one member.
    pub fn local_address(&self) -> IpAddr {
        self.local_address
    }

    /// Returns the secret that all ranks of this run share: the same at every rank, and new with every run.
    pub fn secret(&self) -> &JobSecret {
        &self.secret
    }

    /// Returns the table of who is still there. It outlives this object, without news after its end.
    pub fn liveness(&self) -> Arc<Liveness> {
        Arc::clone(&self.inbox.liveness)
    }

    /// Gives every member's bytes to every member: element `r` of the result is what rank `r` gave.
    ///
    /// `label` says in messages what is exchanged, and must be the same on every rank. The shortest deadline of any
    /// rank counts for all, and all get the same error.
    ///
    /// # Errors
    /// - [`Error::Timeout`] naming those from whom nothing came.
    /// - [`Error::PeerLost`]: a member died or left without having contributed.
    /// - [`Error::Rendezvous`]: the ranks make different calls; says which makes which.
    /// - [`Error::Aborted`]: a member called the job off.
    /// - [`Error::Misuse`]: more than [`MAX_PAYLOAD`] bytes, or a label of more than 1,024.
    pub fn exchange(&self, label: &str, mine: &[u8], deadline: Duration) -> Result<Vec<Vec<u8>>> {
        self.gather(Gathering::Exchange, label, mine.to_vec(), deadline)
    }

    /// Waits until every member has come here.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange).
    pub fn barrier(&self, label: &str, deadline: Duration) -> Result<()> {
        self.gather(Gathering::Barrier, label, Vec::new(), deadline).map(drop)
    }

    /// Makes sure that every member has the same value; `label` says of what, in the plural or singular that fits
    /// "the members of the job do not agree on …".
    ///
    /// # Errors
    /// [`Error::Rendezvous`] naming the ranks with each value, the same on every rank; else as
    /// [`exchange`](Self::exchange).
    pub fn agree(&self, label: &str, value: &str, deadline: Duration) -> Result<()> {
        let values = self.exchange(label, value.as_bytes(), deadline)?;
        let groups = group_by_value(
            values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).enumerate(),
        );
        match groups.len() {
            1 => Ok(()),
            _ => Err(Error::rendezvous(
                format!("the members of the job do not agree on {label}"),
                list_groups(&groups, &self.peers, ("uses", "use")),
                "start every rank with the same program, settings and libraries",
            )),
        }
    }

    /// Gives rank 0's bytes to every member. Rank 0 passes `Some`, the others pass `None`.
    ///
    /// # Errors
    /// [`Error::Misuse`] if rank 0 passes nothing or another rank something; else as [`exchange`](Self::exchange).
    pub fn broadcast_from_root(
        &self,
        label: &str,
        data: Option<&[u8]>,
        deadline: Duration,
    ) -> Result<Vec<u8>> {
        if data.is_some() != (self.rank == 0) {
            return Err(Error::misuse(
                format!("rank {} cannot call the broadcast '{label}' this way", self.rank),
                "it is rank 0, and no other, that has something to give",
                "pass Some on rank 0 and None on the others",
            ));
        }
        let parts = self.gather(Gathering::Broadcast, label, data.unwrap_or_default().to_vec(), deadline)?;
        Ok(parts.into_iter().next().unwrap_or_default())
    }

    /// Calls the job off: every member's waiting and later calls fail with this rank's name and `reason`, and
    /// every [`Liveness`] says so. Returns when the message is on its way, after a second at most.
    pub fn abort(&self, reason: &str) {
        self.call_off(None, reason);
    }

    /// Calls the job off because this rank gives up with `error`; does nothing when it is called off already. Where the
    /// error is that another rank is lost, all name that one.
    #[doc(hidden)]
    pub fn give_up(&self, error: &Error) {
        let lost = match error {
            Error::PeerLost { peer, .. } => Some(peer.rank).filter(|&rank| rank != self.rank),
            _ => None,
        };
        self.give_up_with(lost, &error.to_string());
    }

    /// Does as [`give_up`](Self::give_up) with the text of an error that is not at hand any more.
    #[doc(hidden)]
    pub fn give_up_with(&self, lost: Option<usize>, reason: &str) {
        if self.inbox.liveness.called_off().is_none() {
            self.call_off(lost, reason);
        }
    }

    /// Waits a moment for all other ranks to fail as well; true if they do. Each can then tell its own error, where
    /// otherwise the launcher would end it with the first rank that exits.
    #[doc(hidden)]
    pub fn fail_together(&self) -> bool {
        self.gather(Gathering::Failing, "of a rank that failed", Vec::new(), AGREEMENT).is_ok()
    }

    /// Leaves it to another rank to tell why the job ends: returns when that is gone and has had time to print, since many
    /// launchers end a job as soon as one rank has ended; after some seconds at most.
    #[doc(hidden)]
    pub fn let_speak(&self, rank: usize) {
        if rank == self.rank {
            return;
        }
        let until = Instant::now() + SPEAKER_LEAVES;
        while !self.inbox.liveness.status(rank).is_gone() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(SPEAKER_PRINTS);
    }

    fn call_off(&self, lost: Option<usize>, reason: &str) {
        self.inbox.abort(self.rank, lost, reason);
        if let Some(worker) = &self.worker {
            let lost = lost.map(|rank| rank as u32);
            let message = Message::Abort { rank: self.rank as u32, lost, reason: reason.to_owned() };
            let (sender, receiver) = channel();
            if worker.tell(Command::Send(message)) && worker.tell(Command::Flush(sender)) {
                // Whether it got through or not, there is nothing more to do about it.
                let _ = receiver.recv_timeout(ABORT_FLUSH);
            }
        }
    }

    /// Leaves in good order: the others see this member as gone, not as dead.
    ///
    /// At rank 0 this returns when the others have left too, or are dead: until then they learn of one another's end
    /// through it. At the other ranks it returns within moments. [`ControlConfig::linger`] limits the time at any rank.
    /// If rank 0 goes while others are still there, because of that limit or because its process ends, the job is called
    /// off.
    pub fn leave(mut self) {
        let patience = if self.rank == 0 { self.linger } else { GRACE.min(self.linger) };
        self.stop(Message::Leave, patience);
    }

    /// Runs one collective operation.
    fn gather(
        &self,
        gathering: Gathering,
        label: &str,
        data: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<Vec<u8>>> {
        if !fits(label, &data) {
            return Err(Error::misuse(
                format!("cannot take part in the {} '{:.40}'", gathering.name(), label),
                format!("{} bytes, or a label of {} bytes, are too many", data.len(), label.len()),
                format!("give at most {MAX_PAYLOAD} bytes and a label of at most {MAX_LABEL}"),
            ));
        }
        let sequence = self.inbox.begin()?;
        let Some(worker) = &self.worker else {
            // Alone, everything is there at once.
            return Ok(match gathering {
                Gathering::Exchange | Gathering::Broadcast => vec![data],
                Gathering::Barrier | Gathering::Failing => Vec::new(),
            });
        };
        let begun = Instant::now();
        let name = format!("{} '{label}'", gathering.name());
        let patience = deadline;
        let message = Message::Contribute { sequence, gathering, label: label.to_owned(), patience, data };
        worker.tell(Command::Send(message));
        let until = deadline_after(begun, deadline) + GRACE;
        self.inbox.wait(sequence, &name, begun, until)
    }

    /// Says goodbye and ends the background thread.
    fn stop(&mut self, goodbye: Message, patience: Duration) {
        let Some(mut worker) = self.worker.take() else { return };
        worker.tell(Command::Stop { goodbye, patience });
        if let Some(thread) = worker.thread.take()
            && thread.join().is_err()
        {
            log::error!("the control thread of rank {} panicked", self.rank);
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let reason = match std::thread::panicking() {
            true => "it panicked",
            false => "it gave up its control connection without leaving",
        };
        self.stop(Message::Dying { reason: reason.into() }, DYING_FLUSH);
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("rank", &self.rank)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
