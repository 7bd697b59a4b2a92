//! The file that `--plot` names: checked before the work, and written after it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use efa_error::Error;

use crate::failure::{EXIT_USAGE, Failure};

/// The file that a picture goes to, open for writing. Where no picture comes of it, a file that was not there before is
/// removed.
pub(crate) struct PlotFile {
    path: PathBuf,
    file: File,
    is_new: bool,
    is_written: bool,
}

impl PlotFile {
    /// Opens the file for writing, and leaves what is in it until there is a picture.
    ///
    /// # Errors
    /// A name that ends in another format's suffix, and a path that can't be written to.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if let Some(suffix) = path.extension().filter(|suffix| !suffix.eq_ignore_ascii_case("svg")) {
            return Err(Failure::from(Error::setting(
                format!("cannot write the picture to {}", path.display()),
                format!("pictures are SVG, and the name ends in .{}", suffix.display()),
                format!("name it {}", path.with_extension("svg").display()),
            )));
        }
        let is_new = !path.exists();
        match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file, is_new, is_written: false }),
            Err(error) => Err(Failure::new(
                Error::system(
                    error,
                    format!("cannot write the picture to {}", path.display()),
                    "give --plot a file in a folder that there is",
                ),
                EXIT_USAGE,
            )),
        }
    }

    /// Replaces what is in the file by a picture.
    pub(crate) fn write(mut self, svg: &str) -> Result<(), Failure> {
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(svg.as_bytes()));
        self.is_written = true;
        written.map_err(|error| {
            let what = format!("cannot write the picture to {}", self.path.display());
            Failure::from(Error::system(error, what, "check the room on the disk"))
        })
    }
}

impl Drop for PlotFile {
    fn drop(&mut self) {
        if self.is_new && !self.is_written {
            let _ = fs::remove_file(&self.path);
        }
    }
}
