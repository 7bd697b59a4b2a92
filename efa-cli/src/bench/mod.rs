//! `efa bench`: measures the fabric between ranks.
//!
//! Called by hand, it starts itself again under the launcher; as a rank of a job, whoever started it, it measures.

mod case;
mod collectives;
mod counts;
mod member;
mod options;
mod output;
mod pattern;
mod plot;
mod point_to_point;
mod progress;
mod remote;
mod sample;
mod sizes;
mod statistics;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use efa_core::Error;
use efa_core::bootstrap::{Job, Launcher};

use crate::failure::Failure;
use crate::run::{Launch, Output, launch};
pub(crate) use options::BenchArgs;
use options::Plan;

/// How many ranks are started unless told otherwise.
const DEFAULT_RANKS: usize = 2;
/// How long the ranks have to end when one fails: they have nothing to save.
const GRACE: Duration = Duration::from_secs(2);

/// Measures as a member of the job that this process is in, or else starts a job of its own.
pub(crate) fn bench(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let job = Job::from_env()?;
    if job.launcher != Launcher::Alone {
        if let Some(ranks) = args.ranks.filter(|&ranks| ranks != job.size) {
            return Err(Failure::from(Error::setting(
                format!("cannot start {ranks} ranks"),
                format!("this process is already one of a job of {}", job.size),
                "leave -n out, or start it outside the job",
            )));
        }
        return member::member(args);
    }
    let ranks = args.ranks.unwrap_or(DEFAULT_RANKS);
    // What makes no sense is told once, here, and not by every rank.
    Plan::new(args, ranks)?;
    let myself = std::env::current_exe()
        .map_err(|error| Error::system(error, "cannot start the ranks", "check that /proc is mounted"))?;
    let program: Vec<OsString> =
        std::iter::once(myself.into_os_string()).chain(std::env::args_os().skip(1)).collect();
    launch(&Launch {
        ranks,
        program: &program,
        provider: args.provider,
        policy: None,
        emulation: &args.emulation,
        output: Output::FirstRankSpeaks,
        grace: GRACE,
    })
}
