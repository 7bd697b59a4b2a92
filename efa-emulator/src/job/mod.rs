//! The job: the processes that see each other's devices.
//!
//! A job is a folder. Its file `fabric` has a table of processes, and each process holds a lock of the kernel's on its
//! own entry for as long as it lives, however it ends: so anyone can tell the living from the dead, and nobody has to
//! tidy up before dying.

mod cleanup;
mod lock;
mod table;

use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

pub(crate) use table::{LAYOUT, MAGIC, MAX_PROCESSES, Table};

use crate::errno::{Errno, complain};
use crate::settings::Settings;

/// How long to wait for a job that is just being removed, or for a free place.
const PATIENCE: Duration = Duration::from_secs(2);

/// This process's place in its job.
#[derive(Debug)]
pub(crate) struct Job {
    dir: PathBuf,
    file: File,
    table: Table,
    slot: u16,
    generation: u32,
}

impl Job {
    /// Takes a place in the job that the settings name, and removes what dead processes left behind.
    pub(crate) fn join(settings: &Settings) -> Result<Self, Errno> {
        let dir = settings.job_dir();
        cleanup::remove_dead_jobs(&settings.base, &dir);
        let job = Self::take_place(&dir, settings).map_err(|e| explain(e, &settings.base))?;
        let_go_in_children(&job.file);
        cleanup::remove_dead_processes(&job);
        Ok(job)
    }

    /// Returns the job's folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns this process's place.
    pub(crate) fn slot(&self) -> u16 {
        self.slot
    }

    /// Returns a random number that tells this process from earlier ones at its place.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Returns all processes.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Returns `true` if the process of a place and generation is still there.
    pub(crate) fn is_alive(&self, slot: u16, generation: u32) -> bool {
        match self.table.entry(slot) {
            Some(entry) if entry.generation.load(Ordering::Acquire) == generation => {
                slot == self.slot || lock::is_held(&self.file, u64::from(slot), 1)
            }
            _ => false,
        }
    }

    /// Takes one of the `most` queue pairs that all processes together have of a device. ENOMEM if there is none left,
    /// as the driver answers.
    pub(crate) fn take_queue_pair(&self, device: u8, most: u32) -> Result<(), Errno> {
        let of =
            |slot: u16| self.table.entry(slot).and_then(|entry| entry.queue_pairs.get(usize::from(device)));
        let own = of(self.slot).ok_or(Errno(libc::ENODEV))?;
        own.fetch_add(1, Ordering::SeqCst);
        let alive = |slot: &u16| {
            let generation =
                self.table.entry(*slot).map_or(0, |entry| entry.generation.load(Ordering::Acquire));
            generation != 0 && self.is_alive(*slot, generation)
        };
        let counts =
            (0..MAX_PROCESSES).filter(alive).filter_map(|slot| Some(of(slot)?.load(Ordering::SeqCst)));
        // Of two that take the last one at the same time both are refused; none is given twice.
        if counts.fold(0, u32::saturating_add) > most {
            self.give_queue_pair(device);
            return Err(Errno(libc::ENOMEM));
        }
        Ok(())
    }

    /// Gives back what [`Job::take_queue_pair`] took.
    pub(crate) fn give_queue_pair(&self, device: u8) {
        let count = self.table.entry(self.slot).and_then(|entry| entry.queue_pairs.get(usize::from(device)));
        if let Some(count) = count {
            count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Returns the number by which the kernel here knows the process of a place, or `None` if it lives in another
    /// container.
    pub(crate) fn pid(&self, slot: u16) -> Option<u32> {
        let (own, other) = (self.table.entry(self.slot)?, self.table.entry(slot)?);
        let here = own.pid_namespace.load(Ordering::Relaxed) == other.pid_namespace.load(Ordering::Relaxed);
        here.then(|| other.pid.load(Ordering::Relaxed))
    }

    /// Returns where a process's own file is.
    pub(crate) fn process_path(&self, slot: u16, generation: u32) -> PathBuf {
        self.dir.join(format!("process.{slot}.{generation:08x}"))
    }

    /// Returns where a queue pair's file is.
    pub(crate) fn queue_path(&self, slot: u16, generation: u32, device: u8, qpn: u16) -> PathBuf {
        self.dir.join(format!("queue.{slot}.{generation:08x}.{device}.{qpn}"))
    }

    /// Gives the place back, and removes the folder if it was the last one taken.
    pub(crate) fn leave(&self) {
        cleanup::remove_process(self, self.slot);
        // Before looking for others: of two that leave at once, the last to let go sees nobody.
        lock::let_go(&self.file, u64::from(self.slot), 1);
        // One that was killed just now may still hold its lock.
        let deadline = Instant::now() + PATIENCE;
        while !cleanup::remove_job_if_unused(&self.dir, &self.file)
            && cleanup::others_are_ending(self)
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn take_place(dir: &Path, settings: &Settings) -> Result<Self, Errno> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match DirBuilder::new().mode(0o700).create(dir) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e.into()),
                _ => {}
            }
            match Self::try_place(dir, settings)? {
                Some(job) => return Ok(job),
                None if Instant::now() >= deadline => return Err(Errno(libc::EUSERS)),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Tries once to take a place. Returns `None` if the folder was removed in the meantime or all places are taken.
    fn try_place(dir: &Path, settings: &Settings) -> Result<Option<Self>, Errno> {
        let path = dir.join("fabric");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_CLOEXEC);
        let file = match options.open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let Some(slot) = (0..MAX_PROCESSES).find(|slot| lock::try_hold(&file, u64::from(*slot), 1)) else {
            return Ok(None);
        };
        // The lock counts only if the file still is the job's: another process may have removed it before we locked.
        let same = |on_disk: std::fs::Metadata| file.metadata().is_ok_and(|held| held.ino() == on_disk.ino());
        if !std::fs::metadata(&path).is_ok_and(same) {
            return Ok(None);
        }
        // The table is mapped through an open file of its own: a mapping that a child by fork inherits would keep the
        // locks of the file that it belongs to.
        let table = Table::open(&options.open(&path)?)?;
        let generation = random()?;
        let job = Self { dir: dir.to_owned(), file, table, slot, generation };
        cleanup::remove_process(&job, slot);
        if let Some(entry) = job.table.entry(slot) {
            entry.pid.store(std::process::id(), Ordering::Relaxed);
            entry.pid_namespace.store(pid_namespace(), Ordering::Relaxed);
            entry.rank.store(settings.rank.unwrap_or(u32::from(slot)), Ordering::Relaxed);
            entry.devices.store(settings.devices as u32, Ordering::Relaxed);
            entry.gone.store(0, Ordering::Relaxed);
            entry.queue_pairs.iter().for_each(|count| count.store(0, Ordering::Relaxed));
            entry.generation.store(generation, Ordering::Release);
        }
        Ok(Some(job))
    }
}

/// Descriptor of the file whose locks tell that this process lives.
static LOCKED: AtomicI32 = AtomicI32::new(-1);

/// Sees to it that children by fork don't hold this process's place: they may outlive it.
fn let_go_in_children(file: &File) {
    static ONCE: Once = Once::new();
    LOCKED.store(file.as_raw_fd(), Ordering::Relaxed);
    ONCE.call_once(|| {
        // SAFETY: the handler only closes a descriptor.
        unsafe { libc::pthread_atfork(None, None, Some(let_go)) };
    });
}

extern "C" fn let_go() {
    let fd = LOCKED.swap(-1, Ordering::Relaxed);
    if fd >= 0 {
        // SAFETY: in the child nobody uses the parent's job, whose state is never dropped there.
        unsafe { libc::close(fd) };
    }
}

/// Returns which processes our process numbers are about; 0 if the system doesn't tell.
pub(crate) fn pid_namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

/// Returns a random number other than 0.
fn random() -> Result<u32, Errno> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes).max(1))
}

fn explain(error: Errno, base: &Path) -> Errno {
    let what = "No place in the job's shared memory";
    let why = format!("The folder {} answered: {error}", base.display());
    let remedy = match error.0 {
        libc::EUSERS => "Start fewer processes, or keep them apart with EFA_EMULATOR_JOB".to_owned(),
        libc::ENOSPC => "Make room there, or name another folder with EFA_EMULATOR_DIR".to_owned(),
        libc::EPROTO => {
            "It belongs to a running job of another version of this library: use another EFA_EMULATOR_JOB"
                .to_owned()
        }
        _ => "Name a folder that can be written to with EFA_EMULATOR_DIR".to_owned(),
    };
    complain(what, &why, &remedy);
    error
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::Job;
    use crate::settings::Settings;

    fn settings(base: &std::path::Path, job: &str) -> Settings {
        Settings {
            base: base.to_owned(),
            job: job.to_owned(),
            devices: 1,
            rank: None,
            plan: Default::default(),
            log: None,
            cross_memory: true,
            rdma: Default::default(),
            queue_pairs: 4,
        }
    }

    #[test]
    fn places_are_distinct_and_given_back() {
        let base = tempfile::tempdir().unwrap();
        let a = Job::join(&settings(base.path(), "j")).unwrap();
        let b = Job::join(&settings(base.path(), "j")).unwrap();
        assert_ne!(a.slot(), b.slot());
        assert!(a.is_alive(b.slot(), b.generation()));
        assert!(!a.is_alive(b.slot(), b.generation() ^ 1));
        let (slot, generation) = (b.slot(), b.generation());
        b.leave();
        drop(b);
        assert!(!a.is_alive(slot, generation));
        a.leave();
        drop(a);
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0, "the last one removes the folder");
    }

    #[test]
    fn what_a_dead_process_left_is_removed_by_the_next() {
        let base = tempfile::tempdir().unwrap();
        let alive = Job::join(&settings(base.path(), "j")).unwrap();
        let dead = Job::join(&settings(base.path(), "j")).unwrap();
        let left = dead.queue_path(dead.slot(), dead.generation(), 0, 7);
        std::fs::write(&left, "x").unwrap();
        let slot = dead.slot();
        drop(dead); // the kernel gives the lock back, as it does for a killed process
        assert_ne!(alive.table().entry(slot).unwrap().generation.load(Ordering::Relaxed), 0);
        let next = Job::join(&settings(base.path(), "j")).unwrap();
        assert!(!left.exists());
        assert_eq!(next.slot(), slot);
    }

    #[test]
    fn a_dead_job_is_removed_by_the_next_job() {
        let base = tempfile::tempdir().unwrap();
        let dead = Job::join(&settings(base.path(), "dead")).unwrap();
        let left = dead.dir().to_owned();
        drop(dead);
        assert!(left.exists());
        let alive = Job::join(&settings(base.path(), "alive")).unwrap();
        assert!(!left.exists());
        assert!(alive.dir().exists());
    }

    #[test]
    fn a_table_of_another_version_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let other = Job::join(&settings(base.path(), "j")).unwrap();
        let path = other.dir().join("fabric");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8] ^= 1;
        std::os::unix::fs::FileExt::write_at(
            &std::fs::File::options().write(true).open(&path).unwrap(),
            &bytes[..16],
            0,
        )
        .unwrap();
        assert_eq!(Job::join(&settings(base.path(), "j")).unwrap_err().0, libc::EPROTO);
        drop(other);
    }
}
