//! Other processes' files, mapped when first needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::errno::Errno;
use crate::job::Job;
use crate::log::monotonic_coarse;
use crate::spin::Spin;
use crate::wire::Address;
use crate::wire::process::ProcessFile;
use crate::wire::queue::QueueFile;

/// How often a peer that we send to is checked for being alive, in milliseconds.
const CHECK_MS: u64 = 10;

/// The processes whose files are mapped.
#[derive(Default)]
pub(crate) struct Peers(Spin<HashMap<u16, (u32, Arc<ProcessFile>)>>);

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peers({})", self.0.lock().len())
    }
}

impl Peers {
    /// Returns a peer's process file, or an error if the process isn't there.
    pub(crate) fn process(&self, job: &Job, peer: Address) -> Result<Arc<ProcessFile>, Errno> {
        if let Some((generation, file)) = self.0.lock().get(&peer.slot)
            && *generation == peer.generation
        {
            return Ok(file.clone());
        }
        let file = Arc::new(ProcessFile::open(&job.process_path(peer.slot, peer.generation))?);
        self.0.lock().insert(peer.slot, (peer.generation, file.clone()));
        Ok(file)
    }
}

/// A peer's queue pair, mapped for sending to it.
#[derive(Debug)]
pub(crate) struct RemoteQueue {
    pub(crate) file: QueueFile,
    address: Address,
    checked_ms: AtomicU64,
    dead: AtomicBool,
}

impl RemoteQueue {
    /// Maps a peer's queue pair. An error if there is no such queue pair.
    pub(crate) fn open(job: &Job, address: Address, qpn: u16) -> Result<Self, Errno> {
        let path = job.queue_path(address.slot, address.generation, address.device, qpn);
        let file = QueueFile::open(&path)?;
        let alive = job.is_alive(address.slot, address.generation);
        Ok(Self { file, address, checked_ms: AtomicU64::new(now_ms()), dead: AtomicBool::new(!alive) })
    }

    /// Returns `true` if the owner lived a moment ago.
    pub(crate) fn is_alive(&self, job: &Job) -> bool {
        let now = now_ms();
        if now.wrapping_sub(self.checked_ms.load(Ordering::Relaxed)) >= CHECK_MS {
            self.checked_ms.store(now, Ordering::Relaxed);
            if !job.is_alive(self.address.slot, self.address.generation) {
                self.dead.store(true, Ordering::Relaxed);
            }
        }
        !self.dead.load(Ordering::Relaxed)
    }
}

fn now_ms() -> u64 {
    monotonic_coarse().as_millis() as u64
}
