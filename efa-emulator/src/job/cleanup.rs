//! Removing what the dead left behind: files of killed processes, folders of finished jobs.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{Job, MAX_PROCESSES, lock};
use crate::settings::job_prefix;

/// Removes the folders of other jobs of this user in which nobody lives.
pub(super) fn remove_dead_jobs(base: &Path, own: &Path) {
    let prefix = job_prefix();
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path == own || !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        match File::options().read(true).write(true).open(path.join("fabric")) {
            Ok(file) => {
                remove_job_if_unused(&path, &file);
            }
            // Without the table nobody can live there, unless it is just being made: then this fails, as it isn't empty.
            Err(_) => drop(std::fs::remove_dir(&path)),
        }
    }
}

/// Removes a job's folder unless someone lives there. Returns `false` if someone does.
pub(super) fn remove_job_if_unused(dir: &Path, file: &File) -> bool {
    if !lock::try_hold(file, 0, u64::from(MAX_PROCESSES)) {
        return false;
    }
    // Out of the way first, so that whoever joins now makes a new one. The name is still one that the next run cleans
    // up, should we die halfway; the table goes last for the same reason.
    let mut aside = dir.as_os_str().to_owned();
    aside.push(format!(".dead-{}", std::process::id()));
    let aside = Path::new(&aside);
    if std::fs::rename(dir, aside).is_err() {
        return true;
    }
    let table = aside.join("fabric");
    if let Ok(entries) = std::fs::read_dir(aside) {
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| *path != table) {
            let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        }
    }
    let _ = std::fs::remove_file(&table);
    let _ = std::fs::remove_dir(aside);
    true
}

/// Returns `true` if every other process of the job is ending: the kernel has taken its memory, and will give its lock
/// back within milliseconds.
pub(super) fn others_are_ending(job: &Job) -> bool {
    (0..MAX_PROCESSES).filter(|slot| *slot != job.slot && lock::is_held(&job.file, u64::from(*slot), 1)).all(
        |slot| {
            job.table.entry(slot).is_some_and(|entry| {
                let pid = entry.pid.load(Ordering::Relaxed);
                let is_visible = entry.pid_namespace.load(Ordering::Relaxed) == super::pid_namespace();
                // proc(5): a process without memory has no program.
                is_visible && std::fs::read_link(format!("/proc/{pid}/exe")).is_err()
            })
        },
    )
}

/// Removes the files of this job's processes that ended without doing so.
pub(super) fn remove_dead_processes(job: &Job) {
    for slot in (0..MAX_PROCESSES).filter(|slot| *slot != job.slot) {
        let Some(entry) = job.table.entry(slot) else { continue };
        if entry.generation.load(Ordering::Relaxed) == 0 || lock::is_held(&job.file, u64::from(slot), 1) {
            continue;
        }
        // Holding the dead process's lock keeps a new one from taking the place while we tidy up. An own open file, as
        // giving the lock back would otherwise be on us.
        let Ok(file) = File::options().read(true).write(true).open(job.dir.join("fabric")) else { return };
        if lock::try_hold(&file, u64::from(slot), 1) {
            remove_process(job, slot);
        }
    }
}

/// Removes the files of the process at a place, whose lock the caller holds.
pub(super) fn remove_process(job: &Job, slot: u16) {
    if let Some(entry) = job.table.entry(slot) {
        entry.generation.store(0, Ordering::Release);
    }
    let Ok(entries) = std::fs::read_dir(&job.dir) else { return };
    let own = [format!("process.{slot}."), format!("queue.{slot}.")];
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if own.iter().any(|prefix| name.starts_with(prefix)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
