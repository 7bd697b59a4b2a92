//! Reaches the verdict on members whose facts are known, by the policy and the provider that options or environment give.

use std::path::Path;

use efa_admission::source::{self, file};
use efa_admission::{Facts, Lookup, Policy, Provider, ProviderChoice, Report};
use efa_error::Error;

use super::args::DoctorArgs;
use super::template;
use crate::failure::{EXIT_USAGE, Failure};

/// A verdict with what it was reached by.
pub(super) struct Judged {
    pub(super) report: Report,
    pub(super) members: Vec<Facts>,
    pub(super) lookup: Lookup,
}

/// Judges the job that a file describes. Status 1 means "refused", so no other failure may look like it.
pub(super) fn file(args: &DoctorArgs, path: &Path) -> Result<Judged, Failure> {
    let usage = |error| Failure::new(error, EXIT_USAGE);
    let mut described = file::read_described(path, args.only.as_deref()).map_err(usage)?;
    if let Some(count) = args.copies {
        described.members = template::copies(&described, count)?;
    }
    let lookup = source::look_up_described(&described, args.security_groups.as_deref()).map_err(usage)?;
    let mut judged = members(args, described.members, lookup)?;
    judged.report = judged.report.with_notes(described.notes);
    if described.is_plan {
        judged.report = judged.report.for_a_plan();
    }
    Ok(judged)
}

/// Judges members by what was looked up about them.
pub(super) fn members(args: &DoctorArgs, mut members: Vec<Facts>, lookup: Lookup) -> Result<Judged, Failure> {
    let (choice, policy) = (provider(args)?, policy(args)?);
    let policy = match choice {
        ProviderChoice::Auto => policy,
        ProviderChoice::Only(Provider::Efa) => policy.requires_efa(true),
        ProviderChoice::Only(_) => policy.uses_tcp(true),
    };
    let report = lookup.evaluate(&members, &policy).with_provider(choice.to_string());
    lookup.complete(&mut members);
    Ok(Judged { report, members, lookup })
}

/// Returns the provider asked for: by option, else by the environment.
pub(super) fn provider(args: &DoctorArgs) -> Result<ProviderChoice, Error> {
    args.provider.map_or_else(ProviderChoice::from_env, Ok)
}

/// Returns the policy: by option, else by the environment.
pub(super) fn policy(args: &DoctorArgs) -> Result<Policy, Error> {
    args.policy.clone().map_or_else(Policy::from_env, Ok)
}
