//! The providers of libfabric that a job may use, by name. Which of them are here is `efa_core::fabric`'s to find out.

use std::fmt;
use std::str::FromStr;

use efa_error::{Error, Result, input};
use serde::{Deserialize, Serialize};

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
    /// All providers, the fastest first.
    pub const ALL: [Provider; 4] = [Provider::Efa, Provider::Shm, Provider::Tcp, Provider::Sockets];

    /// Returns its name in libfabric, which is also what `--provider` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Efa => "efa",
            Self::Shm => "shm",
            Self::Tcp => "tcp",
            Self::Sockets => "sockets",
        }
    }

    /// Returns `true` if its endpoints are bound to an IP address.
    pub fn uses_ip(self) -> bool {
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
    /// Returns the choice in the environment variable `EFA_PROVIDER`, or [`ProviderChoice::Auto`] without it.
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
