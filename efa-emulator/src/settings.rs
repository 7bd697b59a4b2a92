//! The emulator's settings, read from environment variables once.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::device::limits;
use crate::errno::{Errno, complain};
use crate::faults::Plan;

/// Most devices of one process: the most that any instance type has.
pub(crate) const MAX_DEVICES: usize = 32;

/// Most queue pairs of one device: their numbers have 16 bits, two of which are not given out.
const MAX_QUEUE_PAIRS: u32 = 16_000;

/// Every variable, read once when the device list is first asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Folder under which jobs have theirs.
    pub(crate) base: PathBuf,
    /// Name that keeps jobs apart.
    pub(crate) job: String,
    /// Devices of this process.
    pub(crate) devices: usize,
    /// Rank for plan and log, where the environment gives one.
    pub(crate) rank: Option<u32>,
    /// Faults.
    pub(crate) plan: Plan,
    /// Where the log goes.
    pub(crate) log: Option<String>,
    /// Whether other processes' memory may be accessed by system call.
    pub(crate) cross_memory: bool,
    /// What the devices can do to remote memory.
    pub(crate) rdma: Rdma,
    /// Queue pairs that a device has, those of all processes together.
    pub(crate) queue_pairs: u32,
}

/// What a device can do to remote memory by itself. Later generations of EFA learnt more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Rdma {
    /// Nothing: libfabric's provider makes reads and writes of messages.
    None,
    /// Reads.
    Read,
    /// Reads and writes.
    #[default]
    Write,
}

impl Settings {
    /// Reads the environment. What is wrong is told on stderr, and answered with EINVAL.
    pub(crate) fn from_env() -> Result<Self, Errno> {
        let (base, job) = (base(), job()?);
        check_files()?;
        if base.as_os_str().len() > LONGEST_BASE {
            let why =
                format!("Programs take the paths of devices only up to {LONGEST_BASE} bytes and a little");
            return wrong(
                "EFA_EMULATOR_DIR",
                &base.to_string_lossy(),
                &why,
                "Name a folder with a shorter path",
            );
        }
        Ok(Self {
            base,
            job,
            devices: devices()?,
            rank: rank()?,
            plan: plan()?,
            log: variable("EFA_EMULATOR_LOG"),
            cross_memory: cross_memory()?,
            rdma: rdma()?,
            queue_pairs: queue_pairs()?,
        })
    }

    /// Returns the job's folder. The user's number keeps users of one machine apart.
    pub(crate) fn job_dir(&self) -> PathBuf {
        self.base.join(format!("{}{}", job_prefix(), self.job))
    }
}

/// Returns the folder that the device tree will be in, for the environment of the process, or `None` if the settings
/// are wrong.
pub(crate) fn sysfs_dir() -> Option<PathBuf> {
    let job = variable("EFA_EMULATOR_JOB").unwrap_or_else(|| DEFAULT_JOB.to_owned());
    is_job_name(&job).then(|| base().join(format!("{}{job}", job_prefix())).join("sys"))
}

/// Returns `true` if shared files need names of their own, because processes of the job can't see each other in
/// `/proc`.
pub(crate) fn needs_names() -> bool {
    static NEEDED: OnceLock<bool> = OnceLock::new();
    *NEEDED.get_or_init(|| variable("EFA_EMULATOR_FILES").as_deref() == Some("named"))
}

/// Returns what the names of all job folders of this user begin with.
pub(crate) fn job_prefix() -> String {
    // SAFETY: always succeeds and touches nothing.
    format!("efa-emulator.{}.", unsafe { libc::getuid() })
}

/// Longest path of the folder for jobs, so that a device's path fits into 256 bytes.
const LONGEST_BASE: usize = 100;

const DEFAULT_JOB: &str = "default";

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()).filter(|v| !v.is_empty())
}

fn wrong<T>(name: &str, value: &str, why: &str, remedy: &str) -> Result<T, Errno> {
    complain(&format!("{name}={value} can't be used"), why, remedy);
    Err(Errno(libc::EINVAL))
}

fn base() -> PathBuf {
    PathBuf::from(variable("EFA_EMULATOR_DIR").unwrap_or_else(|| "/dev/shm".to_owned()))
}

fn is_job_name(job: &str) -> bool {
    !job.is_empty()
        && job.len() <= 64
        && !job.starts_with('.')
        && job.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn job() -> Result<String, Errno> {
    let job = variable("EFA_EMULATOR_JOB").unwrap_or_else(|| DEFAULT_JOB.to_owned());
    if is_job_name(&job) {
        return Ok(job);
    }
    let why = "A job's name is the name of a folder";
    wrong("EFA_EMULATOR_JOB", &job, why, "Use up to 64 letters, digits, dots, dashes and underscores")
}

fn devices() -> Result<usize, Errno> {
    let Some(text) = variable("EFA_EMULATOR_DEVICES") else { return Ok(1) };
    match text.trim().parse() {
        Ok(n) if (1..=MAX_DEVICES).contains(&n) => Ok(n),
        _ => {
            let why = format!("A process has 1 to {MAX_DEVICES} devices");
            wrong("EFA_EMULATOR_DEVICES", &text, &why, "Give a number in that range")
        }
    }
}

fn check_files() -> Result<(), Errno> {
    match variable("EFA_EMULATOR_FILES").as_deref() {
        None | Some("named" | "unnamed") => Ok(()),
        Some(other) => {
            let why = "It says whether shared files have names, which outlive a process that is killed";
            wrong("EFA_EMULATOR_FILES", other, why, "Set it to named or unnamed, or not at all")
        }
    }
}

fn rdma() -> Result<Rdma, Errno> {
    match variable("EFA_EMULATOR_RDMA").as_deref() {
        None | Some("write") => Ok(Rdma::Write),
        Some("read") => Ok(Rdma::Read),
        Some("none") => Ok(Rdma::None),
        Some(other) => {
            let why = "It says what the device can do to remote memory";
            wrong("EFA_EMULATOR_RDMA", other, why, "Set it to none, read or write, or not at all")
        }
    }
}

fn queue_pairs() -> Result<u32, Errno> {
    let Some(text) = variable("EFA_EMULATOR_QUEUE_PAIRS") else { return Ok(limits::QUEUE_PAIRS) };
    match text.trim().parse() {
        Ok(n) if (1..=MAX_QUEUE_PAIRS).contains(&n) => Ok(n),
        _ => {
            let why = format!("A device has 1 to {MAX_QUEUE_PAIRS} queue pairs");
            wrong("EFA_EMULATOR_QUEUE_PAIRS", &text, &why, "Give a number in that range")
        }
    }
}

fn rank() -> Result<Option<u32>, Errno> {
    let Some(text) = variable("EFA_RANK") else { return Ok(None) };
    match text.trim().parse() {
        Ok(rank) => Ok(Some(rank)),
        Err(_) => wrong(
            "EFA_RANK",
            &text,
            "A rank is a whole number from 0",
            "Set it to the process's rank, or not at all",
        ),
    }
}

fn cross_memory() -> Result<bool, Errno> {
    match variable("EFA_EMULATOR_CMA").as_deref() {
        None | Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => {
            let why = "It says whether process_vm_readv may be used";
            wrong("EFA_EMULATOR_CMA", other, why, "Set it to on or off, or not at all")
        }
    }
}

fn plan() -> Result<Plan, Errno> {
    let Some(value) = variable("EFA_EMULATOR_PLAN") else { return Ok(Plan::default()) };
    let text = match value.strip_prefix('@') {
        None => value.clone(),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => {
                return wrong(
                    "EFA_EMULATOR_PLAN",
                    &value,
                    &format!("The file can't be read: {e}"),
                    "Name a text file after the @",
                );
            }
        },
    };
    match Plan::parse(&text) {
        Ok(plan) => Ok(plan),
        Err(error) => {
            let why = format!("The plan's item {error}");
            wrong(
                "EFA_EMULATOR_PLAN",
                &value,
                &why,
                "Correct that item; the crate's documentation has the format",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_job_name;

    #[test]
    fn a_job_name_cannot_leave_its_folder() {
        assert!(is_job_name("default") && is_job_name("run-7.a_b"));
        for bad in ["", "..", ".hidden", "a/b", "a b", "a\0", &"x".repeat(65)] {
            assert!(!is_job_name(bad), "{bad:?}");
        }
    }
}
