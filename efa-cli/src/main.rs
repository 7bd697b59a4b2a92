//! The `efa` command: judges a host, launches ranks, measures the fabric.

#![forbid(unsafe_code)]

mod bench;
mod bytes;
mod cli;
mod doctor;
mod emulation;
mod failure;
mod info;
mod palette;
mod run;
mod stdout;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error, &Cli::command()),
    };
    if let Err(error) = efa_core::log_from_env() {
        return Failure::from(error).report();
    }
    let outcome = match cli.command {
        Command::Info(args) => info::info(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Guard => run::guard::main(),
    };
    outcome.unwrap_or_else(|failure| failure.report())
}
