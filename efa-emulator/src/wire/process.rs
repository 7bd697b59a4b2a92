//! The file of one process: its registered regions, whom it knows, its doorbell, and a mailbox for those who may not
//! access its memory themselves.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::Address;
use crate::errno::Errno;
use crate::job::{LAYOUT, MAGIC, MAX_PROCESSES};
use crate::mapping::{Mapping, Shared, reserve_range};
use crate::settings::MAX_DEVICES;

/// Most regions of one process.
pub(crate) const MAX_REGIONS: u32 = 1 << 16;
/// Requests that can wait in a mailbox.
pub(crate) const LETTERS: usize = 8;
/// Bytes that one request moves.
pub(crate) const LETTER_BYTES: usize = 64 << 10;

const KNOWN: usize = 4096;
const KNOWN_COUNT: usize = MAX_PROCESSES as usize * MAX_DEVICES;
const LETTER_AT: usize = KNOWN + KNOWN_COUNT * size_of::<Known>();
const REGIONS: usize = LETTER_AT + LETTERS * size_of::<Letter>();
const SIZE: usize = REGIONS + MAX_REGIONS as usize * size_of::<Region>();
/// Regions for which memory is reserved at a time: 64 KiB.
pub(crate) const REGION_CHUNK: u32 = 2048;

/// Start of the file.
#[repr(C, align(64))]
pub(crate) struct Header {
    magic: AtomicU64,
    layout: AtomicU32,
    /// Counts up when the process's helper has something to look at; a futex.
    pub(crate) doorbell: AtomicU32,
    /// Not 0: the process answers letters.
    pub(crate) answers_letters: AtomicU32,
}

/// Which of our devices have an address handle for a peer's device.
#[repr(C)]
pub(crate) struct Known {
    generation: AtomicU32,
    devices: AtomicU32,
}

/// A registered region, as peers see it.
#[repr(C)]
pub(crate) struct Region {
    /// The key, 0 if there is no region.
    key: AtomicU32,
    /// Access rights in the low half, the device in the high half.
    rights: AtomicU32,
    address: AtomicU64,
    len: AtomicU64,
    _reserved: AtomicU64,
}

/// A request to copy bytes from or to the process's memory, by one that may not do it itself.
#[repr(C, align(64))]
pub(crate) struct Letter {
    /// [`letter`] has the states; the sender's place in the high half.
    pub(crate) state: AtomicU32,
    pub(crate) is_write: AtomicU32,
    pub(crate) key: AtomicU32,
    pub(crate) device: AtomicU32,
    pub(crate) address: AtomicU64,
    pub(crate) len: AtomicU32,
    /// The outcome: a status number.
    pub(crate) status: AtomicU32,
    pub(crate) data: [AtomicU8; LETTER_BYTES],
}

/// States of a letter.
pub(crate) mod letter {
    /// Anyone may take it.
    pub(crate) const FREE: u32 = 0;
    /// Being written, or its answer being read.
    pub(crate) const TAKEN: u32 = 1;
    /// To be answered.
    pub(crate) const ASKED: u32 = 2;
    /// Answered.
    pub(crate) const ANSWERED: u32 = 3;

    /// Returns a state with the asking process's place.
    pub(crate) fn of(state: u32, slot: u16) -> u32 {
        u32::from(slot) << 16 | state
    }

    /// Returns the state and the place.
    pub(crate) fn parts(word: u32) -> (u32, u16) {
        (word & 0xffff, (word >> 16) as u16)
    }
}

// SAFETY: atomics only.
unsafe impl Shared for Header {}
// SAFETY: atomics only.
unsafe impl Shared for Known {}
// SAFETY: atomics only.
unsafe impl Shared for Region {}
// SAFETY: atomics only; the data is also copied through raw pointers.
unsafe impl Shared for Letter {}

/// What a region covers and allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegionInfo {
    pub(crate) address: u64,
    pub(crate) len: u64,
    pub(crate) access: u32,
    pub(crate) device: u8,
}

impl RegionInfo {
    /// Returns `true` if the region covers a range and allows an access to it.
    pub(crate) fn allows(&self, address: u64, len: u64, access: u32) -> bool {
        let offset = address.wrapping_sub(self.address);
        self.access & access == access && offset <= self.len && len <= self.len - offset
    }
}

/// A process's file, mapped by itself or by a peer.
#[derive(Debug)]
pub(crate) struct ProcessFile {
    mapping: Mapping,
}

impl ProcessFile {
    /// Makes this process's file. The open file is for reserving more of it later.
    pub(crate) fn create(path: &Path) -> Result<(Self, File), Errno> {
        let (mapping, file) = Mapping::create(path, SIZE, LETTER_AT)?;
        let process = Self { mapping };
        let header = process.header()?;
        header.layout.store(LAYOUT, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Ok((process, file))
    }

    /// Maps a peer's file. ESTALE if it isn't one.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let process = Self { mapping: Mapping::open(path, SIZE)? };
        let header = process.header()?;
        match (header.magic.load(Ordering::Acquire), header.layout.load(Ordering::Relaxed)) {
            (MAGIC, LAYOUT) => Ok(process),
            _ => Err(Errno(libc::ESTALE)),
        }
    }

    /// Returns the file's memory.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> (*mut u8, usize) {
        let len = self.mapping.len();
        (self.mapping.bytes(0, len).expect("all of it"), len)
    }

    /// Returns what concerns the process as a whole.
    pub(crate) fn header(&self) -> Result<&Header, Errno> {
        self.mapping.at(0).ok_or(Errno(libc::ESTALE))
    }

    /// Remembers whether one of our devices has an address handle for a peer.
    pub(crate) fn set_known(&self, device: u8, peer: Address, known: bool) {
        let Some(entry) = self.known(peer) else { return };
        if entry.generation.swap(peer.generation, Ordering::AcqRel) != peer.generation {
            entry.devices.store(0, Ordering::Release);
        }
        let bit = 1u32.checked_shl(u32::from(device)).unwrap_or(0);
        if known {
            entry.devices.fetch_or(bit, Ordering::AcqRel);
        } else {
            entry.devices.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Returns `true` if the process's `device` has an address handle for a peer.
    pub(crate) fn knows(&self, device: u8, peer: Address) -> bool {
        self.known(peer).is_some_and(|entry| {
            let bit = 1u32.checked_shl(u32::from(device)).unwrap_or(0);
            entry.generation.load(Ordering::Acquire) == peer.generation
                && entry.devices.load(Ordering::Acquire) & bit != 0
        })
    }

    /// Makes room for the region with an index. ENOSPC if the memory isn't there.
    pub(crate) fn reserve_region(file: &File, index: u32) -> Result<(), Errno> {
        let first = index / REGION_CHUNK * REGION_CHUNK;
        let size = size_of::<Region>();
        reserve_range(file, REGIONS + first as usize * size, REGION_CHUNK as usize * size)
    }

    /// Makes room for the letters.
    pub(crate) fn reserve_letters(file: &File) -> Result<(), Errno> {
        reserve_range(file, LETTER_AT, LETTERS * size_of::<Letter>())
    }

    /// Publishes a region under a key that was never used before.
    pub(crate) fn publish(&self, key: u32, info: RegionInfo) {
        if let Some(region) = self.region(key) {
            region.address.store(info.address, Ordering::Relaxed);
            region.len.store(info.len, Ordering::Relaxed);
            region.rights.store(info.access & 0xffff | u32::from(info.device) << 16, Ordering::Relaxed);
            region.key.store(key, Ordering::Release);
        }
    }

    /// Takes a region back.
    pub(crate) fn retract(&self, key: u32) {
        if let Some(region) = self.region(key) {
            region.key.store(0, Ordering::Release);
        }
    }

    /// Returns the region with a key, or `None` if there is none now.
    pub(crate) fn lookup(&self, key: u32) -> Option<RegionInfo> {
        let region = self.region(key)?;
        if key == 0 || region.key.load(Ordering::Acquire) != key {
            return None;
        }
        let rights = region.rights.load(Ordering::Relaxed);
        let info = RegionInfo {
            address: region.address.load(Ordering::Relaxed),
            len: region.len.load(Ordering::Relaxed),
            access: rights & 0xffff,
            device: (rights >> 16) as u8,
        };
        // A key is never used twice, so the fields belong to it if it is still there.
        std::sync::atomic::fence(Ordering::Acquire);
        (region.key.load(Ordering::Relaxed) == key).then_some(info)
    }

    /// Returns a letter of the mailbox.
    pub(crate) fn letter(&self, index: usize) -> Option<&Letter> {
        self.mapping.array::<Letter>(LETTER_AT, LETTERS)?.get(index)
    }

    fn known(&self, peer: Address) -> Option<&Known> {
        let index = usize::from(peer.slot) * MAX_DEVICES + usize::from(peer.device);
        if usize::from(peer.device) >= MAX_DEVICES || index >= KNOWN_COUNT {
            return None;
        }
        self.mapping.at(KNOWN + index * size_of::<Known>())
    }

    fn region(&self, key: u32) -> Option<&Region> {
        self.mapping.at(REGIONS + (key % MAX_REGIONS) as usize * size_of::<Region>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, ProcessFile, File) {
        let dir = tempfile::tempdir().unwrap();
        let (process, file) = ProcessFile::create(&dir.path().join("p")).unwrap();
        (dir, process, file)
    }

    #[test]
    fn a_region_is_there_between_publish_and_retract() {
        let (_dir, process, file) = file();
        ProcessFile::reserve_region(&file, 5).unwrap();
        let key = 7 << 16 | 5;
        let info = RegionInfo { address: 4096, len: 100, access: 7, device: 2 };
        process.publish(key, info);
        assert_eq!(process.lookup(key), Some(info));
        assert_eq!(process.lookup(8 << 16 | 5), None, "same place, another key");
        process.retract(key);
        assert_eq!(process.lookup(key), None);
        assert_eq!(process.lookup(0), None);
    }

    #[test]
    fn ranges_outside_a_region_are_refused() {
        let info = RegionInfo { address: 1000, len: 100, access: 3, device: 0 };
        assert!(info.allows(1000, 100, 1) && info.allows(1099, 1, 3) && info.allows(1100, 0, 2));
        assert!(!info.allows(999, 1, 1) && !info.allows(1000, 101, 1) && !info.allows(1099, 2, 1));
        assert!(!info.allows(1000, u64::MAX, 1) && !info.allows(u64::MAX, 2, 1));
        assert!(!info.allows(1000, 1, 4));
    }

    #[test]
    fn peers_are_known_by_device_and_process() {
        let (_dir, process, _file) = file();
        let peer = Address { slot: 9, generation: 77, device: 3 };
        process.set_known(1, peer, true);
        assert!(process.knows(1, peer));
        assert!(!process.knows(0, peer));
        assert!(!process.knows(1, Address { generation: 78, ..peer }), "a later process at the same place");
        process.set_known(1, peer, false);
        assert!(!process.knows(1, peer));
        assert!(!process.knows(1, Address { slot: u16::MAX, generation: 1, device: 255 }));
    }
}
