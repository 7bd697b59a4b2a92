//! The `efa` command: judges a host or a job, launches ranks, measures the fabric.
//!
//! A module that a build without the feature `libfabric` has too names `efa_admission`, `efa_bootstrap` and `efa_error`.
//! The others name `efa_core`, which re-exports the three.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "libfabric"),
    allow(dead_code, reason = "some helpers serve commands that are not built")
)]

#[cfg(not(feature = "libfabric"))]
mod absent;
#[cfg(feature = "libfabric")]
mod bench;
#[cfg(feature = "libfabric")]
mod bytes;
mod cli;
mod doctor;
#[cfg(feature = "libfabric")]
mod emulation;
#[cfg(feature = "libfabric")]
mod exchange;
mod failure;
#[cfg(feature = "libfabric")]
mod info;
mod palette;
mod plot_file;
#[cfg(feature = "libfabric")]
mod run;
mod stdout;
mod terminal;
mod xml;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error, &Cli::command()),
    };
    run_command(cli.command).unwrap_or_else(|failure| failure.report())
}

#[cfg(feature = "libfabric")]
fn run_command(command: Command) -> Result<ExitCode, Failure> {
    efa_core::log_from_env()?;
    match command {
        Command::Info(args) => info::info(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Guard => run::guard::main(),
    }
}

#[cfg(not(feature = "libfabric"))]
fn run_command(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Info(_) => Err(absent::absent("run efa info")),
        Command::Run(_) => Err(absent::absent("run efa run")),
        Command::Bench(_) => Err(absent::absent("run efa bench")),
    }
}
