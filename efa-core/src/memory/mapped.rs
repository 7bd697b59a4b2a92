//! Files sent straight from the page cache: [`MappedFile`].

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};

use super::{Buf, copy};
use crate::error::{Error, Result};

/// A file mapped for reading.
///
/// Somebody else may change the file at any time, so there is no way to a `&[u8]` here: the device reads the bytes,
/// or they are copied out. A file that is cut short while mapped kills the process that touches the missing part,
/// with SIGBUS; replace files by renaming, as tools that write checkpoints do.
///
/// Over tcp and shared memory the bytes go out of the system's cache of the file. An EFA can't be given memory that is only
/// readable, so there each operation copies its part first: keep parts to some megabytes.
#[derive(Clone)]
pub struct MappedFile {
    map: Arc<MmapRaw>,
    path: Arc<PathBuf>,
    len: usize,
}

impl MappedFile {
    /// Maps a whole file.
    ///
    /// # Errors
    /// [`Error::System`] when it can't be opened or mapped.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let open = || -> std::io::Result<(MmapRaw, usize)> {
            let file = File::open(path)?;
            let len = usize::try_from(file.metadata()?.len())
                .map_err(|_| std::io::Error::from(std::io::ErrorKind::FileTooLarge))?;
            // An empty file can't be mapped; a page of nothing stands in, and none of it is ever shown.
            let map = match len {
                0 => MmapOptions::new().len(1).map_anon()?.into(),
                _ => MmapOptions::new().len(len).map_raw_read_only(&file)?,
            };
            Ok((map, len))
        };
        let (map, len) = open().map_err(|source| Error::file(source, path))?;
        Ok(Self { map: Arc::new(map), path: Arc::new(path.to_path_buf()), len })
    }

    /// The file's size in bytes when it was mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the file was empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of the file, to be given to a send or a remote write.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the file has no such bytes.
    pub fn slice(&self, range: Range<usize>) -> Result<MappedSlice> {
        self.check(&range)?;
        Ok(MappedSlice { file: self.clone(), range })
    }

    /// Copies bytes out, from `offset` on.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the file ends before that.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        self.check(&(offset..offset.saturating_add(into.len())))?;
        // SAFETY: the range is within the mapping and `into` is other memory; no reference to the mapping is formed.
        unsafe {
            copy::from_shared(self.map.as_ptr().add(offset), into.as_mut_ptr(), into.len());
        }
        Ok(())
    }

    fn check(&self, range: &Range<usize>) -> Result<()> {
        if range.start <= range.end && range.end <= self.len {
            return Ok(());
        }
        Err(Error::misuse(
            format!("cannot take bytes {} to {} of {}", range.start, range.end, self.path.display()),
            format!("the file has {} bytes", self.len),
            "stay within the file",
        ))
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile").field("path", &self.path).field("len", &self.len).finish()
    }
}

/// A part of a [`MappedFile`]; it keeps the file mapped.
#[derive(Clone, Debug)]
pub struct MappedSlice {
    file: MappedFile,
    range: Range<usize>,
}

// SAFETY: the mapping stays where it is while any slice of it lives, and file contents are initialised.
unsafe impl Buf for MappedSlice {
    fn as_ptr(&self) -> *const u8 {
        // SAFETY: `slice` checked that the range is within the mapping.
        unsafe { self.file.map.as_ptr().add(self.range.start) }
    }

    fn byte_len(&self) -> usize {
        self.range.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_gives_its_bytes_and_nothing_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, b"0123456789").unwrap();
        let file = MappedFile::open(&path).unwrap();
        let mut middle = [0; 4];
        file.read_at(3, &mut middle).unwrap();
        assert_eq!(&middle, b"3456");
        assert_eq!(file.slice(2..10).unwrap().byte_len(), 8);
        assert!(file.slice(2..11).is_err());
        assert!(file.read_at(8, &mut middle).is_err());
    }

    #[test]
    fn an_empty_file_maps_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        std::fs::write(&path, b"").unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert!(file.is_empty());
        assert_eq!(file.slice(0..0).unwrap().byte_len(), 0);
        let missing = MappedFile::open(folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}
