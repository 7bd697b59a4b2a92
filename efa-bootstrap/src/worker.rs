//! What the caller's threads ask of the background thread, and how that thread keeps time.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Poll, Token, Waker};

use super::ControlConfig;
use super::gather::deadline_after;
use super::message::Message;

/// The token of the waker in either poll loop.
pub(super) const WAKER: Token = Token(0);

/// Something to do for the background thread.
pub(super) enum Command {
    /// Send this to rank 0.
    Send(Message),
    /// Answer when all that was sent has been handed to the system.
    Flush(Sender<()>),
    /// Say goodbye and end, waiting for others at most so long.
    Stop { goodbye: Message, patience: Duration },
}

/// The callers' end: commands, and the means to interrupt the background thread's sleep.
pub(super) struct Worker {
    sender: Sender<Command>,
    waker: Arc<Waker>,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Hands over a command; false if the background thread has ended.
    pub(super) fn tell(&self, command: Command) -> bool {
        // A failed wake-up only delays: the thread looks for commands at every heartbeat, too.
        self.sender.send(command).is_ok() && self.waker.wake().is_ok()
    }
}

/// The background thread's end.
pub(super) struct Commands {
    receiver: Receiver<Command>,
    flushes: Vec<Sender<()>>,
}

impl Commands {
    /// Returns both ends, for a thread that sleeps in `poll`. The thread itself is put in once it runs.
    pub(super) fn new(poll: &Poll) -> std::io::Result<(Worker, Self)> {
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, receiver) = channel();
        Ok((Worker { sender, waker, thread: None }, Self { receiver, flushes: Vec::new() }))
    }

    /// Returns the next command but flushes, which are kept until [`answer_flushes`](Self::answer_flushes).
    ///
    /// If the caller's end is gone without a word, that is as good as a command to stop.
    pub(super) fn next_command(&mut self) -> Option<Command> {
        loop {
            match self.receiver.try_recv() {
                Ok(Command::Flush(answer)) => self.flushes.push(answer),
                Ok(command) => return Some(command),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => {
                    let goodbye = Message::Dying { reason: "its control connection was dropped".into() };
                    return Some(Command::Stop { goodbye, patience: Duration::ZERO });
                }
            }
        }
    }

    /// Returns `true` if anyone waits for all to be sent.
    pub(super) fn has_flushes(&self) -> bool {
        !self.flushes.is_empty()
    }

    /// Tells those who wait that all is sent.
    pub(super) fn answer_flushes(&mut self) {
        for answer in self.flushes.drain(..) {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(());
        }
    }
}

/// When heartbeats are due and how long to sleep.
pub(super) struct Clock {
    tick: Duration,
    next_tick: Instant,
    period: Duration,
    next_heartbeat: Instant,
}

impl Clock {
    pub(super) fn new(config: &ControlConfig, now: Instant) -> Self {
        /// Silence and handshakes are looked at this often at least.
        const LONGEST_TICK: Duration = Duration::from_millis(500);
        let tick = config.heartbeat_period.min(LONGEST_TICK);
        Self { tick, next_tick: now + tick, period: config.heartbeat_period, next_heartbeat: now }
    }

    /// Returns how long to sleep, if nothing else is due before.
    pub(super) fn sleep(&self, now: Instant, deadline: Option<Instant>) -> Duration {
        let next = deadline.map_or(self.next_tick, |deadline| deadline.min(self.next_tick));
        // A millisecond more, since the system's timer rounds down and would wake us just before.
        next.saturating_duration_since(now) + Duration::from_millis(1)
    }

    /// Returns `true` if it is time to look at deadlines again.
    pub(super) fn is_tick(&mut self, now: Instant) -> bool {
        let due = now >= self.next_tick;
        if due {
            self.next_tick = now + self.tick;
        }
        due
    }

    /// Returns `true` if a heartbeat is due.
    pub(super) fn is_heartbeat(&mut self, now: Instant) -> bool {
        let due = now >= self.next_heartbeat;
        if due {
            self.next_heartbeat = deadline_after(now, self.period);
        }
        due
    }
}
