//! `--emulate-efa`: lets the ranks find an emulated EFA.

use std::path::{Path, PathBuf};

use clap::Args;
use efa_core::Error;

/// The library that emulates the device, as cargo builds it from `efa-emulator`.
const LIBRARY: &str = "libefa_emulator.so";
/// Names the library where it is not next to this program.
const LIBRARY_VARIABLE: &str = "EFA_EMULATOR_LIBRARY";
/// Set for ranks that have an emulated device.
const JOB_VARIABLE: &str = "EFA_EMULATOR_JOB";

/// Where the folders of jobs with emulated devices are.
const FOLDER_VARIABLE: &str = "EFA_EMULATOR_DIR";

/// The options about an emulated device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct EmulationArgs {
    /// Let the ranks find an emulated EFA
    #[arg(long)]
    pub(crate) emulate_efa: bool,
    /// How many devices each rank finds (1 to 32) [default: 1]
    #[arg(long, value_name = "D", requires = "emulate_efa", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) devices: Option<u8>,
}

impl EmulationArgs {
    /// Returns the variables that the ranks of a job need; none without an emulated device.
    ///
    /// # Errors
    /// [`Error::Setting`] when the library is not found.
    pub(crate) fn variables(&self, job: &str) -> Result<Vec<(&'static str, String)>, Error> {
        if !self.emulate_efa {
            return Ok(Vec::new());
        }
        let library =
            find(std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from), std::env::current_exe().ok())?;
        let preload = match std::env::var("LD_PRELOAD") {
            Ok(others) if !others.is_empty() => format!("{}:{others}", library.display()),
            _ => library.display().to_string(),
        };
        Ok(vec![
            ("LD_PRELOAD", preload),
            (JOB_VARIABLE, job.to_owned()),
            ("EFA_EMULATOR_DEVICES", self.devices.unwrap_or(1).to_string()),
            // The provider would otherwise give traffic within one machine to shared memory, past the device.
            ("FI_EFA_ENABLE_SHM_TRANSFER", "0".to_owned()),
        ])
    }
}

/// Returns the folder that the emulated devices of a job share.
pub(crate) fn folder(job: &str) -> Option<PathBuf> {
    let base = std::env::var_os(FOLDER_VARIABLE).filter(|base| !base.is_empty());
    let base = base.map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    let user = rustix::process::getuid().as_raw();
    std::path::absolute(base.join(format!("efa-emulator.{user}.{job}"))).ok()
}

/// Returns `true` if this process has an emulated device.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os(JOB_VARIABLE).is_some()
}

/// Returns the library: the one named, else the one next to this program.
fn find(named: Option<PathBuf>, program: Option<PathBuf>) -> Result<PathBuf, Error> {
    let places: Vec<PathBuf> = match named {
        Some(named) => vec![named],
        None => {
            let folder = program.as_deref().and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
            vec![folder.join(LIBRARY), folder.join("deps").join(LIBRARY), folder.join("../lib").join(LIBRARY)]
        }
    };
    let found = places.iter().find_map(|place| place.canonicalize().ok().filter(|place| place.is_file()));
    found.ok_or_else(|| {
        let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        Error::setting(
            "cannot emulate an EFA",
            format!("the library that does it is not at {}", looked.join(" nor ")),
            format!(
                "build it with 'cargo build --release -p efa-emulator', or name it in {LIBRARY_VARIABLE}"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_next_to_the_program_or_where_the_variable_says() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("efa");
        let error = find(None, Some(program.clone())).unwrap_err().to_string();
        assert!(error.contains(LIBRARY) && error.contains("cargo build"), "{error}");
        let library = folder.path().join(LIBRARY);
        std::fs::write(&library, "").unwrap();
        assert_eq!(find(None, Some(program)).unwrap(), library.canonicalize().unwrap());
        let elsewhere = folder.path().join("other.so");
        assert!(find(Some(elsewhere.clone()), None).is_err());
        std::fs::write(&elsewhere, "").unwrap();
        assert_eq!(find(Some(elsewhere.clone()), None).unwrap(), elsewhere.canonicalize().unwrap());
    }

    #[test]
    fn without_the_option_the_ranks_get_no_variables() {
        assert_eq!(EmulationArgs::default().variables("job").unwrap(), []);
    }
}
