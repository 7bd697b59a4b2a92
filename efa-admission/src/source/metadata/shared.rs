//! One reader of the metadata for all ranks of a host: the others wait and take what it read.
//!
//! The first rank reads under a lock on a file in a folder that belongs to this user alone, and leaves the outcome
//! there. Where no such folder can be had, each rank reads for itself.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::facts::MemberFacts;
use crate::failure::MetadataFailure;

/// What was read stays good for so long: long enough for ranks that start together, and too short for a person to mend
/// something and start again.
const GOOD_FOR: Duration = Duration::from_secs(5);
/// How often the lock is tried.
const NAP: Duration = Duration::from_millis(5);
/// An outcome is far shorter.
const LONGEST: u64 = 4 << 20;

type Outcome = Result<MemberFacts, MetadataFailure>;

#[derive(Serialize, Deserialize)]
struct Saved {
    /// When it was read, in milliseconds since 1970.
    at: u64,
    endpoint: String,
    outcome: Outcome,
}

/// Returns what a rank of this host has just read at this endpoint, or else what `read` gives. Waits up to `patience`
/// for a rank that is reading.
pub(super) fn shared(
    folder: &Path,
    endpoint: &str,
    patience: Duration,
    read: impl FnOnce() -> Outcome,
) -> Outcome {
    let Some(mut file) = open(folder, endpoint).and_then(|file| locked(file, patience)) else {
        return read();
    };
    if let Some(outcome) = saved(&mut file, endpoint) {
        return outcome;
    }
    let outcome = read();
    save(&mut file, endpoint, &outcome);
    outcome
}

/// Returns the folder that ranks of this user share.
pub(super) fn folder() -> Option<PathBuf> {
    let user = fs::metadata("/proc/self").ok()?.uid();
    Some(std::env::temp_dir().join(format!("efa-metadata-{user}")))
}

/// Returns the file for this endpoint, in a folder that nobody else can write to.
fn open(folder: &Path, endpoint: &str) -> Option<File> {
    // That it is there already is no failure; what it is gets looked at in any case.
    let _ = DirBuilder::new().mode(0o700).create(folder);
    let found = fs::symlink_metadata(folder).ok()?;
    let user = fs::metadata("/proc/self").ok()?.uid();
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        return None;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digest = Sha256::digest(format!("{endpoint}\n{boot}"));
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(name);
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).ok()
}

fn locked(file: File, patience: Duration) -> Option<File> {
    let end = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(NAP),
            Err(_) => return None,
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn saved(file: &mut File, endpoint: &str) -> Option<Outcome> {
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    let saved: Saved = serde_json::from_slice(&text).ok()?;
    let age = now().checked_sub(saved.at)?;
    (saved.endpoint == endpoint && u128::from(age) <= GOOD_FOR.as_millis()).then_some(saved.outcome)
}

/// Leaves the outcome to the others; if that fails they read for themselves.
fn save(file: &mut File, endpoint: &str, outcome: &Outcome) {
    let saved = Saved { at: now(), endpoint: endpoint.to_owned(), outcome: outcome.clone() };
    let Ok(text) = serde_json::to_vec(&saved) else { return };
    let _ = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(&text));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn outcome() -> Outcome {
        Err(MetadataFailure::Forbidden)
    }

    #[test]
    fn ranks_that_start_together_read_once() {
        let scratch = tempfile::tempdir().expect("a folder");
        let folder = scratch.path().join("shared");
        let reads = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let read = || {
                        reads.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(50));
                        outcome()
                    };
                    assert_eq!(shared(&folder, "http://a", PATIENCE, read), outcome());
                });
            }
        });
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        let other = shared(&folder, "http://b", PATIENCE, || Err(MetadataFailure::Unreachable));
        assert_eq!(other, Err(MetadataFailure::Unreachable));
    }

    #[test]
    fn what_is_old_or_not_ours_is_read_again() {
        let scratch = tempfile::tempdir().expect("a folder");
        let folder = scratch.path().join("shared");
        let mut file = open(&folder, "http://a").expect("a file");
        let old = Saved { at: now() - 60_000, endpoint: "http://a".into(), outcome: outcome() };
        file.write_all(&serde_json::to_vec(&old).expect("plain data")).expect("writable");
        let again = || Err(MetadataFailure::Unreachable);
        assert_eq!(shared(&folder, "http://a", PATIENCE, again), Err(MetadataFailure::Unreachable));

        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("ours");
        assert!(open(&folder, "http://a").is_none(), "others can write there");
        assert_eq!(shared(&folder, "http://a", PATIENCE, outcome), outcome());
    }
}
