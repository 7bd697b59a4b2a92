//! The job key: 32 random bytes that every member of a job holds and nobody else.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{Error, Result};
use efa_error::input::read_bounded;

/// How long a job key is, in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// The secret that the members of a job share; the control connections are encrypted and authenticated with it.
///
/// It is wiped from memory when dropped and never printed by `Debug`.
#[derive(Clone)]
pub struct JobKey(Zeroizing<[u8; KEY_BYTES]>);

impl JobKey {
    /// A new random key.
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
    /// # Errors
    /// [`Error::System`] if the file can't be read, [`Error::Setting`] if it holds anything else or is a pipe that nobody
    /// writes to.
    pub fn from_file(path: &Path) -> Result<Self> {
        /// Room for the digits and for generous white space; what is longer is no key.
        const LONGEST: usize = 4096;
        let bytes = Zeroizing::new(read_bounded(path, LONGEST)?);
        let digits = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        Self::from_hex(&path.display().to_string(), &digits)
    }

    /// The key that rank 0 handed out.
    pub(super) fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The key as it is handed out.
    pub(super) fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The key as 64 hexadecimal digits, for the environment of a rank.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobKey(secret)")
    }
}

/// The pre-shared key of the Noise handshake.
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
    fn what_is_no_key_file_is_refused_without_being_read_to_its_end() {
        let error = JobKey::from_file(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("64"), "{error}");
    }
}
