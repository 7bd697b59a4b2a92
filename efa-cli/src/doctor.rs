//! `efa doctor`: judges the host, or the job that files describe, before anything is launched.

use std::io;
use std::process::ExitCode;

use efa_core::admission::source::{self, file};
use efa_core::admission::{Policy, Report};
use efa_core::fabric::{Provider, ProviderChoice};

use crate::cli::{DoctorArgs, PolicyName};
use crate::failure::{EXIT_USAGE, Failure, colourful};
use crate::stdout;

/// The status that says that something could not be determined.
const EXIT_UNDETERMINED: u8 = 3;

/// Prints the report and exits as it says: 0 admitted, 1 refused, 3 undetermined.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let report = examine(args)?;
    if args.json {
        stdout::print_json(&report)?;
    } else {
        stdout::print(&report.to_table(colourful(&io::stdout())))?;
    }
    Ok(ExitCode::from(report.exit_status()))
}

fn examine(args: &DoctorArgs) -> Result<Report, Failure> {
    // Status 1 means "refused", so no other failure may look like it.
    let unreadable = |error| Failure::new(error, EXIT_USAGE);
    let members = match &args.members {
        Some(path) => file::read_members(path).map_err(unreadable)?,
        None => {
            let me =
                source::of_this_machine(0, None).map_err(|error| Failure::new(error, EXIT_UNDETERMINED))?;
            vec![me]
        }
    };
    let lookup = source::look_up(&members, args.security_groups.as_deref()).map_err(unreadable)?;
    let policy = match args.policy {
        PolicyName::Strict => Policy::strict(),
        PolicyName::SameZone => Policy::same_zone(),
    };
    let efa = args.provider == ProviderChoice::Only(Provider::Efa);
    Ok(lookup.evaluate(&members, &policy.requires_efa(efa)))
}
