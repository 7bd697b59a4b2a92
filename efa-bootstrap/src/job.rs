//! Who is in the job, and where its members meet.

use std::env::VarError;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use super::key::JobKey;
use super::nesting::Nesting;
use super::root_process::RootProcess;
use super::{Control, ControlConfig};
use super::{ancestors, environment};
use crate::{Error, Result};

/// The most ranks a job may have; a larger number is taken for a mistake.
pub const MAX_RANKS: usize = 1 << 20;

/// Who started this process as a member of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Launcher {
    /// `efa run`, or anything else that sets `EFA_RANK`.
    Efa,
    /// PyTorch's torchrun, or anything else that sets `RANK`, `WORLD_SIZE` and `MASTER_ADDR`.
    Torchrun,
    /// Slurm's `srun`.
    Slurm,
    /// Open MPI's `mpirun`.
    OpenMpi,
    /// MPICH's Hydra (`mpiexec`), also that of Intel MPI and MVAPICH.
    Mpich,
    /// Kubernetes: an Indexed Job or a JobSet, one rank in each pod.
    Kubernetes,
    /// Nobody: a job of one.
    Alone,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Efa => "efa run",
            Self::Torchrun => "torchrun",
            Self::Slurm => "Slurm",
            Self::OpenMpi => "Open MPI",
            Self::Mpich => "MPICH",
            Self::Kubernetes => "Kubernetes",
            Self::Alone => "no launcher",
        })
    }
}

/// The TCP address at which rank 0 waits for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendezvous {
    /// A host name or an IPv4 or IPv6 address (without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// True when the launcher holds the port for rank 0 (see [`LaunchEnv`](super::LaunchEnv)), which then
    /// shares it instead of demanding it for itself.
    pub reserved: bool,
    /// The process of rank 0, if the launcher named it: when that has ended without listening, nobody waits for it.
    pub root: Option<RootProcess>,
}

impl Rendezvous {
    /// Makes the address `host:port`, not held by a launcher.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, reserved: false, root: None }
    }

    /// Returns the host as an IP address, if it is written as one.
    pub(super) fn literal_ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for Rendezvous {
    type Err = Error;

    /// Reads `host:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::setting(
                format!("cannot use the rendezvous address '{text}'"),
                why,
                "write it as host:port or [IPv6 address]:port",
            )
        };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(|| bad("it has no port"))?;
        let port = match port.parse() {
            Ok(0) | Err(_) => return Err(bad("its port is not a number from 1 to 65535")),
            Ok(port) => port,
        };
        let host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err(bad("what is in brackets is no IPv6 address")),
            None if host.contains(':') => return Err(bad("an IPv6 address needs brackets")),
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(bad("it has no host"));
        }
        Ok(Self::new(host, port))
    }
}

impl fmt::Display for Rendezvous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// One member's view of the job: its own number, how many there are, and how they find one another.
#[derive(Clone, Debug)]
pub struct Job {
    /// This process's number, from 0.
    pub rank: usize,
    /// How many processes the job has.
    pub size: usize,
    /// This process's number among those of its host, from 0.
    pub local_rank: usize,
    /// How many of the job's processes run on this host.
    pub local_size: usize,
    /// Who started it.
    pub launcher: Launcher,
    /// Where rank 0 waits for the others; needed for any job of more than one.
    pub rendezvous: Option<Rendezvous>,
    /// The secret of the job. Without one its members must all be processes of one user on one host.
    pub key: Option<JobKey>,
    /// The launcher's name for this job; empty when it has none. Members with different ids don't mix.
    pub id: String,
    /// The name of this host.
    pub host: String,
    /// Why this process is a job of one although the environment speaks of a larger one, with what to do: in the shell of
    /// a batch job, say.
    pub note: Option<String>,
}

impl Job {
    /// Finds out from the environment which member of which job this process is.
    ///
    /// These launchers are recognised:
    ///
    /// | launcher | recognised by | rank and size | default rendezvous |
    /// |---|---|---|---|
    /// | `efa run` | `EFA_RANK` or `EFA_WORLD_SIZE` | `EFA_RANK`, `EFA_WORLD_SIZE`, `EFA_LOCAL_RANK`, `EFA_LOCAL_WORLD_SIZE` | none: `EFA_RENDEZVOUS` |
    /// | torchrun | `RANK` and one of `WORLD_SIZE`, `MASTER_ADDR`, `TORCHELASTIC_RUN_ID` | `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `LOCAL_WORLD_SIZE` | `MASTER_ADDR`, port 10000 plus the last four digits of `MASTER_PORT`, or 20000 plus them if that is `MASTER_PORT` itself |
    /// | Open MPI | `OMPI_COMM_WORLD_RANK` | `OMPI_COMM_WORLD_RANK`, `_SIZE`, `_LOCAL_RANK`, `_LOCAL_SIZE` | on one host loopback, port from `PMIX_NAMESPACE` or `OMPI_MCA_ess_base_jobid` |
    /// | MPICH | `PMI_RANK` and `MPI_LOCALRANKID` | `PMI_RANK`, `PMI_SIZE`, `MPI_LOCALRANKID`, `MPI_LOCALNRANKS` | on one host loopback, port from `EFA_LAUNCHER_PID`, by default Hydra's proxy, else the parent process |
    /// | Slurm | `SLURM_PROCID` in a step of `srun` (`SLURM_STEP_ID`) | that, `SLURM_STEP_NUM_TASKS` or `SLURM_NTASKS`, `SLURM_LOCALID`, `SLURM_STEP_TASKS_PER_NODE` or `SLURM_TASKS_PER_NODE` | first host of `SLURM_STEP_NODELIST` or `SLURM_JOB_NODELIST`, with `-m arbitrary` of `SLURM_HOSTFILE`; port from the job and step ids |
    /// | Kubernetes | `JOB_COMPLETION_INDEX` and `EFA_WORLD_SIZE` | those, one rank in each pod | the pod with index 0 by its name in the headless service, port 29400 |
    /// | none | none of these | 0 of 1 | |
    ///
    /// Where the variables of several launchers are there, the innermost counts, since the others started that one and not
    /// this process: the one whose variables this process's nearest ancestors did not have (`/proc/PID/environ`). Where that
    /// doesn't tell, an `EFA_RANK` counts that a wrapper has set, and else the first in the table. The variables of an outer `efa run` are then ignored.
    ///
    /// The shell of a batch job (`sbatch`, `salloc`) is no rank: it is a job of one, with a [note](Self::note).
    ///
    /// For every launcher `EFA_RENDEZVOUS=host:port` replaces the default rendezvous, `EFA_JOB_KEY` (64 hexadecimal
    /// digits) or `EFA_JOB_KEY_FILE` (a file that holds them) gives the job key, and `EFA_JOB_ID` replaces the job's
    /// id. If all ranks are on one host, the default rendezvous is on its loopback interface.
    /// `EFA_RENDEZVOUS_RESERVED=1` says that the launcher holds the port; see [`LaunchEnv`](super::LaunchEnv).
    ///
    /// # Errors
    /// [`Error::Setting`] naming the variable that is missing or makes no sense.
    pub fn from_env() -> Result<Self> {
        let variable = |name: &str| match std::env::var(name) {
            Ok(value) => Some(value),
            // Taken for what it looks like, so that it is refused rather than overlooked.
            Err(VarError::NotUnicode(value)) => Some(value.to_string_lossy().into_owned()),
            Err(_) if name == environment::LAUNCHER_PID => Some(ancestors::launcher_pid().to_string()),
            Err(_) => None,
        };
        let job = environment::recognise(&variable, &Nesting::of_this_process())?;
        log::info!("rank {} of {}, started by {}", job.rank, job.size, job.launcher);
        if let Some(note) = &job.note {
            log::warn!("{note}");
        }
        Ok(job)
    }

    /// Returns the same from any source of variables, of which nobody knows who set them: where several launchers did,
    /// the first in the table of [`from_env`](Self::from_env) counts.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_vars(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        environment::recognise(variable, &Nesting::unknown())
    }

    /// Makes a job of one, which needs no rendezvous.
    pub fn alone() -> Self {
        Self {
            rank: 0,
            size: 1,
            local_rank: 0,
            local_size: 1,
            launcher: Launcher::Alone,
            rendezvous: None,
            key: None,
            id: String::new(),
            host: super::address::host_name(),
            note: None,
        }
    }

    /// Meets the other members: returns when all have arrived, with this member's connection to them.
    ///
    /// Rank 0 listens at the rendezvous, the others connect to it and keep trying until `deadline` has passed. The
    /// shortest deadline of any member counts for all.
    ///
    /// # Errors
    /// - [`Error::Setting`]: no rendezvous, or one that isn't on the loopback interface and no job key.
    /// - [`Error::System`]: rank 0 can't listen at the rendezvous, because another program does, say.
    /// - [`Error::Timeout`]: rank 0 can't be reached, or some ranks never came; they are named, to everyone.
    /// - [`Error::Rendezvous`]: wrong job key, two members with one rank, members that disagree about the size of
    ///   the job, or different versions of this library.
    /// - [`Error::PeerLost`]: a member went away before all had arrived.
    pub fn connect(&self, config: &ControlConfig, deadline: Duration) -> Result<Control> {
        Control::connect(self, config, deadline)
    }

    /// Checks that the numbers fit one another.
    pub(super) fn validate(&self) -> Result<()> {
        let bad = |what: String, why: String| {
            Err(Error::setting(
                what,
                why,
                "start every rank with the same size, and ranks from 0 to size - 1",
            ))
        };
        if self.size == 0 || self.size > MAX_RANKS {
            return bad(
                format!("a job of {} ranks is not possible", self.size),
                format!("it has 1 to {MAX_RANKS}"),
            );
        }
        if self.rank >= self.size {
            let why = format!("the job has {} ranks, counted from 0", self.size);
            return bad(format!("there is no rank {}", self.rank), why);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendezvous_is_read_and_printed_alike() {
        for text in ["node-a:4711", "192.0.2.7:1", "[2001:db8::1]:65535", "localhost:29501"] {
            assert_eq!(text.parse::<Rendezvous>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_rendezvous_that_makes_no_sense_is_refused() {
        for text in [
            "",
            "node-a",
            ":1",
            "node-a:",
            "node-a:0",
            "node-a:65536",
            "node-a:x",
            "2001:db8::1:5",
            "[x]:1",
            "a b:1",
        ] {
            let error = text.parse::<Rendezvous>().unwrap_err();
            assert!(matches!(error, Error::Setting(_)), "{text}: {error}");
        }
    }

    #[test]
    fn a_job_does_not_print_its_key() {
        let key = JobKey::from_hex("test", &"ab".repeat(32)).unwrap();
        let job = Job { key: Some(key), ..Job::alone() };
        assert!(!format!("{job:?}").contains("abab"));
    }
}
