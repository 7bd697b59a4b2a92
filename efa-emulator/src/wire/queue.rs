//! The file of one queue pair: its receives, and what senders must know about it.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::ring::{AtomicTicket, Place, Ring};
use crate::errno::Errno;
use crate::job::{LAYOUT, MAGIC};
use crate::mapping::{Mapping, Shared};

/// Writes with immediate data that may wait to be polled without a posted receive.
pub(crate) const UNSOLICITED: u32 = 256;

const POSTED_HEAD: usize = 128;
const UNSOLICITED_HEAD: usize = POSTED_HEAD + size_of::<AtomicTicket>();
const ENTRIES: usize = 4096;

/// Start of the file.
#[repr(C, align(64))]
pub(crate) struct Header {
    magic: AtomicU64,
    layout: AtomicU32,
    /// Entries of the ring of posted receives.
    count: AtomicU32,
    /// The key that senders must show.
    pub(crate) qkey: AtomicU32,
    /// One of the constants below.
    pub(crate) state: AtomicU32,
    /// Not 0: writes with immediate data take no posted receive.
    pub(crate) unsolicited: AtomicU32,
    /// Not 0: the owner sleeps and wants its doorbell rung at the next message.
    pub(crate) armed: AtomicU32,
}

/// Not ready to receive.
pub(crate) const STATE_RESET: u32 = 0;
/// Receives.
pub(crate) const STATE_READY: u32 = 1;
/// Destroyed.
pub(crate) const STATE_GONE: u32 = 2;

// SAFETY: atomics only.
unsafe impl Shared for Header {}

/// A queue pair's file, mapped by its owner or by a sender.
#[derive(Debug)]
pub(crate) struct QueueFile {
    mapping: Mapping,
    /// Receives that the owner posted.
    posted: Ring,
    /// Entries for writes with immediate data that need no posted receive.
    unsolicited: Ring,
    /// The owner's open file: without it, nobody else finds the memory.
    _file: Option<File>,
}

/// Which of the two rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    Posted,
    Unsolicited,
}

fn places(count: u32) -> [Place; 2] {
    let unsolicited = ENTRIES;
    let posted = unsolicited + Place::size(UNSOLICITED, false);
    let long = posted + Place::size(count, false);
    [
        Place { count, head: POSTED_HEAD, entries: posted, long: Some(long) },
        Place { count: UNSOLICITED, head: UNSOLICITED_HEAD, entries: unsolicited, long: None },
    ]
}

fn size(count: u32) -> usize {
    ENTRIES + Place::size(UNSOLICITED, false) + Place::size(count, true)
}

impl QueueFile {
    /// Makes the file of a queue pair with `count` receives. ENOSPC if the memory isn't there.
    pub(crate) fn create(path: &Path, count: u32) -> Result<Self, Errno> {
        let len = size(count);
        let (mapping, file) = Mapping::create(path, len, len)?;
        let queue = Self { _file: Some(file), ..Self::with(mapping, count)? };
        queue.posted.initialise(&queue.mapping);
        queue.unsolicited.initialise(&queue.mapping);
        let header = queue.header()?;
        header.layout.store(LAYOUT, Ordering::Relaxed);
        header.count.store(count, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Ok(queue)
    }

    /// Maps another's file. ESTALE if it isn't one.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let mapping = Mapping::open(path, ENTRIES)?;
        let header: &Header = mapping.at(0).ok_or(Errno(libc::ESTALE))?;
        if header.magic.load(Ordering::Acquire) != MAGIC || header.layout.load(Ordering::Relaxed) != LAYOUT {
            return Err(Errno(libc::ESTALE));
        }
        let count = header.count.load(Ordering::Relaxed);
        Self::with(mapping, count)
    }

    fn with(mapping: Mapping, count: u32) -> Result<Self, Errno> {
        if count == 0 || count > 1 << 16 {
            return Err(Errno(libc::EINVAL));
        }
        let [posted, unsolicited] = places(count);
        let ring = |place| Ring::new(&mapping, place).ok_or(Errno(libc::ESTALE));
        let (posted, unsolicited) = (ring(posted)?, ring(unsolicited)?);
        mapping.at::<Header>(0).ok_or(Errno(libc::ESTALE))?;
        Ok(Self { mapping, posted, unsolicited, _file: None })
    }

    /// Returns what senders must know.
    pub(crate) fn header(&self) -> Result<&Header, Errno> {
        self.mapping.at(0).ok_or(Errno(libc::ESTALE))
    }

    /// Returns the file's memory, for the rings.
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Returns one of the rings.
    pub(crate) fn ring(&self, which: Which) -> &Ring {
        match which {
            Which::Posted => &self.posted,
            Which::Unsolicited => &self.unsolicited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{QueueFile, size};

    #[test]
    fn only_whole_files_of_ours_are_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q");
        let own = QueueFile::create(&path, 16).unwrap();
        assert!(own._file.is_some());
        QueueFile::open(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), size(16));
        let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut copy = bytes.clone();
            change(&mut copy);
            std::fs::write(&path, copy).unwrap();
            QueueFile::open(&path).is_err()
        };
        assert!(damaged(&|b| b[0] ^= 1));
        assert!(damaged(&|b| b[12] = 32)); // says it has more than it has
        assert!(damaged(&|b| b[12] = 3));
        assert!(damaged(&|b| b[14] = 0xff));
        assert!(damaged(&|b| b.truncate(100)));
        assert!(damaged(&|b| b.truncate(5000)));
    }
}
