//! Results on standard output.

use std::io::{self, Write};

use efa_error::Error;
use serde::Serialize;

/// Writes `text` to standard output. A reader that has gone has seen what it wanted.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::system(error, "cannot write to standard output", "check where the output goes"))
        }
        _ => Ok(()),
    }
}

/// Writes one JSON object on a line of its own.
pub(crate) fn print_json(object: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(object).map_err(|error| {
        Error::system(error.into(), "cannot write the result as JSON", "run without --json")
    })?;
    print(&(text + "\n"))
}
