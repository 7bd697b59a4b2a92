//! Who of the job is still there: a small table that the control connection fills and endpoints look at.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::message::Health;
use crate::Peer;

/// How a member of the job fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing is known against it.
    Alive,
    /// It said goodbye and is gone in good order.
    Left,
    /// Its connection is open, but nothing has come for a while: it is stopped, or the network is broken.
    Silent {
        /// For how long.
        quiet: Duration,
    },
    /// It is gone without a goodbye.
    Dead {
        /// How that is known.
        reason: String,
    },
}

impl Status {
    /// Returns `true` if nothing can come from it any more.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Left | Self::Dead { .. })
    }
}

/// Why the whole job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalledOff {
    /// A member called it off.
    Aborted {
        /// The rank that did.
        by: Peer,
        /// What it said.
        reason: String,
    },
    /// A member is gone without having left: it was killed, it ended on an error, or it can't be reached any more.
    Lost {
        /// The rank that is gone.
        peer: Peer,
        /// How that is known.
        reason: String,
    },
}

impl CalledOff {
    /// Returns the member that the job ends because of.
    pub fn peer(&self) -> &Peer {
        match self {
            Self::Aborted { by: peer, .. } | Self::Lost { peer, .. } => peer,
        }
    }

    /// Returns `true` if the end of this rank is at most a consequence.
    #[doc(hidden)]
    pub fn is_not_about(&self, rank: usize) -> bool {
        match self {
            Self::Aborted { .. } => true,
            Self::Lost { peer, .. } => peer.rank != rank,
        }
    }
}

impl fmt::Display for CalledOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted { by, reason } => write!(f, "{by} called the job off: {reason}"),
            Self::Lost { peer, reason } => write!(f, "{peer} is lost: {reason}"),
        }
    }
}

/// The table of who is still there, shared by the control connection and the endpoints of a process.
///
/// Looking for news costs one relaxed load: compare [`epoch`](Self::epoch) with the value seen before.
#[derive(Debug)]
pub struct Liveness {
    epoch: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    peers: Vec<Peer>,
    states: Vec<State>,
    first_dead: Option<usize>,
    called_off: Option<CalledOff>,
}

impl Table {
    fn peer(&self, rank: usize) -> Peer {
        let nameless = Peer { rank, host: String::new(), address: String::new() };
        self.peers.get(rank).cloned().unwrap_or(nameless)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Alive,
    Left,
    Silent { since: Instant },
    Dead { reason: String },
}

impl Liveness {
    /// Makes a table of `size` members, all alive, that nothing but [`mark_dead`](Self::mark_dead) changes: for a job of
    /// one, and for tests.
    pub fn alone(size: usize) -> Self {
        let nameless = |rank| Peer { rank, host: String::new(), address: String::new() };
        Self::new((0..size).map(nameless).collect())
    }

    /// Makes a table of these members, all alive.
    pub(super) fn new(peers: Vec<Peer>) -> Self {
        let states = peers.iter().map(|_| State::Alive).collect();
        let table = Table { peers, states, first_dead: None, called_off: None };
        Self { epoch: AtomicU64::new(0), table: Mutex::new(table) }
    }

    /// Returns a number that changes whenever anything else here does.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Returns how many members the job has.
    pub fn size(&self) -> usize {
        self.table().peers.len()
    }

    /// Returns how `rank` fares. A rank outside the job is dead, and the reason says so.
    pub fn status(&self, rank: usize) -> Status {
        match self.table().states.get(rank) {
            Some(State::Alive) => Status::Alive,
            Some(State::Left) => Status::Left,
            Some(State::Silent { since }) => Status::Silent { quiet: since.elapsed() },
            Some(State::Dead { reason }) => Status::Dead { reason: reason.clone() },
            None => Status::Dead { reason: format!("the job has no rank {rank}") },
        }
    }

    /// Returns the member that was the first to die, and why; the cause of what else went wrong, most likely.
    pub fn first_dead(&self) -> Option<(Peer, String)> {
        let table = self.table();
        let rank = table.first_dead?;
        match &table.states[rank] {
            State::Dead { reason } => Some((table.peers[rank].clone(), reason.clone())),
            _ => None,
        }
    }

    /// Returns who called the job off, and why; the first one counts. `None` also when the job ends because a member is
    /// lost.
    pub fn aborted(&self) -> Option<(Peer, String)> {
        match &self.table().called_off {
            Some(CalledOff::Aborted { by, reason }) => Some((by.clone(), reason.clone())),
            _ => None,
        }
    }

    /// Returns why the whole job ends, if it does: a member called it off, or is gone without having left. The first
    /// cause counts.
    pub fn called_off(&self) -> Option<CalledOff> {
        self.table().called_off.clone()
    }

    /// Returns `true` if the whole job ends.
    #[doc(hidden)]
    pub fn is_called_off(&self) -> bool {
        self.table().called_off.is_some()
    }

    /// Notes that `rank` is dead as far as this process can tell: its fabric endpoint is unreachable, say. The others
    /// are not told. Does nothing for a rank that is gone already or outside the job.
    pub fn mark_dead(&self, rank: usize, reason: &str) {
        self.set(rank, &Health::Dead { reason: reason.to_owned() });
    }

    /// Notes how `rank` fares. Being gone is final.
    pub(super) fn set(&self, rank: usize, health: &Health) {
        let mut guard = self.table();
        let table = &mut *guard;
        let Some(state) = table.states.get_mut(rank) else { return };
        let next = match health {
            Health::Alive => State::Alive,
            Health::Left => State::Left,
            Health::Silent { quiet } => {
                State::Silent { since: Instant::now().checked_sub(*quiet).unwrap_or_else(Instant::now) }
            }
            Health::Dead { reason } => State::Dead { reason: reason.clone() },
        };
        if matches!(state, State::Left | State::Dead { .. }) || *state == next {
            return;
        }
        if matches!(next, State::Dead { .. }) {
            table.first_dead.get_or_insert(rank);
        }
        *state = next;
        self.changed(guard);
    }

    /// Notes that `rank` called the job off, because it has lost the rank `lost` if there is one.
    pub(super) fn set_aborted(&self, rank: usize, lost: Option<usize>, reason: &str) {
        let mut table = self.table();
        if table.called_off.is_some() {
            return;
        }
        let (by, reason) = (table.peer(rank), reason.to_owned());
        table.called_off = Some(match lost {
            None => CalledOff::Aborted { by, reason },
            Some(lost) => {
                CalledOff::Lost { peer: table.peer(lost), reason: format!("{by} gave up: {reason}") }
            }
        });
        self.changed(table);
    }

    /// Notes that `rank` is gone without having left, which ends the job for all.
    pub(super) fn set_lost(&self, rank: usize, reason: &str) {
        self.set(rank, &Health::Dead { reason: reason.to_owned() });
        let mut table = self.table();
        // Whoever has left in good order is missed by nobody.
        if table.called_off.is_none() && !matches!(table.states.get(rank), Some(State::Left)) {
            table.called_off = Some(CalledOff::Lost { peer: table.peer(rank), reason: reason.to_owned() });
            self.changed(table);
        }
    }

    /// Notes that the connection to rank 0 has ended, which ends the job for whoever is still there: also when rank 0 had
    /// left in good order, since it goes on telling the others who dies until they have left too.
    pub(super) fn set_root_lost(&self, reason: &str) {
        self.set_lost(0, reason);
        let mut table = self.table();
        if table.called_off.is_none() {
            let reason = format!(
                "it had left the job before, but the others learn of deaths only through it: {reason}"
            );
            table.called_off = Some(CalledOff::Lost { peer: table.peer(0), reason });
            self.changed(table);
        }
    }

    /// Learns the members' hosts and addresses. Both lists are as long as the job is large.
    pub(super) fn set_peers(&self, peers: &[Peer]) {
        let mut table = self.table();
        if table.peers.len() == peers.len() {
            table.peers.clone_from_slice(peers);
            self.changed(table);
        }
    }

    /// Bumps the epoch while the table is still locked, so that whoever sees the new number sees the new table.
    fn changed(&self, table: MutexGuard<'_, Table>) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        drop(table);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_new_changes_the_epoch_and_nothing_else_does() {
        let liveness = Liveness::alone(3);
        let mut seen = liveness.epoch();
        let mut changed = |expected: bool, what: &str| {
            let now = liveness.epoch();
            assert_eq!(now != seen, expected, "{what}");
            seen = now;
        };
        changed(false, "nothing");
        liveness.set(1, &Health::Silent { quiet: Duration::from_secs(31) });
        changed(true, "silent");
        liveness.set(1, &Health::Alive);
        changed(true, "alive again");
        liveness.mark_dead(1, "its endpoint is unreachable");
        changed(true, "dead");
        liveness.mark_dead(1, "twice");
        liveness.mark_dead(7, "outside the job");
        changed(false, "dead already, or nobody");
        liveness.set_aborted(2, None, "enough");
        changed(true, "aborted");
        liveness.set_aborted(0, Some(1), "me too");
        changed(false, "aborted already");
    }

    #[test]
    fn the_first_to_die_is_remembered() {
        let liveness = Liveness::alone(3);
        assert_eq!(liveness.first_dead(), None);
        liveness.mark_dead(2, "first");
        liveness.mark_dead(0, "second");
        let (peer, reason) = liveness.first_dead().unwrap();
        assert_eq!((peer.rank, reason.as_str()), (2, "first"));
        assert!(liveness.status(0).is_gone() && !liveness.status(1).is_gone());
    }

    #[test]
    fn whoever_left_is_not_dead_afterwards() {
        let liveness = Liveness::alone(2);
        liveness.set(1, &Health::Left);
        liveness.mark_dead(1, "its connection closed");
        assert_eq!(liveness.status(1), Status::Left);
        assert_eq!(liveness.first_dead(), None);
    }

    #[test]
    fn a_member_that_is_lost_ends_the_job_and_one_that_left_does_not() {
        let liveness = Liveness::alone(3);
        liveness.set(1, &Health::Left);
        liveness.set_lost(1, "its connection closed");
        assert_eq!((liveness.called_off(), liveness.status(1)), (None, Status::Left));
        liveness.mark_dead(0, "only this process says so");
        assert_eq!(liveness.called_off(), None);
        liveness.set_lost(2, "its connection closed");
        let lost = liveness.called_off().unwrap();
        assert_eq!(lost.to_string(), "rank 2 is lost: its connection closed");
        liveness.set_aborted(0, None, "later");
        assert_eq!((liveness.called_off(), liveness.aborted()), (Some(lost), None));
    }

    #[test]
    fn the_connection_to_rank_0_is_needed_also_after_it_has_left() {
        let liveness = Liveness::alone(2);
        liveness.set(0, &Health::Left);
        liveness.set_lost(0, "its connection closed");
        assert_eq!(liveness.called_off(), None);
        liveness.set_root_lost("its connection closed");
        let cause = liveness.called_off().unwrap();
        assert_eq!(cause.peer().rank, 0);
        assert!(cause.to_string().contains("it had left the job"), "{cause}");
        assert_eq!(liveness.status(0), Status::Left);
    }

    #[test]
    fn whoever_gives_up_because_of_another_names_that_one() {
        let liveness = Liveness::alone(3);
        liveness.set_aborted(1, Some(2), "the connection broke");
        let cause = liveness.called_off().unwrap();
        assert_eq!(cause.peer().rank, 2);
        assert_eq!(cause.to_string(), "rank 2 is lost: rank 1 gave up: the connection broke");
    }

    #[test]
    fn silence_is_counted_from_when_it_began() {
        let liveness = Liveness::alone(2);
        liveness.set(1, &Health::Silent { quiet: Duration::from_secs(30) });
        assert!(matches!(liveness.status(1), Status::Silent { quiet } if quiet >= Duration::from_secs(30)));
    }

    #[test]
    fn a_rank_outside_the_job_is_no_panic() {
        assert!(matches!(Liveness::alone(1).status(5), Status::Dead { .. }));
    }
}
