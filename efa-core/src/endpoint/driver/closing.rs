//! Closing an endpoint so that the device really is done with the memory.

use std::thread;
use std::time::{Duration, Instant};

use super::Shared;
use crate::endpoint::engine::Engine;
use crate::fabric::{self, Owner};

/// How long sends, reads and writes that are under way may take to end by themselves.
const LINGER: Duration = Duration::from_secs(1);
/// How long efa's receives may take to end when the endpoint has to close at once.
const SETTLE: Duration = Duration::from_millis(50);

impl Shared {
    /// Closes the endpoint because the program wants it, when what is under way has ended or had its time.
    pub(in crate::endpoint) fn close(&self, why: &str) {
        let until = Instant::now() + LINGER;
        loop {
            let mut core = self.lock();
            let is_done = if self.quirks.withdraws_receives {
                core.withdraw(why);
                core.is_quiet()
            } else {
                core.is_drained()
            };
            if is_done || !core.is_open() || Instant::now() >= until {
                return self.close_by_force(&mut core, why.into());
            }
            core.poll();
            drop(core);
            thread::yield_now();
        }
    }

    /// Whether the process of a rank is known to have ended: being silent or stopped is not enough.
    pub(in crate::endpoint) fn has_ended(&self, rank: usize) -> bool {
        self.owners.get(rank).copied().flatten().is_some_and(Owner::is_gone)
    }

    /// Lets nobody else find this endpoint by its name. All ranks must have connected.
    ///
    /// A process that is killed then leaves nothing in `/dev/shm`. An unpatched libfabric may look a name up later.
    pub(crate) fn forget_name(&self) {
        if self.quirks.lives_in_files && !self.quirks.looks_up_names {
            self.remove_name();
        }
    }

    fn remove_name(&self) {
        fabric::remove_name(&self.peers[self.me].address);
    }

    /// Closes the endpoint now.
    ///
    /// With shared memory it may be the peer that moves the data: a patched libfabric tells the peer that the endpoint
    /// is closed, and takes from it nothing that it may write; with another one no peer can reach our memory at all.
    pub(in crate::endpoint) fn close_by_force(&self, core: &mut Engine, why: String) {
        if self.quirks.never_closes && core.is_open() {
            self.remove_name();
        }
        if self.quirks.withdraws_receives && core.is_open() {
            core.withdraw(&why);
            core.settle_until(Instant::now() + SETTLE);
            if core.must_forget() {
                core.forget_peers();
            }
        }
        let was_open = core.is_open();
        core.close(why);
        if was_open && self.quirks.lives_in_files {
            // A peer that was killed before all had connected has left its file.
            fabric::remove_stale_files();
        }
    }
}
