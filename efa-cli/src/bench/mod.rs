//! `efa bench`: measures the fabric between ranks.
//!
//! Called by hand, it starts itself again under the launcher; as a rank of a job, whoever started it, it measures.

mod case;
mod collectives;
mod counts;
mod member;
mod options;
mod output;
mod pair;
mod pattern;
mod plot;
mod point_to_point;
mod progress;
mod remote;
mod sample;
mod sizes;
mod start;
mod statistics;
mod suite;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::plot_file::PlotFile;
use options::{BenchArgs, Plan};
use suite::SuiteArgs;

/// `efa bench`, with a case or with the suite of all.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
pub(crate) struct BenchCommand {
    #[command(subcommand)]
    suite: Option<Suite>,
    #[command(flatten)]
    case: BenchArgs,
}

/// What `efa bench` can do besides a single case.
#[derive(Debug, Subcommand)]
enum Suite {
    /// Check the job, measure everything, and write one folder to attach to a question
    Suite(SuiteArgs),
}

/// Measures as a member of the job that this process is in, or else starts a job of its own.
pub(crate) fn bench(command: &BenchCommand) -> Result<ExitCode, Failure> {
    match &command.suite {
        Some(Suite::Suite(args)) => suite::suite(args),
        None => case(&command.case),
    }
}

fn case(args: &BenchArgs) -> Result<ExitCode, Failure> {
    if start::job(args.ranks)?.is_some() {
        return member::member(args);
    }
    let ranks = args.ranks.unwrap_or(start::DEFAULT_RANKS);
    // What makes no sense is told once, here, and not by every rank.
    Plan::new(args, ranks)?;
    args.plot.as_deref().map(PlotFile::open).transpose()?;
    start::ranks(ranks, args.provider, &args.emulation)
}
