//! The job key: 32 random bytes that every member of a job holds and nobody else.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{Error, Result};
use efa_error::input::read_bounded;

/// How long a job key is, in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// The rights of a file that let others than its owner read or write it.
const RIGHTS_OF_OTHERS: u32 = 0o066;

/// The secret that the members of a job share; the control connections are encrypted and authenticated with it.
///
/// It is wiped from memory when dropped and never printed by `Debug`.
#[derive(Clone)]
pub struct JobKey(Zeroizing<[u8; KEY_BYTES]>);

impl JobKey {
    /// Makes a new random key.
    ///
    /// # Errors
    /// [`Error::System`] if the system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|error| {
            Error::system(error.into(), "cannot make a job key", "make sure that /dev/urandom can be read")
        })?;
        Ok(Self(bytes))
    }

    /// Reads a key from 64 hexadecimal digits; white space around them is ignored.
    ///
    /// # Errors
    /// [`Error::Setting`] naming `source` (a variable or a file) if it is anything else. The digits themselves
    /// are not repeated in the message.
    pub fn from_hex(source: &str, digits: &str) -> Result<Self> {
        let digits = digits.trim();
        let bad = |why: String| {
            Error::setting(
                format!("cannot use the job key in {source}"),
                why,
                "give 64 hexadecimal digits, as `openssl rand -hex 32` prints them",
            )
        };
        if digits.len() != 2 * KEY_BYTES {
            return Err(bad(format!("it has {} characters instead of 64", digits.chars().count())));
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(bad("it holds a character that is no hexadecimal digit".into()));
            };
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(bytes))
    }

    /// Reads a key from a file that holds 64 hexadecimal digits.
    ///
    /// A file that others than its owner may read or write is refused, as ssh refuses such a key. If this process can't
    /// change that, because the file belongs to another user (a secret that root has mounted) or its file system is mounted
    /// read-only, the key is used and a warning is logged.
    ///
    /// # Errors
    /// [`Error::System`] if the file can't be read, [`Error::Setting`] if it holds anything else, is open to others, or is a
    /// pipe that nobody writes to.
    pub fn from_file(path: &Path) -> Result<Self> {
        check_rights(path)?;
        /// Room for the digits and for generous white space; what is longer is no key.
        const LONGEST: usize = 4096;
        let bytes = Zeroizing::new(read_bounded(path, LONGEST)?);
        let digits = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        Self::from_hex(&path.display().to_string(), &digits)
    }

    /// Takes the key that rank 0 handed out.
    pub(super) fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// Returns the key as it is handed out.
    pub(super) fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Returns the key as 64 hexadecimal digits, for the environment of a rank.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Refuses a file that others than its owner may read or write, or warns of it.
fn check_rights(path: &Path) -> Result<()> {
    let file = fs::metadata(path).map_err(|error| Error::file(error, path))?;
    // Whoever else reads a pipe takes its bytes away from us.
    if !file.is_file() || file.mode() & RIGHTS_OF_OTHERS == 0 {
        return Ok(());
    }
    let why = format!("its mode {:04o} lets other users read or change the key", file.mode() & 0o7777);
    if can_change(path, &file) {
        return Err(Error::setting(
            format!("cannot use the job key in {}", path.display()),
            why,
            format!(
                "make a new key, since this one may be known, and protect it: chmod 600 {}",
                path.display()
            ),
        ));
    }
    log::warn!(
        "the job key in {0} is not secret: {why}; its owner mends that by: chmod 600 {0}",
        path.display()
    );
    Ok(())
}

/// Returns whether this process could change the rights of the file.
fn can_change(path: &Path, file: &Metadata) -> bool {
    let is_own = file.uid() == nix::unistd::geteuid().as_raw();
    let is_read_only = || statvfs(path).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_RDONLY));
    is_own && !is_read_only()
}

impl fmt::Debug for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobKey(secret)")
    }
}

/// Returns the pre-shared key of the Noise handshake.
///
/// Hashed with a purpose, so that the job key can serve other purposes too.
pub(super) fn pre_shared_key(key: &JobKey) -> Zeroizing<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(b"efa control channel, job key: ");
    hash.update(key.0.as_slice());
    Zeroizing::new(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_survives_the_way_through_the_environment() {
        let key = JobKey::generate().unwrap();
        let back = JobKey::from_hex("EFA_JOB_KEY", &format!(" {}\n", key.to_hex())).unwrap();
        assert_eq!(key.0, back.0);
        assert_ne!(key.0, JobKey::generate().unwrap().0);
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let key = JobKey::from_hex("test", &"ab".repeat(32)).unwrap();
        assert!(!format!("{key:?}").contains("ab"));
    }

    #[test]
    fn a_bad_key_is_refused_without_repeating_it() {
        for digits in ["", "abc", &"g0".repeat(32), &"ü".repeat(32), &"0".repeat(63)] {
            let error = JobKey::from_hex("EFA_JOB_KEY", digits).unwrap_err();
            assert!(matches!(error, Error::Setting(_)), "{error}");
            assert!(error.to_string().contains("EFA_JOB_KEY"), "{error}");
            assert!(digits.is_empty() || !error.to_string().contains(digits), "{error}");
        }
    }

    #[test]
    fn a_key_file_that_others_may_read_or_write_is_refused_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "ab".repeat(32)).unwrap();
        let read = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            JobKey::from_file(&path)
        };
        for mode in [0o600, 0o400, 0o700] {
            read(mode).unwrap();
        }
        for mode in [0o644, 0o640, 0o604, 0o660, 0o602, 0o444] {
            let error = read(mode).unwrap_err();
            assert!(matches!(error, Error::Setting(_)), "{error:?}");
            let text = error.to_string();
            let has_command = text.contains(&format!("chmod 600 {}", path.display()));
            assert!(has_command && text.contains(&format!("{mode:04o}")), "{text}");
            assert!(!text.contains("abab"), "{text}");
        }
    }

    #[test]
    fn a_key_file_of_another_user_is_used_though_others_may_read_it() {
        const NOBODY: u32 = 65_534;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "ab".repeat(32)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        match std::os::unix::fs::chown(&path, Some(NOBODY), None) {
            Ok(()) => drop(JobKey::from_file(&path).unwrap()),
            Err(_) => println!("NOT TESTED: only root can give a file away"),
        }
    }

    #[test]
    fn what_is_no_key_file_is_refused_without_being_read_to_its_end() {
        let error = JobKey::from_file(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("64"), "{error}");
    }
}
