//! What has come from rank 0 and who waits for it: the meeting point of callers and the background thread.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fault::{called_off, seconds};
use super::gather::deadline_after;
use super::liveness::Liveness;
use super::message::{Health, Message};
use super::secret::JobSecret;
use crate::{Error, Peer, Result};

/// How long to wait at a stretch, and how much longer than that it takes if the process was stopped.
const NAP: Duration = Duration::from_millis(500);
const STOPPED: Duration = Duration::from_secs(1);

/// An operation that somebody waits for.
#[derive(Default)]
struct Pending {
    parts: Vec<Vec<u8>>,
    outcome: Option<Result<(), Error>>,
}

/// What a member knows once all have arrived.
#[derive(Clone)]
pub(super) struct Meeting {
    pub(super) peers: Vec<Peer>,
    pub(super) secret: JobSecret,
}

#[derive(Default)]
struct State {
    arrival: Option<Result<Meeting, Error>>,
    next_sequence: u64,
    pending: HashMap<u64, Pending>,
    /// Why no operation can succeed any more.
    ended: Option<Error>,
}

/// Shared by a [`Control`](super::Control) and its background thread.
pub(super) struct Inbox {
    pub(super) liveness: Arc<Liveness>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Inbox {
    pub(super) fn new(liveness: Arc<Liveness>) -> Self {
        Self { liveness, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes a message from rank 0; false if rank 0 may not send such a one.
    pub(super) fn handle(&self, message: Message) -> bool {
        let mut state = self.state();
        match message {
            Message::Welcome { peers, secret } if peers.len() == self.liveness.size() => {
                self.liveness.set_peers(&peers);
                state.arrival = Some(Ok(Meeting { peers, secret }));
            }
            Message::Refused(fault) => {
                state.arrival.get_or_insert(Err(fault.clone()));
                state.end(&fault);
            }
            Message::Heartbeat => return true,
            Message::Parts { sequence, total, first, parts } => {
                // Whoever waited may have given up meanwhile.
                let Some(entry) = state.pending.get_mut(&sequence) else { return true };
                if entry.parts.len() != first as usize {
                    return false;
                }
                entry.parts.extend(parts);
                if entry.parts.len() >= total as usize {
                    entry.outcome.get_or_insert(Ok(()));
                }
            }
            Message::Failed { sequence, fault } => {
                if let Some(entry) = state.pending.get_mut(&sequence) {
                    entry.outcome.get_or_insert(Err(fault));
                }
            }
            Message::Status { rank, health: Health::Dead { reason } } => {
                self.liveness.set_lost(rank as usize, &reason);
            }
            Message::Status { rank, health } => self.liveness.set(rank as usize, &health),
            Message::Departed { ranks } => {
                ranks.iter().for_each(|&rank| self.liveness.set(rank as usize, &Health::Left));
            }
            Message::Abort { rank, lost, reason } => {
                drop(state);
                self.abort(rank as usize, lost.map(|lost| lost as usize), &reason);
                return true;
            }
            _ => return false,
        }
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Notes that `rank` called the job off: everything that waits, and everything later, fails with its name, or with
    /// that of the rank `lost` that it gave up because of.
    pub(super) fn abort(&self, rank: usize, lost: Option<usize>, reason: &str) {
        self.liveness.set_aborted(rank, lost, reason);
        if let Some(cause) = self.liveness.called_off() {
            self.end(called_off(cause));
        }
    }

    /// Notes that nothing more will come; the first reason given counts.
    pub(super) fn end(&self, fault: Error) {
        let mut state = self.state();
        state.arrival.get_or_insert(Err(fault.clone()));
        state.end(&fault);
        drop(state);
        self.changed.notify_all();
    }

    /// Returns `true` if the members have met.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.state().arrival, Some(Ok(_)))
    }

    /// Returns `true` if the members can't meet any more.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state().arrival, Some(Err(_)))
    }

    /// Waits until all members have arrived.
    pub(super) fn wait_for_arrival(&self, until: Instant) -> Option<Result<Meeting, Error>> {
        self.wait_until(until, |state| state.arrival.clone())
    }

    /// Starts an operation: its number, under which [`wait`](Self::wait) finds its outcome.
    pub(super) fn begin(&self) -> Result<u64> {
        let mut state = self.state();
        if let Some(fault) = &state.ended {
            return Err(fault.clone());
        }
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        state.pending.insert(sequence, Pending::default());
        Ok(sequence)
    }

    /// Waits for the outcome of an operation.
    ///
    /// Rank 0 enforces the deadline, since it knows who is missing; `until` is later and only for the case that
    /// rank 0 doesn't answer at all.
    pub(super) fn wait(
        &self,
        sequence: u64,
        name: &str,
        begun: Instant,
        until: Instant,
    ) -> Result<Vec<Vec<u8>>> {
        let outcome = self.wait_until(until, |state| {
            state
                .pending
                .get_mut(&sequence)
                .and_then(|entry| entry.outcome.take().map(|done| (done, std::mem::take(&mut entry.parts))))
        });
        self.state().pending.remove(&sequence);
        match outcome {
            Some((Ok(()), parts)) => Ok(parts),
            Some((Err(fault), _)) => Err(fault),
            None => {
                let waited = begun.elapsed();
                Err(Error::timeout(
                    waited,
                    format!("{name} timed out after {}", seconds(waited)),
                    "rank 0, which leads it, does not answer",
                    "see what rank 0 is doing, or allow more time",
                ))
            }
        }
    }

    /// Waits until `ready` gives something, or until the time comes. Time for which this process was stopped is left out.
    fn wait_until<T>(&self, mut until: Instant, mut ready: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.state();
        loop {
            if let Some(value) = ready(&mut state) {
                return Some(value);
            }
            let before = Instant::now();
            let nap = until.saturating_duration_since(before).min(NAP);
            if nap == Duration::ZERO {
                return None;
            }
            state = self.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner).0;
            let held_up = before.elapsed().saturating_sub(nap);
            if held_up > STOPPED {
                until = deadline_after(until, held_up);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, fault: &Error) {
        self.ended.get_or_insert_with(|| fault.clone());
        for entry in self.pending.values_mut() {
            entry.outcome.get_or_insert(Err(fault.clone()));
        }
    }
}
