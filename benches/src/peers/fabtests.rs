//! fabtests: the programs that libfabric's own people measure it with, from the same sources as the library.

use std::path::{Path, PathBuf};
use std::process::Command;

use efa_core::{Error, Result};

use crate::artifacts::{Artifacts, peers_folder};
use crate::case::{Case, Measure};
use crate::process::{free_port, guarded, run_pair};

/// Attempts at a run: the port that was free may be taken by the time the server asks for it.
const ATTEMPTS: usize = 3;

/// The two programs that are measured, built.
#[derive(Clone, Debug)]
pub struct Fabtests {
    ping_pong: PathBuf,
    stream: PathBuf,
}

impl Fabtests {
    /// Compiles them from the sources beside libfabric's and links them to the libfabric that is built into ours.
    ///
    /// # Errors
    /// When there are no sources, or the compiler refuses them.
    pub fn build(artifacts: &Artifacts) -> Result<Self> {
        let Some(sources) = &artifacts.sources else {
            return Err(Error::unsupported(
                "cannot build fabtests",
                "this build has no sources of libfabric",
                "run the comparison with the feature vendored",
            ));
        };
        Ok(Self {
            ping_pong: compile(artifacts, sources, "rdm_tagged_pingpong")?,
            stream: compile(artifacts, sources, "rdm_tagged_bw")?,
        })
    }

    /// Runs server and client once and returns the client's figure.
    ///
    /// # Errors
    /// When either fails or runs past its deadline.
    pub fn measure(&self, case: &Case, cpus: [Option<usize>; 2]) -> Result<f64> {
        let program = match case.measure {
            Measure::Latency => &self.ping_pong,
            Measure::Bandwidth | Measure::MessageRate => &self.stream,
        };
        let what = format!("fabtests' {}", case.name());
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            let mut server = command(program, case, cpus[0], port);
            let mut client = command(program, case, cpus[1], port);
            client.arg("127.0.0.1");
            match run_pair(&mut server, &mut client, port, &what) {
                Ok(printed) => return figure(&printed, case.measure, &what),
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

fn command(program: &Path, case: &Case, cpu: Option<usize>, port: u16) -> Command {
    let mut command = guarded(program, cpu);
    // Addresses are exchanged over a TCP connection of its own (-E), results come in machine-readable form (-m).
    command.args(["-p", &case.provider, "-m"]).arg(format!("-E={port}"));
    command.args(["-S", &case.size.to_string(), "-I", &case.iterations.to_string()]);
    command.args(["-w", &case.warmup.to_string(), "-W", &case.window.to_string()]);
    if case.provider != "shm" {
        command.args(["-s", "127.0.0.1"]);
    }
    command
}

fn compile(artifacts: &Artifacts, sources: &Path, name: &str) -> Result<PathBuf> {
    let fabtests = sources.join("fabtests");
    let files = [
        "common/shared.c",
        "common/hmem.c",
        "common/hmem_cuda.c",
        "common/hmem_neuron.c",
        "common/hmem_rocr.c",
        "common/hmem_synapseai.c",
        "common/hmem_ze.c",
        "benchmarks/benchmark_shared.c",
    ];
    let mut files: Vec<PathBuf> = files.iter().map(|file| fabtests.join(file)).collect();
    files.push(fabtests.join("benchmarks").join(name).with_extension("c"));

    // Warnings are off: the sources aren't ours.
    let mut arguments = ["-w", "-DHAVE_CONFIG_H", "-D_GNU_SOURCE"].map(str::to_owned).to_vec();
    let folders = [
        peers_folder().join("fabtests"),
        fabtests.join("include"),
        fabtests.join("benchmarks"),
        sources.join("include"),
    ];
    arguments.extend(folders.iter().map(|folder| format!("-I{}", folder.display())));
    arguments.extend(artifacts.libfabric.iter().cloned());
    artifacts.compile_c(&format!("fi_{name}"), &files, &arguments)
}

/// Takes the figure out of a line such as
/// `- { xfer_size: 64, iterations: 1000, total: 128000, time: 0.01, MB/sec: 12.8, usec/xfer: 5.0, Mxfers/sec: 0.2 }`.
fn figure(printed: &str, measure: Measure, what: &str) -> Result<f64> {
    let (key, factor) = match measure {
        Measure::Latency => ("usec/xfer: ", 1.0),
        Measure::Bandwidth => ("MB/sec: ", 1.0),
        Measure::MessageRate => ("Mxfers/sec: ", 1e6),
    };
    let value = printed.split_once(key).and_then(|(_, rest)| rest.split([',', ' ']).next());
    match value.and_then(|value| value.parse::<f64>().ok()) {
        Some(value) if value > 0.0 => Ok(value * factor),
        _ => Err(Error::setting(
            format!("cannot read {what}"),
            format!("there is no '{}' above zero in '{}'", key.trim_end_matches([':', ' ']), printed.trim()),
            "run more iterations",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "---\nfi_rdm_tagged_bw -p tcp :\n- { xfer_size: 64, iterations: 1000, total: 64000, \
                           time: 0.000500, MB/sec: 128.000000, usec/xfer: 0.500000, Mxfers/sec: 2.000000 }\n";

    #[test]
    fn each_measure_reads_its_own_figure() {
        assert_eq!(figure(PRINTED, Measure::Latency, "it").unwrap(), 0.5);
        assert_eq!(figure(PRINTED, Measure::Bandwidth, "it").unwrap(), 128.0);
        assert_eq!(figure(PRINTED, Measure::MessageRate, "it").unwrap(), 2e6);
    }

    #[test]
    fn output_without_a_figure_is_an_error() {
        let error = figure("nothing to see\n", Measure::Latency, "fabtests' latency").unwrap_err();
        assert!(error.to_string().contains("'usec/xfer'"), "{error}");
    }
}
