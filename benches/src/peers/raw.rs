//! The limits: C programs of ours on bare TCP sockets and on bare shared memory, without libfabric.

use std::path::PathBuf;

use efa_core::{Error, Result};

use crate::artifacts::{Artifacts, peers_folder};
use crate::case::Case;
use crate::process::{guarded, run};

/// A built limit.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The name it is printed under.
    pub name: &'static str,
    program: PathBuf,
}

impl Raw {
    /// Builds the limit of the road that a provider takes: shared memory for shm, sockets for all others.
    ///
    /// # Errors
    /// When the compiler isn't there or fails.
    pub fn build(artifacts: &Artifacts, provider: &str) -> Result<Self> {
        let (name, file) = if provider == "shm" {
            ("raw shared memory", "raw_memory")
        } else {
            ("raw sockets", "raw_sockets")
        };
        let source = peers_folder().join(file).with_extension("c");
        Ok(Self { name, program: artifacts.compile_c(file, &[source], &["-Wall".to_owned()])? })
    }

    /// Runs it once; it starts its second process itself.
    ///
    /// # Errors
    /// When it fails, runs past its deadline or prints no number.
    pub fn measure(&self, case: &Case, cpus: [Option<usize>; 2]) -> Result<f64> {
        let mut command = guarded(&self.program, None);
        command.arg(case.measure.name());
        command.args([case.size, case.iterations, case.warmup, case.window].map(|number| number.to_string()));
        command.args(cpus.map(|cpu| cpu.map_or("-1".to_owned(), |cpu| cpu.to_string())));
        let printed = run(&mut command, &format!("{}, {}", self.name, case.name()))?;
        printed.trim().parse().map_err(|_| {
            Error::setting(format!("cannot read the figure of {}", self.name), printed.trim(), "run it alone")
        })
    }
}
