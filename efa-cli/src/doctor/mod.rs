//! `efa doctor`: judges this host, the job that it is started in, or a job that files describe.
//!
//! `judge` reaches the verdict and `print` shows it. `live` looks at the hosts and tries the pairs of a running job.

#[cfg(not(feature = "libfabric"))]
mod absent;
mod args;
mod judge;
#[cfg(feature = "libfabric")]
mod live;
mod picture;
mod pipeline;
mod print;
mod template;
mod watch;

use std::path::Path;
use std::process::ExitCode;

use efa_bootstrap::{Job, Launcher};
use efa_error::Error;

use crate::failure::Failure;
use crate::plot_file::PlotFile;
#[cfg(not(feature = "libfabric"))]
use absent as live;
pub(crate) use args::DoctorArgs;
#[cfg(feature = "libfabric")]
pub(crate) use live::{Examination, Place, examine_job};

/// Prints the report and exits as it says: 0 admitted, 1 refused, 3 undetermined.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let job = Job::from_env()?;
    if let Some(interval) = args.watch {
        if job.launcher != Launcher::Alone {
            return Err(Failure::from(Error::setting(
                "cannot use --watch among the ranks of a job",
                "it goes on until it is interrupted, and the job would wait for it",
                "start it beside the job, on one host or with --members",
            )));
        }
        return watch::watch(interval, || match &args.members {
            Some(path) => judge::file(args, path).map(|it| it.report),
            None => live::judge_this_host(args).map(|it| it.report),
        });
    }
    // A path that can't be written to must not cost a whole judgement. All ranks of a job would draw the same.
    let target = args.plot.as_deref().filter(|_| job.rank == 0).map(PlotFile::open).transpose()?;
    match &args.members {
        Some(path) => described_job(args, path, target, job.rank == 0),
        None if job.launcher == Launcher::Alone => live::this_host(args, target),
        None => live::job(args, target),
    }
}

/// Judges the job that a file describes. All ranks of a running job would say the same, so one of them `tells`.
fn described_job(
    args: &DoctorArgs,
    path: &Path,
    target: Option<PlotFile>,
    tells: bool,
) -> Result<ExitCode, Failure> {
    let judged = judge::file(args, path)?;
    if let Some(target) = target {
        target.write(&picture::picture(&judged.report, &judged.members, judged.lookup.rules()))?;
    }
    let report = &judged.report;
    if !tells {
        return Ok(ExitCode::from(report.exit_status()));
    }
    print::print(args, report, report, |coloured| report.to_table(coloured))
}
