//! The report of a host or a running job: the verdict with the state of the hosts and the pairs that were tried.

use std::process::ExitCode;

use efa_core::Error;
use efa_core::admission::{Report, Site};
use efa_core::fabric::Provider;
use serde::Serialize;

use super::super::args::DoctorArgs;
use super::super::print;
use super::host::{self, Host};
use super::matrix::Matrix;
use crate::failure::Failure;

/// What is told; in this order as JSON.
#[derive(Serialize)]
pub(super) struct Diagnosis {
    #[serde(flatten)]
    pub(super) report: Report,
    /// What the ranks of a job would use; the report names it as well.
    #[serde(skip)]
    pub(super) provider: Option<Provider>,
    /// The state of the hosts.
    pub(super) hosts: Vec<Host>,
    /// Which pairs of a job were tried, and what came of it; absent where none were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pairs: Option<Matrix>,
}

impl Diagnosis {
    /// Prints it in the form that the options ask for, and returns the exit status.
    pub(super) fn print(&self, args: &DoctorArgs) -> Result<ExitCode, Failure> {
        print::print(args, &self.report, self, |coloured| self.to_table(coloured))
    }

    /// Returns the exit status that the report demands.
    pub(super) fn status(&self) -> ExitCode {
        ExitCode::from(self.report.exit_status())
    }

    pub(super) fn to_table(&self, coloured: bool) -> String {
        let mut text = self.report.to_table(coloured);
        if let Some(pairs) = &self.pairs {
            let provider = self.provider.map(|provider| format!(" on {provider}")).unwrap_or_default();
            text += &format!("\n{}", pairs.to_table(&provider, coloured));
        }
        text + &format!("\n{}", host::to_table(&self.hosts, coloured))
    }
}

/// Refuses rules that nothing is judged by: whoever gives them believes that they count.
pub(super) fn reject_unused_rules(args: &DoctorArgs, site: Site) -> Result<(), Failure> {
    match &args.security_groups {
        Some(path) if site == Site::Host => Err(Failure::from(Error::setting(
            format!("cannot use --security-groups {}", path.display()),
            "this host is not on EC2, where there are no security groups, so the file would count for nothing",
            "leave the option out, or give the members of a job on EC2 with --members",
        ))),
        _ => Ok(()),
    }
}
