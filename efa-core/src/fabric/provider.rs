//! The providers we use, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::input;

/// Which part of libfabric carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// An Elastic Fabric Adapter.
    Efa,
    /// Shared memory, between processes of one machine.
    Shm,
    /// TCP sockets.
    Tcp,
    /// TCP sockets as libfabric did them before: slower, for comparison.
    Sockets,
}

impl Provider {
    /// All of them, the fastest first.
    pub const ALL: [Provider; 4] = [Provider::Efa, Provider::Shm, Provider::Tcp, Provider::Sockets];

    /// Its name in libfabric, the same that `--provider` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Efa => "efa",
            Self::Shm => "shm",
            Self::Tcp => "tcp",
            Self::Sockets => "sockets",
        }
    }

    /// Whether its endpoints have an IP address to be bound to.
    pub(crate) fn uses_ip(self) -> bool {
        matches!(self, Self::Tcp | Self::Sockets)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Provider {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name).ok_or_else(|| {
            Error::setting(
                format!("cannot use provider '{name}'"),
                "it is not one of those this library works with",
                "choose efa, shm, tcp or sockets; `efa info` lists what is here",
            )
        })
    }
}

/// A provider by name, or the best there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProviderChoice {
    /// efa where every rank has one; else shm when all ranks are on one host; else tcp.
    #[default]
    Auto,
    /// This one and no other.
    Only(Provider),
}

impl ProviderChoice {
    /// The choice in the environment variable `EFA_PROVIDER`, or [`ProviderChoice::Auto`].
    ///
    /// # Errors
    /// [`Error::Setting`] when the variable names no provider.
    pub fn from_env() -> Result<Self> {
        input::variable("EFA_PROVIDER").map_or(Ok(Self::Auto), |name| name.parse())
    }
}

impl fmt::Display for ProviderChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Only(provider) => provider.fmt(f),
        }
    }
}

impl FromStr for ProviderChoice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            name => name.parse().map(Self::Only),
        }
    }
}

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
