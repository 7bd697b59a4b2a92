//! Starting a benchmark by hand: this program again, as the ranks of a job on this machine.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use efa_core::Error;
use efa_core::bootstrap::{Job, Launcher};
use efa_core::fabric::{Provider, ProviderChoice};

use crate::emulation::EmulationArgs;
use crate::failure::Failure;
use crate::run::{Launch, Output, Part, launch};

/// How many ranks are started unless told otherwise.
pub(super) const DEFAULT_RANKS: usize = 2;
/// How long the ranks have to end when one fails: they have nothing to save.
const GRACE: Duration = Duration::from_secs(2);

/// Returns the job that this process is a rank of, or `None` where it was started by hand. `ranks` is what was asked for.
///
/// # Errors
/// [`Error::Setting`] for another number of ranks than the job has.
pub(super) fn job(ranks: Option<usize>) -> Result<Option<Job>, Error> {
    let job = Job::from_env()?;
    if job.launcher == Launcher::Alone {
        return Ok(None);
    }
    if let Some(ranks) = ranks.filter(|&ranks| ranks != job.size) {
        return Err(Error::setting(
            format!("cannot start {ranks} ranks"),
            format!("this process is already one of a job of {}", job.size),
            "leave -n out, or start it outside the job",
        ));
    }
    Ok(Some(job))
}

/// Starts this program again as so many ranks, with the same arguments, and returns the status of the job.
pub(super) fn ranks(
    ranks: usize,
    provider: Option<ProviderChoice>,
    emulation: &EmulationArgs,
) -> Result<ExitCode, Failure> {
    let myself = std::env::current_exe()
        .map_err(|error| Error::system(error, "cannot start the ranks", "check that /proc is mounted"))?;
    let program: Vec<OsString> =
        std::iter::once(myself.into_os_string()).chain(std::env::args_os().skip(1)).collect();
    launch(&Launch {
        parts: &[Part { ranks, program }],
        bind: None,
        limit: None,
        provider: provider.or_else(|| emulated_efa(emulation)),
        policy: None,
        emulation,
        output: Output::FirstRankSpeaks,
        grace: GRACE,
    })
}

/// Returns efa for ranks that get an emulated EFA, unless the environment names a provider. `auto` would measure something
/// else without a word where libfabric has no efa provider.
fn emulated_efa(emulation: &EmulationArgs) -> Option<ProviderChoice> {
    let is_open = std::env::var_os("EFA_PROVIDER").is_none_or(|name| name.is_empty());
    (emulation.emulate_efa && is_open).then_some(ProviderChoice::Only(Provider::Efa))
}
