//! MPI: Open MPI and MPICH, as Debian packages them, through the `mpi` crate.
//!
//! The program is `src/bin/mpi_peer.rs`, built once against each MPI with the feature `mpi`.

use std::path::PathBuf;
use std::process::Command;

use efa_core::{Error, Result};

use crate::artifacts::Artifacts;
use crate::case::Case;
use crate::process::{guarded, run};

/// An implementation of MPI, by the names that Debian gives its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// Open MPI, package `libopenmpi-dev`.
    OpenMpi,
    /// MPICH, package `libmpich-dev`.
    Mpich,
}

impl Implementation {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::OpenMpi, Self::Mpich];

    /// Returns the name it is printed under.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenMpi => "Open MPI",
            Self::Mpich => "MPICH",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::OpenMpi => "openmpi",
            Self::Mpich => "mpich",
        }
    }

    fn packages(self) -> &'static str {
        match self {
            Self::OpenMpi => "openmpi-bin libopenmpi-dev",
            Self::Mpich => "mpich libmpich-dev",
        }
    }

    /// Returns the variable that tells a process which one on its host it is.
    fn local_rank(self) -> &'static str {
        match self {
            Self::OpenMpi => "OMPI_COMM_WORLD_LOCAL_RANK",
            Self::Mpich => "MPI_LOCALRANKID",
        }
    }

    /// Returns mpirun with what sends messages along the road that a provider takes: shared memory for shm, else TCP.
    fn launcher(self, provider: &str) -> Command {
        let shared_memory = provider == "shm";
        let mut command = guarded(format!("mpirun.{}", self.suffix()), None);
        command.args(["-n", "2"]);
        match self {
            Self::OpenMpi => {
                let transport = if shared_memory { "self,vader" } else { "self,tcp" };
                command.args(["--bind-to", "none", "--oversubscribe"]);
                command.args(["--mca", "pml", "ob1", "--mca", "btl", transport]);
                command.args(["--mca", "btl_tcp_if_include", "lo"]);
                // Containers and build machines run as root; this program harms nobody.
                command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
            }
            Self::Mpich if shared_memory => {}
            Self::Mpich => {
                // MPICH's own way between hosts, over its libfabric or UCX, is told to use TCP also within this one.
                command.env("MPIR_CVAR_NOLOCAL", "1").env("UCX_TLS", "tcp,self").env("FI_PROVIDER", "tcp");
            }
        }
        command
    }
}

/// The peer, built against one implementation.
#[derive(Clone, Debug)]
pub struct Mpi {
    /// Which one.
    pub implementation: Implementation,
    program: PathBuf,
}

impl Mpi {
    /// Builds the peer with cargo, in a target folder of its own: one build has one MPI.
    ///
    /// # Errors
    /// When the implementation's compiler wrapper isn't installed, or cargo fails.
    pub fn build(artifacts: &Artifacts, implementation: Implementation) -> Result<Self> {
        let suffix = implementation.suffix();
        let wrapper = format!("mpicc.{suffix}");
        if Command::new(&wrapper).arg("-show").output().is_err() {
            return Err(Error::unsupported(
                format!("cannot measure {}", implementation.name()),
                format!("{wrapper} isn't installed"),
                format!("install it: apt-get install {} libclang-dev", implementation.packages()),
            ));
        }
        let program = artifacts.mpi_program("mpi_peer", &wrapper, suffix)?;
        Ok(Self { implementation, program })
    }

    /// Runs both ranks once and returns rank 0's figure.
    ///
    /// # Errors
    /// When mpirun fails, runs past its deadline or prints no number.
    pub fn measure(&self, case: &Case, cpus: [Option<usize>; 2]) -> Result<f64> {
        let what = format!("{}'s {}", self.implementation.name(), case.name());
        let mut command = self.implementation.launcher(&case.provider);
        if let [Some(first), Some(second)] = cpus {
            let pin = format!(
                r#"cpu=$1; [ "${}" = 0 ] || cpu=$2; shift 2; exec taskset --cpu-list "$cpu" "$@""#,
                self.implementation.local_rank()
            );
            command.args(["sh", "-c", &pin, "sh", &first.to_string(), &second.to_string()]);
        }
        command.arg(&self.program).arg(case.measure.name());
        command.args([case.size, case.iterations, case.warmup, case.window].map(|number| number.to_string()));
        let printed = run(&mut command, &what)?;
        let figure = printed.lines().find_map(|line| line.trim().parse().ok());
        figure.ok_or_else(|| {
            Error::setting(format!("cannot read {what}"), printed.trim(), "run it alone to see more")
        })
    }
}
