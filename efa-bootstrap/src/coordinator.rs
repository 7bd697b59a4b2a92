//! What rank 0 decides, apart from input and output: who may join, what an operation's outcome is, who is dead.
//!
//! Messages and the time go in; what is to be sent and whom to disconnect comes out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::ControlConfig;
use super::fault::{peer_lost, seconds};
use super::gather::{Gather, deadline_after};
use super::job::Job;
use super::message::{Greeting, Health, Message, PROTOCOL_VERSION};
use super::ranks::name_ranks;
use super::secret::JobSecret;
use crate::{Error, Peer};

/// Something for the connections to do.
#[derive(Debug, PartialEq)]
pub(super) enum Output {
    /// Send a message to one rank; rank 0 is this process itself.
    Send(usize, Message),
    /// Send it to everyone who is there, rank 0 too.
    SendAll(Message),
    /// Nothing more comes from this rank: close its connection once everything is sent.
    Disconnect(usize),
}

/// How far the job has come.
enum Phase {
    Arriving {
        begun: Instant,
        deadline: Instant,
    },
    Running,
    /// Somebody is missing or doesn't fit, for this reason: the job never began.
    Failed(Error),
}

/// What is known of a member.
struct Member {
    arrived: bool,
    gone: Option<Health>,
    silent: bool,
    last_heard: Instant,
    /// Its end of its control connection.
    address: IpAddr,
    /// Where its connection comes from, for messages.
    from: String,
}

/// Rank 0's view of the job.
pub(super) struct Coordinator {
    job_id: String,
    /// Handed to every member once all have arrived.
    secret: JobSecret,
    config: ControlConfig,
    phase: Phase,
    members: Vec<Member>,
    peers: Vec<Peer>,
    arrived: usize,
    gathers: BTreeMap<u64, Gather>,
    /// Where rank 0 is reached; a loopback address until a connection from elsewhere shows a better one.
    own_address: Option<IpAddr>,
    last_look: Instant,
    /// Who has left since it was last announced. A thousand ranks leave at about the same time, and telling each at once
    /// of each other would take a million messages.
    departed: Vec<u32>,
    /// The last connection that could not be accepted, and why; it may be the missing rank's.
    pub(super) accept_error: Option<String>,
    /// The last connection whose owner holds another key, and the last process of another user that asked for ours; either
    /// may be the missing rank's.
    pub(super) wrong_key: Option<SocketAddr>,
    pub(super) other_user: Option<String>,
    pub(super) outputs: Vec<Output>,
}

impl Coordinator {
    /// Makes the coordinator of a job in which only rank 0 has arrived.
    pub(super) fn new(
        job: &Job,
        secret: JobSecret,
        config: &ControlConfig,
        now: Instant,
        deadline: Duration,
    ) -> Self {
        let nobody = |_| Member {
            arrived: false,
            gone: None,
            silent: false,
            last_heard: now,
            address: IpAddr::from(Ipv4Addr::LOCALHOST),
            from: String::new(),
        };
        let mut members: Vec<Member> = (0..job.size).map(nobody).collect();
        members[0].arrived = true;
        members[0].from = "this rank 0 itself".into();
        let mut peers: Vec<Peer> =
            (0..job.size).map(|rank| Peer { rank, host: String::new(), address: String::new() }).collect();
        peers[0].host.clone_from(&job.host);
        Self {
            job_id: job.id.clone(),
            secret,
            config: config.clone(),
            phase: Phase::Arriving { begun: now, deadline: deadline_after(now, deadline) },
            members,
            peers,
            arrived: 1,
            gathers: BTreeMap::new(),
            own_address: None,
            last_look: now,
            departed: Vec::new(),
            accept_error: None,
            wrong_key: None,
            other_user: None,
            outputs: Vec::new(),
        }
    }

    /// Takes the greeting of a member that proved to hold the key and came `from` there to our address `to`.
    ///
    /// Returns its rank, or what to answer. Whoever holds the key and doesn't fit while members arrive means that the job
    /// was started wrongly, so nobody is made to wait for the deadline; a stray member of another job is merely sent away.
    /// Whoever comes later most likely belongs to the next program that the same launcher runs: it is to come again.
    pub(super) fn greet(
        &mut self,
        greeting: &Greeting,
        from: SocketAddr,
        to: IpAddr,
        now: Instant,
    ) -> Result<usize, Box<Message>> {
        if greeting.protocol == PROTOCOL_VERSION && self.is_of_another_job(greeting) {
            return Err(Box::new(Message::Refused(Error::rendezvous(
                format!("rank {} cannot join the job '{}'", greeting.rank, self.job_id),
                format!("it belongs to the job '{}'", greeting.job_id),
                "give each job a rendezvous of its own with EFA_RENDEZVOUS",
            ))));
        }
        let mismatch = self.mismatch(greeting, from);
        match (&self.phase, mismatch) {
            (Phase::Failed(fault), _) if self.has_arrived(greeting) => {
                return Err(Box::new(Message::Later { fault: Some(fault.clone()) }));
            }
            (Phase::Failed(fault), _) => {
                self.arrived += 1;
                return Err(Box::new(Message::Refused(fault.clone())));
            }
            (Phase::Running, Some(fault)) if greeting.protocol == PROTOCOL_VERSION => {
                let has_ended = self.has_arrived(greeting) && !self.is_present(greeting.rank as usize);
                return Err(Box::new(Message::Later { fault: Some(fault).filter(|_| !has_ended) }));
            }
            (Phase::Arriving { .. }, Some(fault)) => {
                self.arrived += 1;
                self.fail_arrival(fault.clone());
                return Err(Box::new(Message::Refused(fault)));
            }
            (Phase::Running, Some(fault)) => return Err(Box::new(Message::Refused(fault))),
            (_, None) => {}
        }
        let rank = greeting.rank as usize;
        if let Phase::Arriving { deadline, .. } = &mut self.phase {
            *deadline = (*deadline).min(deadline_after(now, greeting.patience));
        }
        let member = &mut self.members[rank];
        member.arrived = true;
        member.last_heard = now;
        member.address = greeting.address.to_canonical();
        member.from = from.to_string();
        self.peers[rank].host.clone_from(&greeting.host);
        if self.own_address.is_none_or(|known| known.is_loopback()) {
            self.own_address = Some(to.to_canonical());
        }
        self.outputs.push(Output::Send(rank, Message::Admitted));
        self.arrived += 1;
        if self.arrived == self.members.len() {
            self.begin();
        }
        Ok(rank)
    }

    fn is_of_another_job(&self, greeting: &Greeting) -> bool {
        !greeting.job_id.is_empty() && !self.job_id.is_empty() && greeting.job_id != self.job_id
    }

    /// Returns `true` if the rank that this greeting is from has come before: a rank of a job greets once.
    fn has_arrived(&self, greeting: &Greeting) -> bool {
        let rank = usize::try_from(greeting.rank).ok().filter(|_| greeting.protocol == PROTOCOL_VERSION);
        rank.and_then(|rank| self.members.get(rank)).is_some_and(|member| member.arrived)
    }

    /// Returns why a member can't be part of this job, if so.
    fn mismatch(&self, greeting: &Greeting, from: SocketAddr) -> Option<Error> {
        let size = self.members.len();
        let Greeting { protocol, rank, host, library, .. } = greeting;
        if *protocol != PROTOCOL_VERSION {
            return Some(Error::rendezvous(
                format!("the member at {from} runs another version of this library"),
                format!(
                    "it speaks version {protocol} of the control protocol, rank 0 version {PROTOCOL_VERSION}"
                ),
                "run the same build of the program on every host",
            ));
        }
        if library != env!("CARGO_PKG_VERSION") {
            return Some(Error::rendezvous(
                format!("rank {rank} ({host}, {from}) runs another version of this library"),
                format!("it has version {library}, rank 0 has {}", env!("CARGO_PKG_VERSION")),
                "run the same build of the program on every host",
            ));
        }
        if greeting.size != size as u64 {
            return Some(Error::rendezvous(
                "the members do not agree on the size of the job",
                format!("rank {rank} ({host}, {from}) says {}, rank 0 says {size}", greeting.size),
                "start every rank with the same size",
            ));
        }
        let Some(member) = usize::try_from(*rank).ok().and_then(|rank| self.members.get(rank)) else {
            return Some(Error::rendezvous(
                format!("a member at {from} on {host} says it is rank {rank}"),
                format!("the job has {size} ranks, counted from 0"),
                "start ranks 0 to size - 1, each once",
            ));
        };
        if member.arrived {
            let other = &self.peers[*rank as usize].host;
            return Some(Error::rendezvous(
                format!("two members say they are rank {rank}"),
                format!("one is on {other} ({}), the other on {host} ({from})", member.from),
                "start every rank once, and each job with a rendezvous of its own",
            ));
        }
        None
    }

    /// Tells everyone that everyone is there.
    fn begin(&mut self) {
        let own = self.own_address.unwrap_or(IpAddr::from(Ipv4Addr::LOCALHOST));
        self.members[0].address = own;
        for (peer, member) in self.peers.iter_mut().zip(&self.members) {
            // Whoever came over the loopback interface is on this host, and others reach it where they reach us.
            let address = if member.address.is_loopback() { own } else { member.address };
            peer.address = address.to_string();
        }
        self.phase = Phase::Running;
        let welcome = Message::Welcome { peers: self.peers.clone(), secret: self.secret.clone() };
        self.outputs.push(Output::SendAll(welcome));
    }

    fn fail_arrival(&mut self, fault: Error) {
        self.outputs.push(Output::SendAll(Message::Refused(fault.clone())));
        self.phase = Phase::Failed(fault);
    }

    /// Returns `true` if members are still expected.
    pub(super) fn is_arriving(&self) -> bool {
        matches!(self.phase, Phase::Arriving { .. })
    }

    /// Returns `true` if the job will never begin.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed(_))
    }

    /// Returns `true` if as many have come as the job has members, so that all know how it stands.
    pub(super) fn all_came(&self) -> bool {
        self.arrived >= self.members.len()
    }

    /// Returns `true` if `rank` is there to be sent something.
    pub(super) fn is_present(&self, rank: usize) -> bool {
        self.members[rank].arrived && self.members[rank].gone.is_none()
    }

    /// Returns `true` if all but rank 0 are gone.
    pub(super) fn is_deserted(&self) -> bool {
        (1..self.members.len()).all(|rank| !self.is_present(rank))
    }

    /// Notes that something came from `rank`.
    pub(super) fn heard(&mut self, rank: usize, now: Instant) {
        let member = &mut self.members[rank];
        member.last_heard = now;
        if std::mem::take(&mut member.silent) {
            self.outputs.push(Output::SendAll(Message::Status { rank: rank as u32, health: Health::Alive }));
        }
    }

    /// Takes what a member, possibly rank 0 itself, says.
    pub(super) fn message(&mut self, rank: usize, message: Message, now: Instant) {
        match message {
            Message::Heartbeat => {}
            Message::Contribute { sequence, gathering, label, patience, data } => {
                let deadline = deadline_after(now, patience);
                let size = self.members.len();
                if !self.gathers.contains_key(&sequence) {
                    let mut gather = Gather::new(size, now, deadline);
                    self.lose_the_gone(&mut gather);
                    self.gathers.insert(sequence, gather);
                }
                if let Some(gather) = self.gathers.get_mut(&sequence) {
                    let told = gather.fault.is_some();
                    gather.contribute(rank, gathering, label, data, deadline, &self.peers);
                    self.settle(sequence, told.then_some(rank));
                }
            }
            Message::Abort { lost, reason, .. } => {
                self.gathers.clear();
                // Nobody loses itself, or a rank that the job does not have.
                let lost = lost.filter(|&lost| lost as usize != rank && (lost as usize) < self.members.len());
                self.outputs.push(Output::SendAll(Message::Abort { rank: rank as u32, lost, reason }));
            }
            Message::Leave => self.gone(rank, Health::Left),
            Message::Dying { reason } => self.lost(rank, reason),
            _ => self.lost(rank, "it sent a message that only rank 0 may send".into()),
        }
    }

    /// Notes that the connection to `rank` has ended, or that `rank` says it is about to.
    pub(super) fn lost(&mut self, rank: usize, reason: String) {
        if !self.is_present(rank) {
            return;
        }
        match self.phase {
            Phase::Arriving { .. } => {
                let peer = self.peer_with_source(rank);
                self.members[rank].gone = Some(Health::Dead { reason: reason.clone() });
                let what = format!("{peer} went away before all members of the job had arrived");
                self.fail_arrival(peer_lost(peer, what, reason));
                self.outputs.push(Output::Disconnect(rank));
            }
            Phase::Running => self.gone(rank, Health::Dead { reason }),
            Phase::Failed(_) => self.members[rank].gone = Some(Health::Dead { reason }),
        }
    }

    /// The thread looks up from its sleep, before it reads anything. If this process was itself held up, the others are
    /// not to blame for what could not be read meanwhile, and most likely all were stopped: no deadline counts that time,
    /// which is returned.
    pub(super) fn look(&mut self, now: Instant) -> Duration {
        // The thread sleeps for a heartbeat's period at most, and a busy machine wakes it late.
        let longest = self.config.heartbeat_period.max(Duration::from_secs(1));
        let held_up = now.duration_since(self.last_look).saturating_sub(longest);
        self.last_look = now;
        if held_up.is_zero() {
            return held_up;
        }
        if let Phase::Arriving { deadline, .. } = &mut self.phase {
            *deadline = deadline_after(*deadline, held_up);
        }
        for gather in self.gathers.values_mut() {
            gather.deadline = deadline_after(gather.deadline, held_up);
        }
        for member in &mut self.members {
            member.last_heard += held_up.min(now.saturating_duration_since(member.last_heard));
        }
        held_up
    }

    /// Lets time pass: deadlines expire, and members that say nothing are noticed.
    pub(super) fn tick(&mut self, now: Instant) {
        self.look(now);
        self.expire(now);
        self.announce_departed();
        for rank in 1..self.members.len() {
            if !self.is_present(rank) {
                continue;
            }
            let member = &mut self.members[rank];
            let quiet = now.duration_since(member.last_heard);
            if quiet > self.config.dead_after {
                self.lost(rank, format!("nothing was heard from it for {}", seconds(quiet)));
            } else if quiet > self.config.silent_after && !member.silent {
                member.silent = true;
                let health = Health::Silent { quiet };
                self.outputs.push(Output::SendAll(Message::Status { rank: rank as u32, health }));
            }
        }
    }

    /// Returns the next moment at which [`tick`](Self::tick) has a deadline to enforce.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let arrival = match self.phase {
            Phase::Arriving { deadline, .. } => Some(deadline),
            _ => None,
        };
        let gathers =
            self.gathers.values().filter(|gather| gather.fault.is_none()).map(|gather| gather.deadline);
        gathers.chain(arrival).min()
    }

    fn expire(&mut self, now: Instant) {
        if let Phase::Arriving { begun, deadline } = self.phase
            && now >= deadline
        {
            let missing: Vec<usize> =
                (0..self.members.len()).filter(|&rank| !self.members[rank].arrived).collect();
            let waited = now.duration_since(begun);
            let mut why = format!("{} did not come", name_ranks(&missing, &self.peers));
            if let Some(error) = &self.accept_error {
                why.push_str(&format!(" (rank 0 could not accept a connection: {error})"));
            }
            let mut remedy = "look at that rank's own output; check that its host reaches the rendezvous, or allow more time";
            if let Some(process) = &self.other_user {
                why.push_str(&format!("; {process}, which is not rank 0's, asked to join"));
                remedy = "start all ranks as one user, or give every rank the same EFA_JOB_KEY";
            }
            if let Some(from) = self.wrong_key {
                why.push_str(&format!("; {from} tried to join with a wrong or missing job key"));
                remedy = "give every rank, rank 0 too, the same EFA_JOB_KEY or EFA_JOB_KEY_FILE";
            }
            self.fail_arrival(Error::timeout(
                waited,
                format!(
                    "only {} of {} ranks arrived within {}",
                    self.arrived,
                    self.members.len(),
                    seconds(waited)
                ),
                why,
                remedy,
            ));
        }
        let expired = |gather: &Gather| gather.fault.is_none() && now >= gather.deadline;
        let due: Vec<u64> =
            self.gathers.iter().filter(|(_, g)| expired(g)).map(|(&sequence, _)| sequence).collect();
        for sequence in due {
            if let Some(gather) = self.gathers.get_mut(&sequence) {
                gather.expire(now, &self.peers);
                self.settle(sequence, None);
            }
        }
    }

    /// Hands out the outcome of an operation if it is known: to all who wait, or only to the `latecomer`.
    fn settle(&mut self, sequence: u64, latecomer: Option<usize>) {
        let Some(gather) = self.gathers.get(&sequence) else { return };
        if let Some(fault) = &gather.fault {
            let is_told = |rank: &usize| latecomer.is_none_or(|latecomer| latecomer == *rank);
            let told = gather.to_be_told().into_iter().filter(is_told);
            let failed = |rank| Output::Send(rank, Message::Failed { sequence, fault: fault.clone() });
            self.outputs.extend(told.map(failed));
            // Kept for those who are still to come, so that they hear the same, and for those who hear from a rank that
            // fails what came of it, should that rank die first.
            if gather.tells_all() && gather.missing().iter().all(|&rank| !self.is_present(rank)) {
                self.gathers.remove(&sequence);
            }
        } else if gather.is_complete()
            && let Some(gather) = self.gathers.remove(&sequence)
        {
            self.outputs.extend(gather.into_parts(sequence).into_iter().map(Output::SendAll));
        }
    }

    /// Notes that `rank` is gone and tells everyone; operations that wait for it fail.
    fn gone(&mut self, rank: usize, health: Health) {
        if !self.is_present(rank) {
            return;
        }
        self.members[rank].gone = Some(health.clone());
        if health == Health::Left {
            self.departed.push(rank as u32);
            if rank == 0 {
                self.announce_departed();
            }
        } else {
            self.outputs.push(Output::SendAll(Message::Status { rank: rank as u32, health }));
        }
        self.outputs.push(Output::Disconnect(rank));
        let mut gathers = std::mem::take(&mut self.gathers);
        let mut failed = Vec::new();
        for (&sequence, gather) in &mut gathers {
            let before = gather.fault.is_some();
            self.lose(gather, rank);
            if before != gather.fault.is_some() || gather.take_back_failing(rank) {
                failed.push(sequence);
            }
        }
        self.gathers = gathers;
        for sequence in failed {
            self.settle(sequence, None);
        }
    }

    /// Tells everyone who has left.
    fn announce_departed(&mut self) {
        if !self.departed.is_empty() {
            let ranks = std::mem::take(&mut self.departed);
            self.outputs.push(Output::SendAll(Message::Departed { ranks }));
        }
    }

    /// Fails a new operation if somebody is gone already.
    fn lose_the_gone(&self, gather: &mut Gather) {
        for rank in 0..self.members.len() {
            self.lose(gather, rank);
        }
    }

    fn lose(&self, gather: &mut Gather, rank: usize) {
        match &self.members[rank].gone {
            Some(Health::Dead { reason }) => gather.lose(&self.peers[rank], reason),
            Some(_) => gather.lose(&self.peers[rank], "it has left the job"),
            None => {}
        }
    }

    /// Returns the peer with the address its connection came from, for messages before the job has begun.
    fn peer_with_source(&self, rank: usize) -> Peer {
        Peer { address: self.members[rank].from.clone(), ..self.peers[rank].clone() }
    }
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
