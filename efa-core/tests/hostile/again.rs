//! A test that goes on in a process of its own: this test program started again, to run that one test.
//!
//! What such a process prints is kept, and shown only if the process does not end as it should.

use std::any::type_name;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::common;

/// Tells a process what the test that started it has given it.
const GIVEN: &str = "EFA_TEST_AGAIN";
/// Begins what a process reports to the test that started it.
const REPORT: &str = "report: ";
/// Longer than any of these processes takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Returns what this process was given by the test that started it, or `None` in a process that no test started.
pub(super) fn given() -> Option<PathBuf> {
    std::env::var_os(GIVEN).map(PathBuf::from)
}

/// Reports something to the test that started this process.
pub(super) fn report(text: &str) {
    println!("{REPORT}{text}");
}

/// A process that runs one test of this program.
pub(super) struct Again {
    process: Child,
    output: File,
}

impl Again {
    /// Starts a process that runs `test`, where [`given`] returns `given`.
    pub(super) fn start<T: Fn()>(test: T, given: impl AsRef<OsStr>, variables: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), test, given, variables)
    }

    /// Starts the process by a command that ends in this program's path.
    pub(super) fn start_by<T: Fn()>(
        mut command: Command,
        _test: T,
        given: impl AsRef<OsStr>,
        variables: &[(&str, &str)],
    ) -> Self {
        // The type of a function is named like the function, and a test is named so without its program.
        let (_program, test) = type_name::<T>().split_once("::").unwrap();
        // A file takes any amount, whether or not somebody reads it.
        let output = tempfile::tempfile().unwrap();
        let process = command
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(GIVEN, given)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output.try_clone().unwrap())
            .spawn()
            .expect("the test's program starts again");
        Self { process, output }
    }

    /// Returns what the process has printed so far.
    pub(super) fn printed(&self) -> String {
        let mut bytes = vec![0; self.output.metadata().unwrap().len() as usize];
        // The offset of the file is that of the process.
        self.output.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the process ends, and returns how it did.
    pub(super) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the process hangs; it printed: {}", self.printed());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the process ends, in which the test must pass.
    pub(super) fn passes(&mut self) {
        let status = self.wait();
        let printed = self.printed();
        assert!(status.success() && printed.contains("1 passed"), "{status}: {printed}");
    }

    /// Waits until the process ends, in which the test must pass, and returns what it has reported.
    pub(super) fn reports(&mut self) -> String {
        self.passes();
        self.printed().split_once(REPORT).expect("the process reports").1.to_owned()
    }

    /// Returns the process number.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops the process as Ctrl-Z does, and returns when it has stopped.
    pub(super) fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.id());
        common::until("the process stops", || {
            let stat = fs::read_to_string(&stat).unwrap();
            stat[stat.rfind(')').unwrap()..].starts_with(") T")
        });
    }

    /// Continues a process that was stopped.
    pub(super) fn proceed(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the process is our child and was not waited for, so the number is its own.
        assert_eq!(unsafe { libc::kill(self.id() as libc::pid_t, signal) }, 0);
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
