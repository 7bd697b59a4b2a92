//! Prints a report in the form that the options ask for.

use std::io;
use std::process::ExitCode;

use efa_admission::Report;
use serde::Serialize;

use super::args::DoctorArgs;
use super::pipeline;
use crate::failure::Failure;
use crate::stdout;
use crate::terminal::wants_colour;

/// Prints `report` as a shell script or for a pipeline, `object` as JSON, or `table`, which takes whether it may have
/// colours. Returns the exit status that the report demands.
pub(super) fn print(
    args: &DoctorArgs,
    report: &Report,
    object: &impl Serialize,
    table: impl FnOnce(bool) -> String,
) -> Result<ExitCode, Failure> {
    if let Some(format) = args.format {
        stdout::print(&pipeline::text(report, format))?;
    } else if args.script {
        stdout::print(&report.to_script())?;
    } else if args.json {
        stdout::print_json(object)?;
    } else {
        stdout::print(&table(wants_colour(&io::stdout())))?;
    }
    Ok(ExitCode::from(report.exit_status()))
}
