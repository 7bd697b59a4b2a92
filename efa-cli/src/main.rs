//! The `efa` command: judges a host, launches ranks, measures the fabric.

#![forbid(unsafe_code)]

mod bench;
mod bytes;
mod cli;
mod doctor;
mod failure;
mod info;
mod output;
mod plot;
mod progress;
mod run;
mod sizes;
mod statistics;
mod stdout;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let outcome = match cli.command {
        Command::Info(args) => info::info(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Guard => run::guard::main(),
    };
    outcome.unwrap_or_else(|failure| failure.report())
}
