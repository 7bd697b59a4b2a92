//! What the examples share: how a program joins its job, and how it says that it failed.

use std::process::ExitCode;
use std::time::Duration;

use efa_core::{Communicator, Error, Explanation, Result};

/// How long a failed rank gives the others to come to the same end, so that those who failed alike can say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Joins the job, runs `body` and leaves. A failure is told on stderr in three lines, calls the job off, so that no
/// other rank waits for this one, and gives the exit status 1.
pub fn run(body: impl FnOnce(&Communicator) -> Result<()>) -> ExitCode {
    let world = match efa_core::init() {
        Ok(world) => world,
        Err(error) => return failed(&error),
    };
    if let Err(error) = body(&world) {
        let status = failed(&error);
        if world.control().barrier("the end of a failed run", LAST_WORDS).is_err() {
            world.control().abort(&error.to_string());
        }
        return status;
    }
    match world.finish() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
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
