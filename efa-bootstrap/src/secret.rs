//! The secret of one run of a job, from which everything beyond the control connections derives keys of its own.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{Error, Result};

/// How long a secret and the keys derived from it are, in bytes.
pub(super) const SECRET_BYTES: usize = 32;

/// A random secret that all ranks of a running job share, and nobody else.
///
/// Rank 0 makes a new one for each run and gives it to the others over their encrypted and authenticated control
/// connections, whether or not the job has a [job key](super::JobKey). The secret itself is never shown: programs and
/// transports derive keys from it, each under a label of its own. The same label gives the same key at every rank,
/// and nothing about a key follows from another.
///
/// ```
/// # fn main() -> efa_bootstrap::Result<()> {
/// use efa_bootstrap::{ControlConfig, Job};
///
/// let control = Job::alone().connect(&ControlConfig::default(), std::time::Duration::from_secs(1))?;
/// let secret = control.secret();
/// assert_eq!(secret.subkey("my checkpoints"), control.secret().subkey("my checkpoints"));
/// assert_ne!(secret.subkey("my checkpoints"), secret.subkey("my metrics"));
/// # control.leave();
/// # Ok(())
/// # }
/// ```
///
/// It is wiped from memory when dropped and never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct JobSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl JobSecret {
    /// Makes a new random secret.
    pub(super) fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|error| {
            Error::system(
                error.into(),
                "cannot make the secret of the job",
                "make sure that /dev/urandom can be read",
            )
        })?;
        Ok(Self(bytes))
    }

    /// Takes the secret that came over the control connection.
    pub(super) fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the bytes to be sent over the control connection.
    pub(super) fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// Returns the key of 32 bytes that belongs to `label`: HMAC-SHA256 of the label under the secret.
    pub fn subkey(&self, label: &str) -> [u8; SECRET_BYTES] {
        // HMAC takes keys of any length, so that this can't fail; an empty key would only be a weaker one.
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("HMAC takes keys of any length");
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Returns the first 8 bytes of [`subkey`](Self::subkey), as a big-endian number: for tags and tokens that
    /// have no room for more. Take the high bits where fewer are needed.
    pub fn subkey_u64(&self, label: &str) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.subkey(label);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for JobSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobSecret(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subkeys_are_hmac_sha256_of_their_labels() {
        // RFC 4231 has no test case with a key of 32 bytes; this one is from OpenSSL:
        // printf 'label' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0b0b…0b
        let secret = JobSecret::from_bytes([0x0b; SECRET_BYTES]);
        let hex: String = secret.subkey("label").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "fb01726762f0471b6c3ba709eea68ee1cdf0344806260502cfaf8f03b0595aa5");
        assert_eq!(format!("{:016x}", secret.subkey_u64("label")), hex[..16]);
    }

    #[test]
    fn secrets_and_labels_make_different_keys() {
        let (a, b) = (JobSecret::generate().unwrap(), JobSecret::generate().unwrap());
        assert_ne!(a, b);
        assert_ne!(a.subkey("tags"), b.subkey("tags"));
        assert_ne!(a.subkey("tags"), a.subkey("connections"));
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        assert_eq!(format!("{:?}", JobSecret::from_bytes([1; SECRET_BYTES])), "JobSecret(secret)");
    }
}
