//! Whether all messages have come, when a job ends in which they carry numbers: see `numbers`.

use std::thread;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::engine::Due;
use super::op::Op;
use super::request::{Incoming, Outgoing};
use super::tag::{Space, Tag};

/// The tag of the last message to each rank: whoever gets it has got all that were sent before.
const LAST: u32 = 1;
/// The part of a message that is looked at.
const ROOM: usize = 64;
const NAP: Duration = Duration::from_millis(1);
/// How long a rank waits at a time, before it hears whether the others go on waiting.
const ROUND: Duration = Duration::from_millis(500);
/// How long no message may come, while some are due.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest time between two looks: beyond it, this process was stopped.
const GAP: Duration = Duration::from_secs(1);

/// When the last of the messages has come that are due.
pub(crate) struct Progress {
    messages: u64,
    since: Instant,
    looked: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { messages: 0, since: now, looked: now }
    }

    /// Returns for how long there have been so many messages. Time for which this process was stopped does not count.
    fn quiet(&mut self, messages: u64, now: Instant) -> Duration {
        self.since += now.duration_since(self.looked).saturating_sub(GAP);
        self.looked = now;
        if messages != self.messages {
            (self.messages, self.since) = (messages, now);
        }
        now.saturating_duration_since(self.since)
    }
}

impl Endpoint {
    /// How many messages went to each rank; `None` if messages don't carry numbers here.
    pub(crate) fn sent_messages(&self) -> Option<Vec<u64>> {
        self.shared.lock().sent_messages()
    }

    /// Sends one more message to a rank, which has got all before it when it gets this one. It may be lost as well.
    pub(crate) fn send_last(&self, rank: usize) {
        let last = Outgoing::send(Space::Control, rank, Tag::from(LAST), 1);
        drop(self.submit(Ok(last), vec![0u8]));
    }

    /// Waits for the messages that each rank has sent to this one, and takes those that nobody has received. Returns
    /// `false` if it can't be told within [`ROUND`] whether some are lost.
    ///
    /// # Errors
    /// A sentence that names both ends of a connection, if messages were lost, or none of those that are missing has come
    /// for [`PATIENCE`].
    pub(crate) fn await_messages(&self, sent_here: &[u64], progress: &mut Progress) -> Result<bool, String> {
        let begun = Instant::now();
        let mut anything = None;
        loop {
            let mut core = self.shared.lock();
            while core.poll() {}
            if let Some(why) = &core.closed {
                return Err(why.clone());
            }
            let due = core.look_for(sent_here);
            let quiet = progress.quiet(core.whole_messages(), Instant::now());
            drop(core);
            // Whatever came before the message that has overtaken another is there by now, and this takes it.
            match anything.take_if(|operation: &mut Op<_>| operation.is_done()) {
                Some(operation) => drop(operation),
                None if due == Due::Came || begun.elapsed() > ROUND => {
                    anything.inspect(Op::cancel);
                    return match due {
                        Due::Coming { rank, number } | Due::Overtaken { rank, number }
                            if quiet > PATIENCE =>
                        {
                            Err(self.shared.lock().describe_missing(rank, number, Some(quiet)))
                        }
                        due => Ok(due == Due::Came),
                    };
                }
                None if anything.is_none() => anything = Some(self.receive_anything()),
                None => {
                    let core = self.shared.lock();
                    // A receive of the program may be at work on a message.
                    if let (Due::Overtaken { rank, number }, 1) = (due, core.receives()) {
                        return Err(core.describe_missing(rank, number, None));
                    }
                    drop(core);
                    thread::sleep(NAP);
                }
            }
        }
    }

    /// Receives the beginning of any message whatsoever.
    fn receive_anything(&self) -> Op<Vec<u8>> {
        self.submit(Ok(Incoming::receive_anything(ROOM)), vec![0u8; ROOM])
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Numbered;
    use super::*;
    use crate::EndpointConfig;
    use crate::admission::{self, Policy, SecurityGroups};

    #[test]
    fn sends_that_wait_for_room_count_as_sent() {
        const COUNT: u64 = 100;
        // Too long to be injected, as no message is on a tcp that loses some.
        const LEN: usize = 64;
        let member = crate::this_member(0, Some([127, 0, 0, 1].into())).unwrap();
        let report = admission::evaluate(&[member], &SecurityGroups::none(), &Policy::strict());
        let mut config = EndpointConfig::default().source([127, 0, 0, 1].into());
        config.depth = 2;
        let endpoint = Endpoint::alone(&report.admit().unwrap(), config).unwrap();
        let shared = &endpoint.shared;
        let numbered = Numbered::new(0, vec!["rank 0".into()]);
        shared.lock().number_messages(numbered);
        let sends: Vec<_> = (0..COUNT).map(|number| endpoint.send(0, 1u32, vec![number; LEN])).collect();
        assert_eq!(endpoint.sent_messages(), Some(vec![COUNT]));
        for due in 0..COUNT {
            let mut got = [0u64; LEN];
            endpoint.recv_blocking(0, 1u32, &mut got).unwrap();
            assert_eq!(got, [due; LEN]);
        }
        assert!(sends.into_iter().all(|send| send.wait().is_ok()));
        assert_eq!(endpoint.sent_messages(), Some(vec![COUNT]));
    }

    #[test]
    fn time_for_which_the_process_was_stopped_is_no_time_without_messages() {
        let mut progress = Progress::new();
        let begun = progress.since;
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        assert_eq!(progress.quiet(0, at(500)), Duration::from_millis(500));
        // A minute's stop counts for one second.
        assert_eq!(progress.quiet(0, at(60_500)), Duration::from_millis(1_500));
        assert_eq!(progress.quiet(1, at(60_600)), Duration::ZERO);
        assert_eq!(progress.quiet(1, at(60_900)), Duration::from_millis(300));
    }
}
