//! What the suite has found out.

use efa_core::fabric::Provider;
use efa_core::{Error, JobReport};

use super::others::Others;
use crate::bench::case::Case;
use crate::bench::output::Record;
use crate::doctor::Examination;
use crate::emulation::is_emulated;
use crate::info::Info;

/// What the suite has found out, at rank 0.
pub(super) struct Results {
    pub(super) quick: bool,
    pub(super) examination: Examination,
    /// What this host has, or why it can't be told.
    pub(super) info: Result<Info, Error>,
    /// Absent if the job was refused.
    pub(super) measured: Option<Measured>,
}

/// What was measured in a job that is admitted.
pub(super) struct Measured {
    pub(super) job: JobReport,
    pub(super) cases: Vec<(Case, Vec<Record>)>,
    /// The hosts of the two ranks that cases between two ranks were measured between; absent in a job of one.
    pub(super) between: Option<[String; 2]>,
    pub(super) others: Others,
    /// The instance type of those two ranks, if they have the same.
    pub(super) instance_type: Option<String>,
    /// Elements or bytes that were not what they should be.
    pub(super) wrong: u64,
}

/// Returns `true` if figures of this job may be held against those of real EFAs.
pub(super) fn is_real_efa(job: &JobReport) -> bool {
    job.provider == Provider::Efa && !is_emulated()
}
