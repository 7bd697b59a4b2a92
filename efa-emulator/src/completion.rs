//! Completion queues: what is done, until someone polls.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::channel::Channel;
use crate::process::Process;
use crate::spin::Spin;
use crate::status::Status;
use crate::wire::Address;

/// A queue pair as its completion queues see it.
pub(crate) trait Attached: Send + Sync {
    /// Asks senders to ring the doorbell at the next message.
    fn arm(&self);
    /// Returns whether a message is there.
    fn has_receive(&self) -> bool;
    /// Takes a message, if there is one, and copies it to where it belongs.
    fn receive(&self) -> Option<Completion>;
    /// Gives the place of a send back.
    fn end(&self);
}

/// One finished piece of work.
#[derive(Clone)]
pub(crate) struct Completion {
    pub(crate) wr_id: u64,
    pub(crate) status: Status,
    /// `ibv_wc_opcode`.
    pub(crate) opcode: c_int,
    pub(crate) len: u32,
    pub(crate) imm: Option<u32>,
    pub(crate) has_route_header: bool,
    /// A write with immediate data that took no receive.
    pub(crate) unsolicited: bool,
    /// Queue pair it belongs to.
    pub(crate) qpn: u32,
    /// Sender's queue pair, of receives.
    pub(crate) source_qpn: u32,
    /// Sender, of receives.
    pub(crate) source: Option<Address>,
    /// The sender's address handle number here, if it has one.
    pub(crate) source_handle: Option<u16>,
    /// Whose send it was: frees a place in its queue when polled.
    pub(crate) sender: Option<Arc<dyn Attached>>,
}

impl Completion {
    /// Makes a completion with nothing but its kind and outcome.
    pub(crate) fn new(wr_id: u64, opcode: c_int, status: Status, qpn: u32) -> Self {
        Self {
            wr_id,
            status,
            opcode,
            len: 0,
            imm: None,
            has_route_header: false,
            unsolicited: false,
            qpn,
            source_qpn: 0,
            source: None,
            source_handle: None,
            sender: None,
        }
    }
}

/// The part of a completion queue that posting threads and the helper reach: never behind the polling lock.
pub(crate) struct Completions {
    pub(crate) process: Arc<Process>,
    /// Finished sends, reads and writes.
    finished: Spin<VecDeque<Completion>>,
    /// Length of the above, to look at without its lock.
    waiting: AtomicUsize,
    /// Queue pairs whose receives complete here.
    receivers: Spin<Vec<Arc<dyn Attached>>>,
    /// Counts up with every change of the above.
    version: AtomicU64,
    /// Where to tell that something arrived.
    channel: Option<Arc<Channel>>,
    /// The C structure, as events name it.
    identity: usize,
    armed: AtomicBool,
    /// Whether the helper looks for receives at each ring of the doorbell.
    watched: AtomicBool,
    /// Whether the C structure is gone; held while an event is sent.
    closed: Spin<bool>,
}

impl Completions {
    /// Makes an empty queue; `identity` is the address of its C structure.
    pub(crate) fn new(process: Arc<Process>, channel: Option<Arc<Channel>>, identity: usize) -> Self {
        Self {
            process,
            finished: Spin::default(),
            waiting: AtomicUsize::new(0),
            receivers: Spin::default(),
            version: AtomicU64::new(1),
            channel,
            identity,
            armed: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            closed: Spin::new(false),
        }
    }

    /// Adds a finished send, read or write.
    pub(crate) fn push(&self, completion: Completion) {
        let mut finished = self.finished.lock();
        finished.push_back(completion);
        self.waiting.store(finished.len(), Ordering::Release);
        drop(finished);
        self.tell();
    }

    /// Takes the oldest finished send, read or write.
    pub(crate) fn pop(&self) -> Option<Completion> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut finished = self.finished.lock();
        let completion = finished.pop_front();
        self.waiting.store(finished.len(), Ordering::Release);
        completion
    }

    /// Takes part in receiving for a queue pair.
    pub(crate) fn attach(&self, queue: Arc<dyn Attached>) {
        self.receivers.lock().push(queue);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Forgets a queue pair, and whatever it finished that nobody polled.
    pub(crate) fn detach(&self, queue: &Arc<dyn Attached>) {
        self.receivers.lock().retain(|other| !Arc::ptr_eq(other, queue));
        self.version.fetch_add(1, Ordering::Release);
        let mut finished = self.finished.lock();
        finished.retain(|c| c.sender.as_ref().is_none_or(|sender| !Arc::ptr_eq(sender, queue)));
        self.waiting.store(finished.len(), Ordering::Release);
    }

    /// Returns the queue pairs to receive for, if they changed since `version`, which is brought up to date.
    pub(crate) fn receivers_since(&self, version: &mut u64) -> Option<Vec<Arc<dyn Attached>>> {
        let now = self.version.load(Ordering::Acquire);
        if now == *version {
            return None;
        }
        *version = now;
        Some(self.receivers.lock().clone())
    }

    /// Returns `true` if a queue pair still receives here.
    pub(crate) fn is_used(&self) -> bool {
        !self.receivers.lock().is_empty()
    }

    /// Asks for an event at the next completion. False if there is no channel to send it to.
    pub(crate) fn arm(self: &Arc<Self>) -> bool {
        if self.channel.is_none() {
            return false;
        }
        self.armed.store(true, Ordering::SeqCst);
        for queue in self.receivers.lock().iter() {
            queue.arm();
        }
        if !self.watched.swap(true, Ordering::AcqRel) {
            let weak = Arc::downgrade(self);
            self.process.helper.at_each_ring(move || {
                weak.upgrade().inspect(|completions| completions.tell_of_receives()).is_some()
            });
        }
        // What came between the caller's last poll and this call must not be slept through.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.tell();
        } else {
            self.tell_of_receives();
        }
        true
    }

    /// Sends the event that was asked for, if a receive is ready.
    pub(crate) fn tell_of_receives(&self) {
        if self.armed.load(Ordering::SeqCst) && self.receivers.lock().iter().any(|queue| queue.has_receive())
        {
            self.tell();
        }
    }

    fn tell(&self) {
        if let Some(channel) = &self.channel
            && self.armed.swap(false, Ordering::SeqCst)
        {
            let closed = self.closed.lock();
            if !*closed {
                channel.send(self.identity);
            }
        }
    }

    /// Takes back the events sent, and sends none any more: the C structure that they name is going away.
    pub(crate) fn close(&self) {
        *self.closed.lock() = true;
        if let Some(channel) = &self.channel {
            channel.forget(self.identity);
        }
    }
}
