//! What can be set about an endpoint.

use std::net::IpAddr;
use std::time::Duration;

use crate::bootstrap::JobSecret;
use crate::error::{Error, Result};
use crate::fabric::Provider;
use crate::input;

/// How an endpoint is opened and how it waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// Which provider carries the traffic. Default: tcp, which every machine has.
    pub provider: Provider,
    /// The device to use, by libfabric's domain name as `efa info` lists it. Default: the provider's first.
    pub device: Option<String>,
    /// The address to bind to. Default: the provider's choice. tcp recognises peers by the address they come from, so
    /// a host with several should have one named here.
    pub source: Option<IpAddr>,
    /// How long an operation may take before it is ended with an error. Default: 5 minutes, time for a peer to finish
    /// some computing first; `EFA_TIMEOUT`, in seconds, overrides it.
    pub timeout: Duration,
    /// How long a waiter spins before it yields and then sleeps. Default: 100 us, several round trips of any provider.
    /// Waits that end in sleep make it shorter for those that follow, down to a sixteenth.
    pub spin: Duration,
    /// How many ranks share this machine's cores. Default: 1. With more ranks than cores nobody spins.
    pub local_ranks: usize,
    /// How many operations the device may hold, each way; more wait in line. Default: 1024, which the providers'
    /// own queues reach too.
    pub depth: usize,
    /// The secret that the ranks of the job share; what tells their messages and connections from those of others is
    /// derived from it. Default: none, for an endpoint that talks to itself only; [`init`](crate::init()) sets it.
    pub secret: Option<JobSecret>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            provider: Provider::Tcp,
            device: None,
            source: None,
            timeout: Duration::from_secs(300),
            spin: Duration::from_micros(100),
            local_ranks: 1,
            depth: 1024,
            secret: None,
        }
    }
}

impl EndpointConfig {
    /// The defaults, with what the environment overrides: `EFA_TIMEOUT`.
    ///
    /// # Errors
    /// [`Error::Setting`] when a variable makes no sense.
    pub fn from_env() -> Result<Self> {
        let mut config = Self::default();
        config.timeout = input::seconds("EFA_TIMEOUT", config.timeout, 0.001..=31_536_000.0)?;
        Ok(config)
    }

    /// Sets the provider.
    pub fn provider(mut self, provider: Provider) -> Self {
        self.provider = provider;
        self
    }

    /// Sets how long an operation may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the address to bind to.
    pub fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Sets how many ranks share this machine's cores.
    pub fn local_ranks(mut self, ranks: usize) -> Self {
        self.local_ranks = ranks;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let bad = |what: &str, why: &str| Err(Error::misuse(what, why, "see EndpointConfig's fields"));
        if self.timeout.is_zero() {
            return bad("cannot open an endpoint with a timeout of zero", "every operation would fail");
        }
        if self.depth == 0 {
            return bad("cannot open an endpoint with a depth of zero", "no operation could start");
        }
        Ok(())
    }
}
