//! The `efa` command: judges a host, launches ranks, measures the fabric.

#![forbid(unsafe_code)]

mod cli;
mod doctor;
mod failure;
mod run;
mod stdout;

// The parts of `efa bench` that need no endpoint.
#[cfg(test)]
mod bench;
#[cfg(test)]
mod output;
#[cfg(test)]
mod plot;
#[cfg(test)]
mod progress;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod statistics;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let outcome = match cli.command {
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Run(args) => run::run(&args),
        Command::Guard => run::guard::main(),
    };
    outcome.unwrap_or_else(|failure| failure.report())
}
