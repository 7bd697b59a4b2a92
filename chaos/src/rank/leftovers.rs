//! What a closed endpoint leaves in its process: descriptors and threads.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The emulated device keeps a thread of this name and files below a folder of this name for as long as the process
/// lives. They stand for hardware.
const DEVICE: &str = "efa-emulator";
/// How long threads may take to end after the endpoint was closed.
const SETTLE: Duration = Duration::from_secs(3);

/// The descriptors and threads of this process.
#[derive(Debug)]
pub(super) struct Resources {
    /// What each descriptor refers to.
    descriptors: BTreeMap<u32, String>,
    threads: usize,
}

impl Resources {
    /// Counts them now.
    pub(super) fn count() -> Self {
        let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let descriptors = entries.filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            // The folder that is being listed is open meanwhile.
            (!target.starts_with("/proc/") && !target.contains(DEVICE)).then_some((number, target))
        });
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let names = tasks.map(|task| fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        let threads = names.filter(|name| name.trim() != DEVICE).count();
        Self { descriptors: descriptors.collect(), threads }
    }

    /// Waits until no more is there than in `self`, and returns what is there in excess after [`SETTLE`].
    pub(super) fn excess(&self) -> Option<String> {
        let until = Instant::now() + SETTLE;
        loop {
            let now = Self::count();
            let extra: Vec<&String> = now
                .descriptors
                .iter()
                .filter(|(number, _)| !self.descriptors.contains_key(number))
                .map(|(_, target)| target)
                .collect();
            if extra.is_empty() && now.threads <= self.threads {
                return None;
            }
            if Instant::now() >= until {
                let threads = now.threads.saturating_sub(self.threads);
                let extra: Vec<String> = extra.into_iter().map(|target| describe(target)).collect();
                return Some(format!("{threads} threads, {} descriptors {extra:?}", extra.len()));
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// Returns what a descriptor refers to; of a TCP socket its addresses and state, as `/proc/net/tcp` has them.
fn describe(target: &str) -> String {
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap_or_default();
    let inode = target.trim_start_matches("socket:[").trim_end_matches(']');
    let line = table.lines().find(|line| line.split_whitespace().nth(9) == Some(inode));
    let words: Vec<&str> = line.unwrap_or("").split_whitespace().skip(1).take(3).collect();
    format!("{target} {}", words.join(" "))
}
