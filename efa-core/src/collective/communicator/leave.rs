//! How a rank leaves the job.

use std::sync::PoisonError;
use std::time::Duration;

use super::{Communicator, State};
use crate::bootstrap::Control;
use crate::endpoint::{Endpoint, Progress};
use crate::error::{Error, Result};

impl Communicator {
    /// Waits until all ranks have come here, and leaves the job in good order. As long as all ranks are alive the wait has
    /// no limit, unless [`Init::leave`](crate::Init::leave) sets one: a rank may take its time for a last checkpoint.
    ///
    /// # Errors
    /// [`Error::PeerLost`] naming a rank that has died or has been silent for too long; [`Error::Aborted`] when the job has
    /// been called off, also by this rank because a collective failed or its endpoint has closed itself;
    /// [`Error::Rendezvous`] when the ranks did not call the same collectives, whose results are wrong then;
    /// [`Error::Timeout`] naming the ranks that did not come within the limit, which calls the job off.
    pub fn finish(mut self) -> Result<()> {
        self.leave(Exit::Finished)
    }

    /// Leaves because the program at this rank has failed, with `error`; `lost` is the rank that the error says is lost.
    pub(crate) fn fail(mut self, lost: Option<usize>, error: &str) {
        // The error that the program returns says more.
        let _ = self.leave(Exit::Failed { lost, error });
    }

    /// Leaves in good order, if the job can be left so.
    fn leave(&mut self, exit: Exit<'_>) -> Result<()> {
        let (Some(control), Some(endpoint)) = (self.control.take(), self.endpoint.take()) else {
            return Ok(());
        };
        // A panic in a collective leaves the lock poisoned, and the ranks at different points.
        let state = self.state.get_mut();
        let failed = state.as_ref().map_or(true, |state| state.failed);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        // Those who called something else are at another barrier, and are told so.
        let label = format!("leaving the job after {}", describe_calls(state));
        let closed = endpoint.closed_by_itself();
        let first = endpoint.first_failure().filter(|_| failed || closed.is_some() || exit == Exit::Dropped);
        let mut together = false;
        if std::thread::panicking() {
            control.give_up_with(None, "it panicked; its own output says where and why");
        } else if let Exit::Failed { lost, error } = exit {
            together = control.fail_together();
            if !together {
                control.give_up_with(lost, error);
            }
        } else if let Some(first) = first {
            control.give_up_with(first.lost, &first.text);
        } else if failed || closed.is_some() {
            control.give_up_with(None, closed.as_deref().unwrap_or("a collective failed"));
        } else if exit == Exit::Dropped {
            together = control.fail_together();
            if !together {
                control.give_up_with(None, "it left without finish(); its own output may say why");
            }
        }
        let mut met = Ok(());
        // Nobody waits for anybody in a job that has been called off.
        if !together && !control.liveness().is_called_off() {
            met = part(&control, &endpoint, &label, self.patience);
        }
        let called_off = endpoint.called_off("cannot leave the job in good order");
        drop(endpoint);
        let Some(error) = called_off else {
            match &met {
                Ok(()) => control.leave(),
                Err(error) => control.give_up(error),
            }
            return met;
        };
        if let Error::Aborted { by, .. } = &error {
            control.let_speak(by.rank);
        }
        Err(error)
    }
}

/// Says in words what was called, in which ranks differ that did not call the same. The checksum differs, too, if only a
/// collective before the last was another one.
fn describe_calls(state: &State) -> String {
    let Some(latest) = state.latest else { return "no collective".into() };
    let State { number, history, .. } = state;
    format!("collective number {number}, {latest} (checksum of all calls so far: {history:016x})")
}

/// How a rank leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exit<'a> {
    Finished,
    /// Without a word: on an error, most likely.
    Dropped,
    /// The program failed with this error, because of the rank that is lost if there is one.
    Failed {
        lost: Option<usize>,
        error: &'a str,
    },
}

/// Waits until all ranks have come here, and all messages where it can be told that some are missing. Calls the job off if
/// some are lost.
fn part(control: &Control, endpoint: &Endpoint, label: &str, patience: Duration) -> Result<()> {
    let Some(sent) = endpoint.sent_messages() else { return control.barrier(label, patience) };
    let mine: Vec<u8> = (0u32..)
        .zip(&sent)
        .filter(|&(_, &count)| count > 0)
        .flat_map(|(rank, count)| [&rank.to_le_bytes()[..], &count.to_le_bytes()].concat())
        .collect();
    let all = control.exchange(label, &mine, patience)?;
    let here = endpoint.rank() as u32;
    let sent_here: Vec<u64> = all.iter().map(|wire| count_for(here, wire)).collect();
    let mut progress = Progress::new();
    loop {
        let came = match endpoint.await_messages(&sent_here, &mut progress) {
            Ok(came) => came,
            Err(why) => {
                control.give_up_with(None, &why);
                return Ok(());
            }
        };
        let all = control.exchange("waiting for the last messages", &[u8::from(came)], patience)?;
        let waiting: Vec<usize> = (0..all.len()).filter(|&rank| all[rank] == [0]).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        waiting.into_iter().filter(|&rank| sent[rank] > 0).for_each(|rank| endpoint.send_last(rank));
    }
}

/// The count for a rank in a list of ranks and counts.
fn count_for(rank: u32, wire: &[u8]) -> u64 {
    let (entries, _) = wire.as_chunks::<12>();
    let mut words = entries.iter().map(|entry| {
        let (rank, count) = entry.split_at(4);
        (
            u32::from_le_bytes(rank.try_into().unwrap_or_default()),
            u64::from_le_bytes(count.try_into().unwrap_or_default()),
        )
    });
    words.find(|entry| entry.0 == rank).map_or(0, |entry| entry.1)
}

impl Drop for Communicator {
    fn drop(&mut self) {
        if let Err(error) = self.leave(Exit::Dropped) {
            log::warn!("{error}");
        }
    }
}
