//! The table of a job's processes, in shared memory.

use std::fs::File;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::errno::Errno;
use crate::mapping::{Mapping, Shared, reserve_range};
use crate::settings::MAX_DEVICES;

/// Most processes of one job.
pub(crate) const MAX_PROCESSES: u16 = 1024;

/// First word of every file of ours.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"EFA-emul");

/// Changes with everything that another version of this library would read differently.
pub(crate) const LAYOUT: u32 = 2;

const ENTRIES: usize = 64;
const SIZE: usize = ENTRIES + MAX_PROCESSES as usize * size_of::<Entry>();

/// Start of the file.
#[repr(C)]
pub(crate) struct Header {
    magic: AtomicU64,
    layout: AtomicU32,
    /// Not 0 once somebody found that other processes' memory can't be accessed by system call.
    pub(crate) no_cross_memory: AtomicU32,
}

/// One process.
#[repr(C, align(64))]
pub(crate) struct Entry {
    /// Random number of the process at this place; 0 if there is none.
    pub(crate) generation: AtomicU32,
    /// Its process number,
    pub(crate) pid: AtomicU32,
    /// which counts in this namespace only.
    pub(crate) pid_namespace: AtomicU64,
    /// Its rank: from the environment, or its place.
    pub(crate) rank: AtomicU32,
    /// How many devices it has.
    pub(crate) devices: AtomicU32,
    /// Bit per device that went away.
    pub(crate) gone: AtomicU32,
    /// Queue pairs per device.
    pub(crate) queue_pairs: [AtomicU32; MAX_DEVICES],
}

// SAFETY: atomics only.
unsafe impl Shared for Header {}
// SAFETY: atomics only.
unsafe impl Shared for Entry {}

/// The mapped table.
#[derive(Debug)]
pub(crate) struct Table(Mapping);

impl Table {
    /// Maps the table in an open file, which may be new and empty. EPROTO if another version made it.
    pub(crate) fn open(file: &File) -> Result<Self, Errno> {
        reserve_range(file, 0, SIZE)?;
        let table = Self(Mapping::map(file, SIZE)?);
        let header = table.header();
        // Several processes may do this at once; they all write the same.
        if header.magic.load(Ordering::Acquire) == 0 {
            header.layout.store(LAYOUT, Ordering::Relaxed);
            header.magic.store(MAGIC, Ordering::Release);
        }
        match (header.magic.load(Ordering::Acquire), header.layout.load(Ordering::Relaxed)) {
            (MAGIC, LAYOUT) => Ok(table),
            _ => Err(Errno(libc::EPROTO)),
        }
    }

    /// Returns what concerns the whole job.
    pub(crate) fn header(&self) -> &Header {
        match self.0.at(0) {
            Some(header) => header,
            None => unreachable!("the mapping is longer than its header"),
        }
    }

    /// Returns the entry of a place, or `None` if there is no such place.
    pub(crate) fn entry(&self, slot: u16) -> Option<&Entry> {
        if slot >= MAX_PROCESSES {
            return None;
        }
        self.0.at(ENTRIES + usize::from(slot) * size_of::<Entry>())
    }

    /// Returns how many places are marked as taken, the dead that nobody noticed included.
    pub(crate) fn taken(&self) -> usize {
        let taken = |slot: &u16| self.entry(*slot).is_some_and(|e| e.generation.load(Ordering::Relaxed) != 0);
        (0..MAX_PROCESSES).filter(taken).count()
    }
}
