//! How rank 0 ends: takes the commands of its process, serves the others until they have left, and tells latecomers why the
//! job has failed.

use std::time::{Duration, Instant};

use super::{Ending, FAREWELL, Party, Server};
use crate::gather::deadline_after;
use crate::message::Message;
use crate::worker::Command;

/// How long those who come after the job has failed are still told why: longer than they pause between two attempts.
const LATECOMERS: Duration = Duration::from_secs(2);

impl Server {
    pub(super) fn take_commands(&mut self) {
        // Rank 0 gives up as soon as it knows that the job has failed; the others are still to be told.
        while !self.coordinator.has_failed()
            && !matches!(self.ending, Some(Ending::Draining { .. }))
            && let Some(command) = self.commands.next_command()
        {
            let now = Instant::now();
            match command {
                Command::Send(message) => self.coordinator.message(0, message, now),
                Command::Stop { goodbye, patience } => {
                    let limit = deadline_after(now, patience);
                    // The rest is for the goodbye: whoever reads closes its end then.
                    let until = deadline_after(now, patience.saturating_sub(FAREWELL.min(patience / 2)));
                    self.ending = Some(match goodbye {
                        Message::Leave => Ending::Lingering { until, limit },
                        _ => Ending::Draining { until: limit },
                    });
                    self.coordinator.message(0, goodbye, now);
                    (self.listener, self.desk) = (None, None);
                }
                Command::Flush(_) => {}
            }
            self.deliver();
            if matches!(self.ending, Some(Ending::Lingering { .. })) {
                break;
            }
        }
        if self.commands.has_flushes() && self.is_flushed() {
            self.commands.answer_flushes();
        }
    }

    /// Returns `true` if everything has been handed to the system.
    fn is_flushed(&self) -> bool {
        self.connections.values().all(|connection| connection.secure.is_flushed())
    }

    /// Moves on to the end of the thread when it is time.
    pub(super) fn advance_ending(&mut self, now: Instant) {
        match self.ending {
            // The listener stays for those who come a moment later, so that they hear the same reason.
            None if self.coordinator.has_failed() => {
                self.ending = Some(Ending::Draining { until: now + LATECOMERS })
            }
            Some(Ending::Lingering { until, limit }) if self.coordinator.is_deserted() || now >= until => {
                self.ending = Some(Ending::Draining { until: limit.min(now + FAREWELL) });
            }
            _ => {}
        }
        if let Some(Ending::Draining { until }) = self.ending {
            if !self.coordinator.has_failed() {
                self.connections
                    .retain(|_, connection| !matches!(connection.party, Party::Unauthenticated { .. }));
            }
            for connection in self.connections.values_mut() {
                if matches!(connection.party, Party::Member(_)) {
                    connection.party = Party::Leaving { until };
                }
            }
        }
        // Whoever is to go learns that no more comes, reads what there is and closes its end, which ends the connection.
        for connection in self.connections.values_mut() {
            if matches!(connection.party, Party::Leaving { .. }) && connection.secure.is_flushed() {
                connection.secure.close_sending();
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let ending = self.ending.map(|(Ending::Lingering { until, .. } | Ending::Draining { until })| until);
        self.coordinator.next_deadline().into_iter().chain(ending).min()
    }

    pub(super) fn has_ended(&self) -> bool {
        match self.ending {
            Some(Ending::Draining { until }) => {
                let all_told = self.connections.is_empty()
                    && (!self.coordinator.has_failed() || self.coordinator.all_came());
                all_told || Instant::now() >= until
            }
            _ => false,
        }
    }
}
