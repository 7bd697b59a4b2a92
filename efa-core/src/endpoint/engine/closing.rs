//! What efa needs before its endpoint is closed.
//!
//! libfabric's efa provider, up to 2.2 at least, crashes when an endpoint closes while a message is on its way into a
//! posted receive or has failed on its way, and it waits without end for messages that a peer has no room for. So receives are withdrawn first,
//! which those that no message has reached obey; the others get some time; and what is left after that goes with the
//! peers, who are removed from the address vector.

use std::time::Instant;

use super::Engine;
use crate::endpoint::request::WorkQueue;
use crate::ffi::{Polled, Posted};

/// More messages than can have come unasked: each holds a buffer of the provider's.
const MOST_UNEXPECTED: usize = 1 << 20;

impl Engine {
    /// Takes back the receives that no message has reached. They end as closed, and nothing new is posted.
    pub(crate) fn withdraw(&mut self, why: &str) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(why.into());
        self.deferred[WorkQueue::Receive as usize].clear();
        for id in self.slots.under_way() {
            if self.slots.get(id).request.operation.is_receive() {
                let context = self.slots.context(id);
                if let Some(endpoint) = &mut self.endpoint {
                    endpoint.cancel(context);
                }
            }
        }
    }

    /// Whether the provider has no operation of ours left.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_drained() && self.in_flight[WorkQueue::Receive as usize] == 0
    }

    /// Whether the provider can't be trusted to close while it knows its peers.
    pub(crate) fn must_forget(&self) -> bool {
        self.spoiled || !self.is_quiet()
    }

    /// Polls until the provider has no operation of ours left, or the time is over.
    pub(crate) fn settle_until(&mut self, until: Instant) {
        while self.is_open() && !self.is_quiet() && Instant::now() < until {
            if !self.poll() {
                std::thread::yield_now();
            }
        }
    }

    /// Makes the provider let go of all peers, and of all messages from and to them.
    pub(crate) fn forget_peers(&mut self) {
        // Messages that nobody has asked for yet have to go first: they would be freed twice. The provider makes no
        // progress between the answer that there is none and the removal.
        let mut context = [std::ptr::null_mut::<std::ffi::c_void>(); 8];
        let ours = context.as_mut_ptr().cast();
        for _ in 0..MOST_UNEXPECTED {
            let Some(endpoint) = &mut self.endpoint else { return };
            // SAFETY: the context is used during this call, and for an entry in the queue that is read right below.
            if unsafe { endpoint.discard_one(ours) } != Posted::Yes || !self.discarded(ours) {
                break;
            }
        }
        if let Some(endpoint) = &mut self.endpoint {
            let addresses: Vec<u64> = self.peers.iter().map(|peer| peer.address).collect();
            endpoint.forget_peers(&addresses);
        }
    }

    /// Reads the queue up to the answer to a discard: whether there was a message.
    fn discarded(&mut self, context: *mut std::ffi::c_void) -> bool {
        loop {
            match self.queue.read(&mut self.batch) {
                Polled::Some(count) => {
                    let mut answered = false;
                    for index in 0..count {
                        match self.batch.entry(index).context() == context {
                            true => answered = true,
                            false => self.complete(index),
                        }
                    }
                    if answered {
                        return true;
                    }
                }
                Polled::ErrorIsNext => match self.queue.read_error() {
                    // None is there, or the provider can't throw it away.
                    Some(error) if error.context == context => return false,
                    Some(error) => self.fail(error),
                    None => return false,
                },
                Polled::Nothing | Polled::Broken(_) => return false,
            }
        }
    }
}
