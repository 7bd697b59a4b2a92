//! All ranks of a job together: rank 0 prints one report for all of them.

use std::process::ExitCode;
use std::time::Duration;

use efa_core::admission::{ClosedPath, Facts, Site};
use efa_core::{Error, Init, Judged};

use super::super::args::DoctorArgs;
use super::super::judge::{policy, provider};
use super::super::picture;
use super::matrix::Matrix;
use super::pairs::{Known, Next};
use super::report::{Diagnosis, reject_unused_rules};
use super::{host, pairs};
use crate::exchange::exchange;
use crate::failure::{EXIT_UNDETERMINED, EXIT_USAGE, Failure};
use crate::plot_file::PlotFile;

/// How long all the measuring may take; pairs that it does not get to have no time.
const TIMING: Duration = Duration::from_secs(60);
/// How often pairs are tried of which nothing is known because a closed path took down an endpoint.
const ATTEMPTS: usize = 4;
/// How long the ranks wait for one another between the steps; none takes long.
const STEP: Duration = Duration::from_secs(120);

/// Judges the job that this process is a rank of, tries its pairs if it is admitted, and looks at its hosts.
pub(in crate::doctor) fn doctor(args: &DoctorArgs, target: Option<PlotFile>) -> Result<ExitCode, Failure> {
    let mut init = Init::from_env()?;
    init.provider = provider(args)?;
    init.policy = policy(args)?;
    if let Some(path) = &args.security_groups {
        init.security_groups = Some(path.clone());
    }
    let (rank, limit) = (init.job.rank, init.path);
    let (is_first_of_host, local_ranks) = (init.job.local_rank == 0, init.job.local_size);
    let judged = init.judge().map_err(|error| failure(error, rank))?;
    if judged.members().all(|facts| facts.site == Site::Host)
        && let Err(unused) = reject_unused_rules(args, Site::Host)
    {
        // Every rank comes to this, and a launcher may end the job once the first has ended: rank 0 speaks before that.
        if rank == 0 {
            unused.report();
        }
        judged.control().barrier("the report", STEP).map_err(|error| failure(error, rank))?;
        judged.leave();
        return Err(Failure::quiet(EXIT_USAGE));
    }
    let diagnosis = examine(&judged, is_first_of_host, local_ranks, limit).map_err(|error| {
        if !matches!(error, Error::Aborted { .. } | Error::PeerLost { .. }) {
            judged.control().abort(&error.to_string());
        }
        failure(error, rank)
    })?;
    let members: Vec<Facts> = judged.members().cloned().collect();
    let drawn = target.map_or(Ok(()), |target| {
        target.write(&picture::picture(&diagnosis.report, &members, judged.rules()))
    });
    let told = if rank == 0 { diagnosis.print(args) } else { Ok(diagnosis.status()) };
    let exit = drawn.and(told).unwrap_or_else(Failure::report);
    // A launcher may end the job once a rank has ended with a status other than 0, so nobody goes before all is told.
    judged.control().barrier("the report", STEP).map_err(|error| failure(error, rank))?;
    judged.leave();
    Ok(exit)
}

/// Where this rank is, and how patient it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) local_rank: usize,
    pub(crate) local_size: usize,
    /// How long the first message between two ranks may take.
    pub(crate) limit: Duration,
}

/// What the doctor has found in a running job.
pub(crate) struct Examination {
    /// As `efa doctor` prints it.
    pub(crate) table: String,
    /// As `efa doctor --json` prints it.
    pub(crate) json: serde_json::Value,
    /// As `efa doctor --plot` draws it.
    pub(crate) picture: String,
    /// The exit status: 0 if the job is admitted.
    pub(crate) exit: u8,
}

/// Does what `efa doctor` does in a job; all ranks must call it.
pub(crate) fn examine_job(judged: &Judged, place: Place) -> Result<Examination, Error> {
    let diagnosis = examine(judged, place.local_rank == 0, place.local_size, place.limit)?;
    let members: Vec<Facts> = judged.members().cloned().collect();
    Ok(Examination {
        table: diagnosis.to_table(false),
        json: serde_json::to_value(&diagnosis).expect("plain data"),
        picture: picture::picture(&diagnosis.report, &members, judged.rules()),
        exit: diagnosis.report.exit_status(),
    })
}

fn examine(
    judged: &Judged,
    is_first_of_host: bool,
    local_ranks: usize,
    limit: Duration,
) -> Result<Diagnosis, Error> {
    let control = judged.control();
    // Ranks of a host see the same, and a thousand of them need not say it.
    let state = is_first_of_host.then(|| host::State::of_this_host(local_ranks));
    let states = exchange(control, "the state of the hosts", &(host::name(), state), STEP)?;
    let hosts = host::group(states);
    let provider = Some(judged.provider());
    let mut report = judged.report().clone();
    let mut pairs = None;
    if report.admitted() && control.size() > 1 {
        let matrix = try_pairs(judged, limit)?;
        let members: Vec<Facts> = judged.members().cloned().collect();
        let closed: Vec<ClosedPath> = matrix.closed().collect();
        report = report.with_closed_paths(&members, &closed);
        pairs = Some(matrix);
    }
    Ok(Diagnosis { report, provider, hosts, pairs })
}

fn try_pairs(judged: &Judged, limit: Duration) -> Result<Matrix, Error> {
    let control = judged.control();
    let mut known = Known::new();
    let mut endpoint = judged.open()?;
    for _ in 0..ATTEMPTS {
        let reached = exchange(control, "who was reached", &pairs::reach(&endpoint, &known, limit), STEP)?;
        let next = pairs::learn(&mut known, &reached);
        if next != Next::GoOn {
            drop(endpoint);
            endpoint = judged.open()?;
        }
        if next != Next::OpenAndTry {
            break;
        }
    }
    let timed = exchange(control, "the times", &pairs::time(&endpoint, &known, TIMING), STEP)?;
    Ok(pairs::matrix(control.size(), &known, &timed))
}

/// Makes the failure of a job without a verdict. What another rank has told is not told again by all the rest.
fn failure(error: Error, rank: usize) -> Failure {
    let exit = match error {
        Error::Misuse(_) | Error::Setting(_) => EXIT_USAGE,
        _ => EXIT_UNDETERMINED,
    };
    match error {
        Error::Aborted { .. } | Error::PeerLost { .. } if rank > 0 => Failure::quiet(exit),
        error => Failure::new(error, exit),
    }
}
