//! What a rank finds in its environment.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use efa_core::Error;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::cli::Provider;

/// The variables of a job, and the socket that rank 0 inherits for the rendezvous.
///
/// The launcher binds the socket, so that the port in the environment is taken before any rank looks for it.
pub(super) struct Environment {
    ranks: usize,
    listener: Option<TcpListener>,
    rendezvous: String,
    key: String,
    job: String,
    provider: Option<Provider>,
}

impl Environment {
    /// Draws a job key and a job id, and binds the rendezvous to a free port of the loopback interface.
    pub(super) fn new(ranks: usize, provider: Option<Provider>) -> Result<Self, Error> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| {
            Error::system(error, "cannot bind the rendezvous", "check that the loopback interface is up")
        })?;
        let address = listener.local_addr().map_err(|error| {
            Error::system(
                error,
                "cannot read the rendezvous address",
                "check that the loopback interface is up",
            )
        })?;
        Ok(Self {
            ranks,
            listener: Some(listener),
            rendezvous: address.to_string(),
            key: random_hex::<32>()?,
            job: random_hex::<8>()?,
            provider,
        })
    }

    /// Calls `start` with the variables of `rank`; no value means that the variable must not be set.
    ///
    /// The socket can be inherited only while rank 0 starts, and is closed here afterwards: when rank 0 goes, the
    /// port goes.
    pub(super) fn with<T>(&mut self, rank: usize, start: impl FnOnce(&[(&str, Option<OsString>)]) -> T) -> T {
        let listener = if rank == 0 { self.listener.take() } else { None };
        let inherited = listener.as_ref().filter(|listener| fcntl_setfd(listener, FdFlags::empty()).is_ok());
        start(&[
            ("EFA_RANK", Some(rank.to_string().into())),
            ("EFA_WORLD_SIZE", Some(self.ranks.to_string().into())),
            ("EFA_LOCAL_RANK", Some(rank.to_string().into())),
            ("EFA_LOCAL_WORLD_SIZE", Some(self.ranks.to_string().into())),
            ("EFA_RENDEZVOUS", Some(self.rendezvous.clone().into())),
            ("EFA_RENDEZVOUS_FD", inherited.map(|listener| listener.as_raw_fd().to_string().into())),
            ("EFA_JOB_KEY", Some(self.key.clone().into())),
            ("EFA_JOB_ID", Some(self.job.clone().into())),
            (
                "EFA_PROVIDER",
                self.provider.map(|p| p.to_string().into()).or(std::env::var_os("EFA_PROVIDER")),
            ),
        ])
    }
}

fn random_hex<const BYTES: usize>() -> Result<String, Error> {
    let mut bytes = [0u8; BYTES];
    // Up to 256 bytes come whole.
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|error| {
        Error::system(error.into(), "cannot draw a job key", "check the kernel's random source")
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
