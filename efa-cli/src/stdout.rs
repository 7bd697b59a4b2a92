//! Results on standard output.

use std::io::{self, Write};

use efa_core::Error;

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
