//! What the examples share: how a program joins its job, and how it says that it failed.

use std::cell::Cell;
use std::process::ExitCode;

use efa_core::{Communicator, Error, Explanation, Result};

/// Runs `body` as [`efa_core::run`] does. A failure is told on stderr in three lines and gives the exit status 1.
pub fn run(body: impl FnOnce(&Communicator) -> Result<()>) -> ExitCode {
    let told = Cell::new(None);
    // Told before the ranks agree on the end: a launcher ends the others with the first rank that exits.
    let result = efa_core::run(|world| body(world).inspect_err(|error| told.set(Some(failed(error)))));
    match (result, told.get()) {
        (Ok(()), _) => ExitCode::SUCCESS,
        (Err(_), Some(status)) => status,
        (Err(error), None) => failed(&error),
    }
}

/// Makes sure that there are at least two ranks.
///
/// # Errors
/// [`Error::Misuse`] that says how to start `example` with two.
pub fn needs_two_ranks(world: &Communicator, example: &str) -> Result<()> {
    if world.size() >= 2 {
        return Ok(());
    }
    Err(Error::misuse(
        format!("cannot run {example} alone"),
        "it takes two ranks, and this job has one",
        format!("start it with: efa run -n 2 -- target/release/{example}"),
    ))
}

/// Prints what failed, why, and what to do, and gives the exit status.
fn failed(error: &Error) -> ExitCode {
    let Explanation { what, why, remedy } = error.explanation();
    eprint!("error: {what}\n  why: {why}\n  fix: {remedy}\n");
    ExitCode::FAILURE
}
