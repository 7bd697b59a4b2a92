//! Stands in for `live` in a build without libfabric: refuses to look at this host or at a running job.

use std::process::ExitCode;

use super::args::DoctorArgs;
use super::judge::Judged;
use crate::absent::absent;
use crate::failure::Failure;
use crate::plot_file::PlotFile;

pub(super) fn this_host(_args: &DoctorArgs, _target: Option<PlotFile>) -> Result<ExitCode, Failure> {
    Err(absent("judge this host without --members"))
}

pub(super) fn judge_this_host(_args: &DoctorArgs) -> Result<Judged, Failure> {
    Err(absent("judge this host without --members"))
}

pub(super) fn job(_args: &DoctorArgs, _target: Option<PlotFile>) -> Result<ExitCode, Failure> {
    Err(absent("judge a running job without --members"))
}
