//! Files of shared memory, mapped.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;

use crate::errno::Errno;
use crate::settings;

/// Types that may lie in memory which other processes change at any time: atomics, and bytes only copied.
///
/// # Safety
/// Every bit pattern must be valid, and every field an atomic or accessed through raw pointers only.
pub(crate) unsafe trait Shared {}

/// A file mapped for reading and writing until the value is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping stays where it is, and everything in it is reached through `Shared` types or raw copies.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Creates a file of `len` bytes of which the first `reserve` are backed by memory now, so that a full file system
    /// shows here as ENOSPC and not later as a signal.
    pub(crate) fn create(path: &Path, len: usize, reserve: usize) -> Result<(Self, File), Errno> {
        let file = Self::new_file(path)?;
        let made = file
            .set_len(len as u64)
            .map_err(Errno::from)
            .and_then(|()| reserve_range(&file, 0, reserve))
            .and_then(|()| Self::map(&file, len));
        match made {
            Ok(mapping) => Ok((mapping, file)),
            Err(e) => {
                let _ = std::fs::remove_file(path);
                Err(e)
            }
        }
    }

    /// Makes an empty file whose memory goes with the process: what bears the name is a link to the process's open file,
    /// so a process that is killed leaves the link and nothing else. EEXIST if there is the name.
    fn new_file(path: &Path) -> Result<File, Errno> {
        let folder = path.parent().ok_or(Errno(libc::EINVAL))?;
        let mut options = File::options();
        options.read(true).write(true).mode(0o600);
        let nameless = options.clone().custom_flags(libc::O_CLOEXEC | libc::O_TMPFILE).open(folder);
        match nameless {
            Ok(file) if !settings::needs_names() => {
                let target = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
                std::os::unix::fs::symlink(target, path)?;
                Ok(file)
            }
            // Not every file system has files without names.
            _ => Ok(options.create_new(true).custom_flags(libc::O_CLOEXEC).open(path)?),
        }
    }

    /// Maps an existing file of at least `least` bytes, all of it.
    pub(crate) fn open(path: &Path, least: usize) -> Result<Self, Errno> {
        // Without blocking: behind a link that was left behind there may be anything.
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        let file = File::options().read(true).write(true).custom_flags(flags).open(path)?;
        let len = usize::try_from(file.metadata()?.len()).map_err(|_| Errno(libc::EFBIG))?;
        if len < least {
            return Err(Errno(libc::ESTALE));
        }
        Self::map(&file, len)
    }

    /// Maps the first `len` bytes of an open file.
    pub(crate) fn map(file: &File, len: usize) -> Result<Self, Errno> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping of a file of ours, at an address of the kernel's choice.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        match NonNull::new(base.cast()) {
            Some(base) => Ok(Self { base, len }),
            None => Err(Errno(libc::ENOMEM)),
        }
    }

    /// Returns the object at a byte offset, or `None` if it doesn't fit or isn't aligned.
    pub(crate) fn at<T: Shared>(&self, offset: usize) -> Option<&T> {
        let end = offset.checked_add(size_of::<T>())?;
        if end > self.len || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: in bounds and aligned (the base is page-aligned), and `Shared` allows any content.
        Some(unsafe { &*self.base.as_ptr().add(offset).cast::<T>() })
    }

    /// Returns `count` objects from a byte offset on, or `None` if they don't fit or aren't aligned.
    pub(crate) fn array<T: Shared>(&self, offset: usize, count: usize) -> Option<&[T]> {
        let end = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
        if end > self.len || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: as in `at`.
        Some(unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(offset).cast::<T>(), count) })
    }

    /// Returns how many bytes are mapped.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns where `len` bytes at an offset lie, or `None` if they reach beyond the mapping.
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> Option<*mut u8> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: in bounds.
        Some(unsafe { self.base.as_ptr().add(offset) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are those of our own mmap, and references into it end with `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Backs a range of a file with memory now.
pub(crate) fn reserve_range(file: &File, offset: usize, len: usize) -> Result<(), Errno> {
    if len == 0 {
        return Ok(());
    }
    // SAFETY: no memory is passed.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), offset as i64, len as i64) } {
        0 => Ok(()),
        e => Err(Errno(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Mapping, Shared};

    // SAFETY: an atomic.
    unsafe impl Shared for AtomicU64 {}

    #[test]
    fn objects_beyond_the_end_are_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (mapping, _file) = Mapping::create(&dir.path().join("f"), 64, 64).unwrap();
        assert!(mapping.at::<AtomicU64>(56).is_some());
        assert!(mapping.at::<AtomicU64>(57).is_none());
        assert!(mapping.at::<AtomicU64>(64).is_none());
        assert!(mapping.at::<AtomicU64>(usize::MAX).is_none());
        assert!(mapping.array::<AtomicU64>(8, 7).is_some());
        assert!(mapping.array::<AtomicU64>(8, 8).is_none());
        assert!(mapping.array::<AtomicU64>(0, usize::MAX).is_none());
        assert!(mapping.bytes(60, 5).is_none());
    }

    #[test]
    fn both_mappings_of_a_file_show_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let (a, _file) = Mapping::create(&path, 4096, 4096).unwrap();
        let b = Mapping::open(&path, 4096).unwrap();
        a.at::<AtomicU64>(8).unwrap().store(7, Ordering::Relaxed);
        assert_eq!(b.at::<AtomicU64>(8).unwrap().load(Ordering::Relaxed), 7);
        assert!(Mapping::open(&path, 4097).is_err());
    }
}
