//! `--plot FILE.svg`: members in their subnets, with network cards, interfaces and security groups, and what is wrong
//! marked where it is.

mod layout;
mod svg;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use efa_admission::{Facts, Report, SecurityGroups};
use efa_error::Error;

use crate::failure::{EXIT_USAGE, Failure};

/// The file that a picture goes to, opened before anything is judged. Where no picture comes of it, a file that was not
/// there before is removed.
pub(super) struct Target {
    path: PathBuf,
    file: File,
    is_new: bool,
    is_drawn: bool,
}

impl Target {
    /// Opens the file for writing, and leaves what is in it until there is a picture.
    ///
    /// # Errors
    /// A path that can't be written to.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let is_new = !path.exists();
        match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file, is_new, is_drawn: false }),
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

    /// Draws the picture. `rules` says what groups let through.
    pub(super) fn draw(
        mut self,
        report: &Report,
        members: &[Facts],
        rules: &SecurityGroups,
    ) -> Result<(), Failure> {
        let text = layout::picture(report, members, rules);
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(text.as_bytes()));
        self.is_drawn = true;
        written.map_err(|error| {
            let what = format!("cannot write the picture to {}", self.path.display());
            Failure::from(Error::system(error, what, "check the room on the disk"))
        })
    }
}

/// Returns the picture as an SVG document.
pub(super) fn drawn(report: &Report, members: &[Facts], rules: &SecurityGroups) -> String {
    layout::picture(report, members, rules)
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_new && !self.is_drawn {
            let _ = fs::remove_file(&self.path);
        }
    }
}
