//! What `efa doctor` finds out on the spot: the state of the hosts, and which ranks of a running job reach each other.

mod checks;
mod host;
mod job;
mod machine;
mod matrix;
mod pairs;
mod report;

use std::process::ExitCode;

use efa_core::admission::source;
use efa_core::this_member;

use super::args::DoctorArgs;
use super::judge::{self, Judged};
use super::picture;
use crate::failure::{EXIT_UNDETERMINED, EXIT_USAGE, Failure};
use crate::plot_file::PlotFile;
pub(super) use job::doctor as job;
pub(crate) use job::{Examination, Place, examine_job};
use report::{Diagnosis, reject_unused_rules};

/// Judges this host and checks what it needs.
pub(super) fn this_host(args: &DoctorArgs, target: Option<PlotFile>) -> Result<ExitCode, Failure> {
    let hosts = host::group(vec![(host::name(), Some(host::State::of_this_host(1)))]);
    let judged = judge_this_host(args)?;
    if let Some(target) = target {
        target.write(&picture::picture(&judged.report, &judged.members, judged.lookup.rules()))?;
    }
    Diagnosis { report: judged.report, provider: None, hosts, pairs: None }.print(args)
}

/// Judges this host alone.
pub(super) fn judge_this_host(args: &DoctorArgs) -> Result<Judged, Failure> {
    let me = this_member(0, None).map_err(|error| Failure::new(error, EXIT_UNDETERMINED))?;
    reject_unused_rules(args, me.site)?;
    let lookup = source::look_up(std::slice::from_ref(&me), args.security_groups.as_deref())
        .map_err(|error| Failure::new(error, EXIT_USAGE))?;
    judge::members(args, vec![me], lookup)
}
