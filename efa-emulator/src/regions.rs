//! This process's registered regions.

use std::fs::File;
use std::sync::{Arc, Mutex};

use crate::errno::Errno;
use crate::wire::process::{MAX_REGIONS, ProcessFile, REGION_CHUNK, RegionInfo};

/// Gives out keys, and answers for them; the table itself is in the process's shared file.
#[derive(Debug)]
pub(crate) struct Regions {
    file: Arc<ProcessFile>,
    handle: File,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    /// Indices given back, with the generation of their next key.
    free: Vec<(u32, u16)>,
    /// Indices from here on were never used.
    fresh: u32,
    /// Indices below this have memory behind them.
    reserved: u32,
}

impl Regions {
    /// Starts without regions, in this process's file.
    pub(crate) fn new(file: Arc<ProcessFile>, handle: File) -> Self {
        Self { file, handle, keys: Mutex::default() }
    }

    /// Returns the process's shared file.
    pub(crate) fn file(&self) -> &ProcessFile {
        &self.file
    }

    /// Makes room for the mailbox. ENOSPC if the memory isn't there.
    pub(crate) fn reserve_letters(&self) -> Result<(), Errno> {
        ProcessFile::reserve_letters(&self.handle)
    }

    /// Registers a region under a key that was not used before. ENOMEM if there are too many, ENOSPC if memory is short.
    pub(crate) fn add(&self, info: RegionInfo) -> Result<u32, Errno> {
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (index, generation) = match keys.free.pop() {
            Some(back) => back,
            None if keys.fresh < MAX_REGIONS => {
                if keys.fresh >= keys.reserved {
                    ProcessFile::reserve_region(&self.handle, keys.fresh)?;
                    keys.reserved = keys.fresh + REGION_CHUNK;
                }
                keys.fresh += 1;
                (keys.fresh - 1, 1)
            }
            None => return Err(Errno(libc::ENOMEM)),
        };
        let key = u32::from(generation) << 16 | index;
        self.file.publish(key, info);
        Ok(key)
    }

    /// Forgets a region; its key is not used again until its place has had 65,535 others.
    pub(crate) fn remove(&self, key: u32) {
        self.file.retract(key);
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let next = ((key >> 16) as u16).wrapping_add(1).max(1);
        keys.free.push((key & 0xffff, next));
    }

    /// Returns `true` if a local range lies in the region of a key and may be accessed so.
    pub(crate) fn allows(&self, key: u32, address: u64, len: u64, access: u32) -> bool {
        len == 0 || self.file.lookup(key).is_some_and(|info| info.allows(address, len, access))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let (file, handle) = ProcessFile::create(&dir.path().join("p")).unwrap();
        let regions = Regions::new(Arc::new(file), handle);
        let info = RegionInfo { address: 0x1000, len: 64, access: 1, device: 0 };
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 {
            let keys: Vec<u32> = (0..REGION_CHUNK + 5).map(|_| regions.add(info).unwrap()).collect();
            for key in keys {
                assert!(seen.insert(key), "{key:#x} came twice");
                assert!(regions.allows(key, 0x1000, 64, 1));
                regions.remove(key);
                assert!(!regions.allows(key, 0x1000, 64, 1));
            }
        }
    }
}
