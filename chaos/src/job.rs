//! A job under test: `efa run`, its ranks, and the folder that has everything that they print and report.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::plan::{Carrier, Fault, Plan};
use crate::report::{self, Entry, Event};

/// Tells a rank its folder, and marks every process of a round.
pub(crate) const FOLDER: &str = "EFA_CHAOS_FOLDER";
/// Seed and round, for the ranks.
pub(crate) const ROUND: &str = "EFA_CHAOS_ROUND";
/// How long the members of a job may take to find each other.
const ARRIVAL: Duration = Duration::from_secs(20);
/// Between the launcher's SIGTERM, which ranks ignore in most rounds, and its SIGKILL.
const GRACE: &str = "600";
/// Runs the rank in a folder of its own, for a core file, and notes its status, as `$?` has it, where the driver finds
/// it. The launcher tells of the first rank that fails only. The shell itself needs more descriptors than a rank may have.
const KEEPS_STATUS: &str = r#"trap '' TERM
cd "$EFA_CHAOS_FOLDER/cwd-$EFA_RANK" || exit
ulimit -c unlimited 2>/dev/null
(ulimit -n "$1"; exec "$0" rank)
status=$?
echo "$status" >"$EFA_CHAOS_FOLDER/status-$EFA_RANK"
exit "$status""#;
/// Runs the rank so that the launcher's SIGTERM ends it.
const TAKES_SIGTERM: &str = r#"ulimit -n "$1"; exec "$0" rank"#;
/// This file in the folder says that the driver knows how far the victim has come.
const GO: &str = "go";
/// How long a victim waits for that at most.
const GO_WAIT: Duration = Duration::from_secs(5);
/// The descriptors that a rank may have in most rounds.
const DESCRIPTORS: usize = 1024;

/// A job that was started.
pub(crate) struct Job {
    pub(crate) launcher: Child,
    pub(crate) folder: PathBuf,
    pub(crate) started: Instant,
    ranks: usize,
}

impl Job {
    /// Starts the job of a plan. `folder` is empty and absolute.
    pub(crate) fn start(plan: &Plan, efa: &Path, folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder.join("tmp"))?;
        fs::create_dir_all(device_folder(folder))?;
        for rank in 0..plan.ranks {
            fs::create_dir_all(folder.join(format!("cwd-{rank}")))?;
        }
        let log = File::create(folder.join("log"))?;
        let mut command = Command::new(efa);
        command.args(["run", "--grace", GRACE, "--provider", plan.carrier.provider()]);
        command.arg("-n").arg(plan.ranks.to_string());
        match plan.carrier {
            Carrier::Efa => {
                command.arg("--emulate-efa").env("EFA_EMULATOR_DIR", device_folder(folder));
            }
            Carrier::ShmWithoutCma => {
                command.env("FI_SHM_DISABLE_CMA", "1");
            }
            Carrier::Tcp | Carrier::Shm => {}
        }
        let script = if plan.fault == Fault::KillAndTerminate { TAKES_SIGTERM } else { KEEPS_STATUS };
        let descriptors = plan.descriptors.unwrap_or(DESCRIPTORS).to_string();
        command.args(["--", "sh", "-c", script]).arg(std::env::current_exe()?).arg(descriptors);
        command
            .env(FOLDER, folder)
            .env(ROUND, format!("{} {}", plan.seed, plan.round))
            .env("EFA_TIMEOUT", plan.timeout.as_secs_f64().to_string())
            .env("EFA_ARRIVAL_TIMEOUT", ARRIVAL.as_secs().to_string())
            .env("TMPDIR", folder.join("tmp"))
            .env("RUST_BACKTRACE", "0")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // Ctrl-C ends a round too: it reaches the launcher, which is in the driver's process group.
        let launcher = command.spawn()?;
        Ok(Self { launcher, folder: folder.to_owned(), started: Instant::now(), ranks: plan.ranks })
    }

    /// Returns what a rank has reported so far.
    pub(crate) fn report(&self, rank: usize) -> Vec<Entry> {
        report::read(&self.folder, rank)
    }

    /// Returns the process of a rank, once it has said which.
    pub(crate) fn pid(&self, rank: usize) -> Option<i32> {
        let started = self.report(rank).into_iter().find(|entry| entry.event == Event::Started)?;
        started.text.parse().ok().filter(|&pid| pid > 1)
    }

    /// Returns the processes of all ranks that have said theirs.
    pub(crate) fn pids(&self) -> Vec<i32> {
        (0..self.ranks).filter_map(|rank| self.pid(rank)).collect()
    }

    /// Lets the victim go on, which waits in [`wait_for_driver`].
    pub(crate) fn let_go(&self) {
        // Without it the victim goes on after a while by itself.
        let _ = File::create(self.folder.join(GO));
    }

    /// Returns the status of a rank that has ended, as a shell has it.
    pub(crate) fn status(&self, rank: usize) -> Option<i32> {
        fs::read_to_string(self.folder.join(format!("status-{rank}"))).ok()?.trim().parse().ok()
    }

    /// Returns the core file of a rank, if there is one.
    pub(crate) fn core(&self, rank: usize) -> Option<PathBuf> {
        let files = fs::read_dir(self.folder.join(format!("cwd-{rank}"))).ok()?.flatten();
        files.map(|file| file.path()).next()
    }

    /// Returns what the launcher and the ranks printed.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Sends a signal to a rank. Returns `false` if it has ended.
    pub(crate) fn signal(&self, rank: usize, signal: Signal) -> bool {
        // A rank that has ended may have left its number to another process.
        let is_there = self.status(rank).is_none();
        is_there
            && self.pid(rank).and_then(Pid::from_raw).is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// Waits until the launcher has ended or `until` is reached. Returns `true` if it has ended.
    pub(crate) fn wait(&mut self, until: Instant) -> bool {
        loop {
            match self.launcher.try_wait() {
                Ok(None) if Instant::now() < until => sleep(Duration::from_millis(5)),
                Ok(None) => return false,
                _ => return true,
            }
        }
    }
}

/// Returns the emulated device's folder of a round. Paths of devices are short, so it is not within the round's own.
pub(crate) fn device_folder(folder: &Path) -> PathBuf {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    PathBuf::from(format!("/dev/shm/efa-chaos-{}-{name}", std::process::id()))
}

/// Waits, as the victim of a fault from outside, until the driver has seen how far it has come. The fault would come too
/// late on a loaded machine otherwise.
pub(crate) fn wait_for_driver(folder: &Path) {
    let until = Instant::now() + GO_WAIT;
    while !folder.join(GO).exists() && Instant::now() < until {
        sleep(Duration::from_micros(200));
    }
}
