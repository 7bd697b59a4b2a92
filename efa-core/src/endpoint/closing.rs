//! Closing an endpoint so that the device really is done with the memory.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::core::Core;
use super::shared::Shared;
use super::slot::{Kind, Notice};
use crate::bootstrap::Status;
use crate::fabric::{Owner, Provider};

/// How long sends, reads and writes that are under way may take to end by themselves.
const LINGER: Duration = Duration::from_secs(1);
/// How long efa's receives may take to end when the endpoint has to close at once.
const SETTLE: Duration = Duration::from_millis(50);

impl Shared {
    /// Closes the endpoint because the program wants it, when what is under way has ended or had its time.
    pub(super) fn close(&self, why: &str) {
        let until = Instant::now() + LINGER;
        loop {
            let mut core = self.lock();
            let is_done = match self.config.provider {
                Provider::Efa => {
                    core.withdraw(why);
                    core.is_quiet()
                }
                _ => core.is_drained(),
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
    fn has_ended(&self, rank: usize) -> bool {
        self.owners.get(rank).copied().flatten().is_some_and(Owner::is_gone)
    }

    /// Closes the endpoint now.
    ///
    /// With shared memory the device that moves the data is the peer: closing our endpoint does not keep it from
    /// answering a remote read later, straight into our memory. A peer that is gone can't, and one that lives has
    /// answered long ago if it ever will. What is left is a peer that is stopped, which the missing heartbeat shows;
    /// there is no way to shut that one out but to end this process.
    pub(super) fn close_by_force(&self, core: &mut Core, why: String) {
        if self.config.provider == Provider::Shm && core.is_open() {
            for id in core.slots.under_way() {
                let record = core.slots.get(id);
                let about = record.about;
                let rank = about.peer.map(|rank| rank as usize);
                let is_stopped = rank.is_some_and(|rank| match self.liveness.status(rank) {
                    Status::Silent { .. } => true,
                    // Taken for dead after a long silence, it may still be continued.
                    Status::Dead { .. } => !self.has_ended(rank),
                    Status::Alive | Status::Left => false,
                });
                if about.kind != Kind::Read || !is_stopped {
                    continue;
                }
                if record.is_orphan() && about.group.is_none() {
                    // Nobody waits for the buffer: it can stay for good.
                    std::mem::forget(std::mem::replace(&mut record.notice, Notice::None));
                    continue;
                }
                let what = self.describe(&about);
                let _ = writeln!(
                    io::stderr(),
                    "efa: ending this process: {what} can't be ended, and its peer is stopped ({why})"
                );
                std::process::abort();
            }
        }
        if self.config.provider == Provider::Efa && core.is_open() {
            core.withdraw(&why);
            core.settle_until(Instant::now() + SETTLE);
            if core.must_forget() {
                core.forget_peers(&self.addresses);
            }
        }
        core.close(why);
    }
}
