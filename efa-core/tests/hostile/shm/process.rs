//! Ranks as processes of their own: a test starts its own program again, once per further rank.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use efa_core::bootstrap::Liveness;
use efa_core::endpoint::PeerAddress;
use efa_core::{Endpoint, EndpointConfig};

use super::common;

/// Names the folder in which the processes of a test meet; set in those that a test has started.
const FOLDER: &str = "EFA_HOSTILE_FOLDER";

/// The folder, in a process that a test has started.
pub(super) fn folder_of_child() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// A process that runs one test of this program as another rank.
pub(super) struct Rank(Child);

impl Rank {
    /// Starts `test`, given by its path below `shm`, with further variables.
    pub(super) fn start(test: &str, folder: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), test, folder, variables)
    }

    /// Starts `test` by a command that ends in this program's path.
    pub(super) fn start_by(
        mut command: Command,
        test: &str,
        folder: &Path,
        variables: &[(&str, &str)],
    ) -> Self {
        command.args([&format!("shm::{test}"), "--exact", "--nocapture"]).env(FOLDER, folder);
        command.envs(variables.iter().copied()).stdin(Stdio::null());
        Self(command.spawn().expect("the test's program starts again"))
    }

    /// The process number.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Stops the process as Ctrl-Z does, and returns when it has stopped.
    pub(super) fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.0.id());
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
        assert_eq!(unsafe { libc::kill(self.0.id() as libc::pid_t, signal) }, 0);
    }

    /// Waits until the process ends.
    pub(super) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "the other process hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the process ends, which must be in good order.
    pub(super) fn succeed(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens the endpoints of these ranks of a job of `size` in this process, and connects them with those that other
/// processes open, by way of files in `folder`.
pub(super) fn connect(
    folder: &Path,
    size: usize,
    ranks: &[usize],
    config: &EndpointConfig,
) -> (Vec<Endpoint>, Arc<Liveness>) {
    let members = common::members(size);
    let admission = common::admit(&members);
    let path = |rank: usize| folder.join(format!("card-{rank}"));
    let open: Vec<_> = ranks
        .iter()
        .map(|&rank| {
            let endpoint = Endpoint::open(&admission, config.clone()).unwrap();
            let peer_address = serde_json::to_vec(&endpoint.peer_address(&members[rank])).unwrap();
            fs::write(path(rank).with_extension("part"), peer_address).unwrap();
            fs::rename(path(rank).with_extension("part"), path(rank)).unwrap();
            endpoint
        })
        .collect();
    let peer_addresses: Vec<PeerAddress> = (0..size)
        .map(|rank| {
            wait_for(&path(rank));
            serde_json::from_slice(&fs::read(path(rank)).unwrap()).unwrap()
        })
        .collect();
    let liveness = Arc::new(Liveness::alone(size));
    let connected = open.into_iter().zip(ranks);
    let connected = connected
        .map(|(endpoint, &rank)| endpoint.connect(rank, peer_addresses.clone(), liveness.clone()).unwrap());
    (connected.collect(), liveness)
}

/// Tells the other processes that this one has come so far.
pub(super) fn tell(folder: &Path, what: &str) {
    fs::write(folder.join(what), "").unwrap();
}

/// Waits until another process has told so.
pub(super) fn hear(folder: &Path, what: &str) {
    wait_for(&folder.join(what));
}

fn wait_for(path: &Path) {
    common::until(&format!("{} comes", path.display()), || path.exists());
}
