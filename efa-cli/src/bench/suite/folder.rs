//! The folder that the suite writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use efa_core::Error;
use serde::Serialize;

/// A folder that was empty when the suite began.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder, or takes one that is empty.
    ///
    /// # Errors
    /// [`Error::Setting`] for a folder that holds something; a path that can't be written to.
    pub(super) fn prepare(path: &Path) -> Result<Self, Error> {
        let what = || format!("cannot write a report to {}", path.display());
        fs::create_dir_all(path).map_err(|error| {
            Error::system(error, what(), "give --report a folder that you may make or write to")
        })?;
        let mut entries = fs::read_dir(path)
            .map_err(|error| Error::system(error, what(), "give --report a folder that you may read"))?;
        if entries.next().is_some() {
            return Err(Error::setting(
                what(),
                "the folder is not empty, and the files of two reports would mix",
                "give --report a folder that does not exist yet, or remove this one",
            ));
        }
        Ok(Self(path.to_owned()))
    }

    /// Returns the path of a file in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a value as JSON, on lines that people can read.
    pub(super) fn json(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value).map_err(|error| self.failed(name, error.into()))?;
        self.text(name, &(text + "\n"))
    }

    /// Writes a text.
    pub(super) fn text(&self, name: &str, text: &str) -> Result<(), Error> {
        fs::write(self.path(name), text).map_err(|error| self.failed(name, error))
    }

    fn failed(&self, name: &str, error: io::Error) -> Error {
        let what = format!("cannot write {}", self.path(name).display());
        Error::system(error, what, "check the room on the disk and the permissions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_or_is_empty() {
        let scratch = tempfile::tempdir().expect("a folder");
        let path = scratch.path().join("one/two");
        let folder = Folder::prepare(&path).expect("it is made");
        assert!(Folder::prepare(&path).is_ok());
        folder.json("file.json", &[1, 2]).expect("it is written");
        let error = Folder::prepare(&path).err().expect("it holds a file");
        assert!(error.to_string().contains("not empty"), "{error}");
        assert!(Folder::prepare(&path.join("file.json")).is_err());
    }
}
