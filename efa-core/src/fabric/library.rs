//! The libfabric that this process uses, and those that it does not.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The libfabric that a process uses.
///
/// `Display` gives it as `1.22, built-in (/usr/local/bin/efa): this host has no EFA`, or with the path of a shared library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// Its version, such as `1.22`.
    pub version: String,
    /// Where it comes from: `built-in`; `/opt/amazon/efa`; `system`; `loaded`, if the process had loaded it before it was
    /// needed here; or `EFA_LIBFABRIC`, if that variable names it.
    pub origin: String,
    /// The file that holds its code: a shared library, or the program that it is built into.
    pub path: String,
    /// Why it was chosen.
    pub reason: String,
    /// The libraries that come earlier in the order and were not chosen.
    pub skipped: Vec<SkippedLibrary>,
}

impl Library {
    /// Returns `true` if the library is the built-in one, which has the patches in `efa-sys/patches`.
    pub fn is_built_in(&self) -> bool {
        self.origin == "built-in"
    }

    /// The library as a part of a sentence, without the reason.
    pub(crate) fn in_brief(&self) -> String {
        let place = if self.is_built_in() { &self.origin } else { &self.path };
        format!("libfabric {} ({place})", self.version)
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, origin, path, reason, .. } = self;
        match self.is_built_in() {
            true => write!(f, "{version}, {origin} ({path}): {reason}"),
            false => write!(f, "{version}, {path}: {reason}"),
        }
    }
}

/// A libfabric that was looked for and not chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedLibrary {
    /// The path or the name that was looked for.
    pub library: String,
    /// Why it was not chosen.
    pub reason: String,
}

impl fmt::Display for SkippedLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.library, self.reason)
    }
}
