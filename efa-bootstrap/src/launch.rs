//! What a launcher sets so that the processes it starts become one job.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use super::key::JobKey;
use super::root_process::RootProcess;
use crate::{Error, Result};

/// The environment of a job on this machine: a reserved port on the loopback interface and a fresh job key.
///
/// Keep it until the job has ended: as long as it lives, the port belongs to the job, from before rank 0 starts.
/// It holds the port without listening on it, and rank 0 shares it (`SO_REUSEPORT`, which the system allows to
/// processes of the same user only). So nobody else can take the port in between, and no file descriptor has to
/// be handed down through shells and wrappers that may close it.
///
/// ```
/// # fn main() -> efa_bootstrap::Result<()> {
/// use efa_bootstrap::{Job, LaunchEnv};
///
/// let launch = LaunchEnv::new(4)?;
/// for rank in 0..4 {
///     // std::process::Command::new(program).envs(launch.variables(rank)) …
///     let variables = launch.variables(rank);
///     let job = Job::from_vars(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()))?;
///     assert_eq!((job.rank, job.size), (rank, 4));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LaunchEnv {
    size: usize,
    id: String,
    key: JobKey,
    address: SocketAddr,
    root: Option<RootProcess>,
    _port: Socket,
}

impl LaunchEnv {
    /// Reserves a port and makes a key for a job of `size` ranks on this machine.
    ///
    /// # Errors
    /// [`Error::System`] if the system gives no port or no random bytes; [`Error::Setting`] for a size of 0.
    pub fn new(size: usize) -> Result<Self> {
        if size == 0 {
            return Err(Error::setting(
                "cannot start a job of 0 ranks",
                "a job has at least one",
                "ask for 1 or more",
            ));
        }
        let key = JobKey::generate()?;
        let (port, address) = reserve().map_err(|error| {
            let what = "cannot reserve a port on the loopback interface for the rendezvous";
            Error::system(error, what, "bring the interface lo up, or free some ports")
        })?;
        // Ports come round again, so the launcher's process id alone or the port alone would not do.
        let id = format!("efa-{}-{}", std::process::id(), address.port());
        Ok(Self { size, id, key, address, root: None, _port: port })
    }

    /// Returns the variables to set for one rank, in addition to what it inherits.
    pub fn variables(&self, rank: usize) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("EFA_RANK", rank.to_string()),
            ("EFA_WORLD_SIZE", self.size.to_string()),
            ("EFA_LOCAL_RANK", rank.to_string()),
            ("EFA_LOCAL_WORLD_SIZE", self.size.to_string()),
            ("EFA_RENDEZVOUS", self.address.to_string()),
            ("EFA_RENDEZVOUS_RESERVED", "1".to_owned()),
            ("EFA_JOB_KEY", self.key.to_hex()),
            ("EFA_JOB_ID", self.id.clone()),
        ];
        if let Some(root) = self.root.filter(|_| rank != 0) {
            variables.push(("EFA_ROOT_PROCESS", root.to_string()));
        }
        variables
    }

    /// Names the process that was started as rank 0. The variables of the other ranks tell of it from now on, so that
    /// they don't wait for a rank 0 whose process ends before it joins the job.
    pub fn set_root_process(&mut self, pid: u32) {
        self.root = RootProcess::of(pid);
    }

    /// Returns the variables that a rank must not inherit, because they would contradict those set. Remove these before
    /// the variables of a rank are set.
    pub fn removed_variables() -> &'static [&'static str] {
        &["EFA_JOB_KEY_FILE", "EFA_ROOT_PROCESS"]
    }

    /// Returns the job's id.
    pub fn job_id(&self) -> &str {
        &self.id
    }

    /// Returns the address at which rank 0 will listen.
    pub fn rendezvous(&self) -> SocketAddr {
        self.address
    }
}

/// Returns a socket bound to a free port that others of this user may share, not listening.
fn reserve() -> std::io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_reserved_port_is_nobody_elses_and_refuses_connections_until_rank_0_listens() {
        let launch = LaunchEnv::new(2).unwrap();
        assert!(TcpListener::bind(launch.rendezvous()).is_err());
        assert!(TcpStream::connect(launch.rendezvous()).is_err());
    }

    #[test]
    fn two_jobs_get_different_ports_keys_and_ids() {
        let (a, b) = (LaunchEnv::new(1).unwrap(), LaunchEnv::new(1).unwrap());
        assert_ne!(a.rendezvous(), b.rendezvous());
        assert_ne!(a.key.to_hex(), b.key.to_hex());
        assert_ne!(a.job_id(), b.job_id());
    }

    #[test]
    fn a_job_of_nobody_is_refused() {
        assert!(matches!(LaunchEnv::new(0), Err(Error::Setting(_))));
    }
}
