//! Reading a file whose path comes from outside: within a size and a time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::{Error, Result};

/// How long a file that is no regular file, such as a named pipe, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads at most `most` bytes of a file. Opening or reading a named pipe, a terminal or another special file waits for
/// its writer, for 60 s at most.
///
/// # Errors
/// [`Error::System`] if the file can't be read, [`Error::Setting`] if nobody wrote to it in time.
pub fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>> {
    read_within(path, most, PATIENCE)
}

fn read_within(path: &Path, most: usize, patience: Duration) -> Result<Vec<u8>> {
    let failed = |source| Error::file(source, path);
    if fs::metadata(path).map_err(failed)?.is_file() {
        return read_now(path, most).map_err(failed);
    }
    let (done, result) = mpsc::channel();
    let file = path.to_owned();
    // If nobody ever writes, this thread waits until the process ends.
    thread::Builder::new()
        .name("efa-read-file".into())
        .spawn(move || drop(done.send(read_now(&file, most))))
        .map_err(failed)?;
    match result.recv_timeout(patience) {
        Ok(read) => read.map_err(failed),
        Err(_) => Err(Error::setting(
            format!("cannot read {}", path.display()),
            format!("it is no regular file, and its writer did not finish within {patience:?}"),
            "start what writes to it first, or give a regular file",
        )),
    }
}

fn read_now(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_named_pipe_without_a_writer_is_an_error_and_with_one_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = read_within(&pipe, 10, Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("no regular file") && error.contains("pipe"), "{error}");

        let other = folder.path().join("other");
        assert!(Command::new("mkfifo").arg(&other).status().unwrap().success());
        let writer = thread::spawn({
            let other = other.clone();
            move || fs::write(other, "0123456789abc")
        });
        assert_eq!(read_bounded(&other, 10).unwrap(), b"0123456789");
        let _ = writer.join().unwrap();
    }

    #[test]
    fn a_missing_file_and_a_folder_are_errors_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("none"), folder.path().to_owned()] {
            assert!(matches!(read_bounded(&path, 10), Err(Error::System { .. })), "{}", path.display());
        }
    }
}
