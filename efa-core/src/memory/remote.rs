//! Where a region of another rank is: [`RemoteRegion`].

use serde::{Deserialize, Serialize};

use super::Access;
use crate::error::{Error, Result};

/// Where a region of another rank is: plain data, to be sent to whoever shall use it.
///
/// What comes from another rank is checked when it is read, by [`RemoteRegion::from_bytes`] and by serde alike: the region
/// ends within the address space. Whether its owner really has such a region shows when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct RemoteRegion {
    rank: u32,
    access: Access,
    base: u64,
    key: u64,
    bytes: u64,
}

/// A region as somebody else wrote it.
#[derive(Deserialize)]
struct Unchecked {
    rank: u32,
    access: Access,
    base: u64,
    key: u64,
    bytes: u64,
}

impl TryFrom<Unchecked> for RemoteRegion {
    type Error = Error;

    fn try_from(Unchecked { rank, access, base, key, bytes }: Unchecked) -> Result<Self> {
        // No slice is longer, so lengths fit into `usize` and `isize` wherever the region is used.
        if isize::try_from(bytes).is_err() || base.checked_add(bytes).is_none() {
            let why = format!("its {bytes} bytes from {base:#x} on go past the end of the address space");
            return Err(unreadable(why));
        }
        Ok(Self { rank, access, base, key, bytes })
    }
}

#[cold]
fn unreadable(why: String) -> Error {
    Error::setting("cannot read a remote region", why, "send it with RemoteRegion::to_bytes")
}

impl RemoteRegion {
    /// Describes a region of this rank.
    pub(super) fn of_ours(rank: u32, access: Access, base: u64, key: u64, bytes: u64) -> Self {
        Self { rank, access, base, key, bytes }
    }

    /// How many bytes [`RemoteRegion::to_bytes`] makes.
    pub const WIRE_SIZE: usize = 32;

    /// The rank whose memory it is.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// The region's size in bytes.
    pub fn byte_len(&self) -> usize {
        self.bytes as usize
    }

    /// What may be done with it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The region as bytes, to be sent in a message: little-endian, of fixed size.
    pub fn to_bytes(&self) -> [u8; Self::WIRE_SIZE] {
        let mut wire = [0; Self::WIRE_SIZE];
        wire[0..4].copy_from_slice(&self.rank.to_le_bytes());
        wire[4] = self.access.allows_read() as u8 | (self.access.allows_write() as u8) << 1;
        wire[8..16].copy_from_slice(&self.base.to_le_bytes());
        wire[16..24].copy_from_slice(&self.key.to_le_bytes());
        wire[24..32].copy_from_slice(&self.bytes.to_le_bytes());
        wire
    }

    /// What [`RemoteRegion::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Setting`] when the bytes are not from there.
    pub fn from_bytes(wire: &[u8]) -> Result<Self> {
        let wire: &[u8; Self::WIRE_SIZE] = wire
            .try_into()
            .map_err(|_| unreadable(format!("it has {} bytes, not {}", wire.len(), Self::WIRE_SIZE)))?;
        let word = |at: usize| u64::from_le_bytes(wire[at..at + 8].try_into().expect("eight bytes"));
        let access = match (wire[4], &wire[5..8]) {
            (1, [0, 0, 0]) => Access::Read,
            (2, [0, 0, 0]) => Access::Write,
            (3, [0, 0, 0]) => Access::ReadWrite,
            (other, _) => return Err(unreadable(format!("its access is {other}"))),
        };
        let rank = u32::from_le_bytes(wire[0..4].try_into().expect("four bytes"));
        Unchecked { rank, access, base: word(8), key: word(16), bytes: word(24) }.try_into()
    }

    /// The fabric address and key of `count` bytes at `offset`.
    pub(crate) fn locate(&self, verb: &str, offset: usize, count: usize) -> Result<(u64, u64)> {
        let within = (offset as u64).checked_add(count as u64).is_some_and(|end| end <= self.bytes);
        match self.base.checked_add(offset as u64) {
            Some(address) if within => Ok((address, self.key)),
            _ => Err(Error::misuse(
                format!("cannot {verb} {count} bytes at offset {offset} of a region of rank {}", self.rank),
                format!("the region has {} bytes", self.bytes),
                "stay within the region, or let its owner expose a larger one",
            )),
        }
    }

    /// Checks that the region may be used in this way.
    pub(crate) fn check(&self, verb: &str, read: bool, write: bool) -> Result<()> {
        if (read && !self.access.allows_read()) || (write && !self.access.allows_write()) {
            return Err(Error::misuse(
                format!("cannot {verb} a region of rank {}", self.rank),
                format!("its owner opened it for {:?} only", self.access),
                "let its owner expose it with more access",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;

    const REGION: RemoteRegion =
        RemoteRegion { rank: 3, access: Access::Write, base: 0x1000, key: u64::MAX - 1, bytes: 64 };

    #[test]
    fn a_region_survives_the_wire_and_damage_is_noticed() {
        let wire = REGION.to_bytes();
        assert_eq!(RemoteRegion::from_bytes(&wire).unwrap(), REGION);
        assert!(RemoteRegion::from_bytes(&wire[1..]).is_err());
        let mut damaged = wire;
        damaged[4] = 9;
        assert!(RemoteRegion::from_bytes(&damaged).is_err());
        let endless = RemoteRegion { bytes: u64::MAX, ..REGION };
        assert!(RemoteRegion::from_bytes(&endless.to_bytes()).is_err());
    }

    #[test]
    fn an_access_outside_the_region_or_its_rights_is_refused_here() {
        assert_eq!(REGION.locate("write", 60, 4).unwrap(), (0x103c, u64::MAX - 1));
        assert!(REGION.locate("write", 60, 5).is_err());
        assert!(REGION.locate("write", usize::MAX, 5).is_err());
        assert!(REGION.check("read", true, false).is_err());
        assert!(REGION.check("write", false, true).is_ok());
    }

    #[test]
    fn a_region_that_serde_reads_is_checked_like_one_from_bytes() {
        let wire = serde_json::to_value(REGION).unwrap();
        assert_eq!(serde_json::from_value::<RemoteRegion>(wire.clone()).unwrap(), REGION);
        for (field, value) in [("base", u64::MAX - 63), ("bytes", u64::MAX), ("bytes", 1 << 63)] {
            let mut bad = wire.clone();
            bad[field] = value.into();
            let error = serde_json::from_value::<RemoteRegion>(bad).unwrap_err().to_string();
            assert!(error.contains("past the end of the address space"), "{error}");
        }
    }

    #[test]
    fn fuzz_whatever_comes_as_a_region_is_refused_or_names_only_bytes_within_it() {
        let json = serde_json::to_vec(&REGION).unwrap();
        fuzz::rounds("memory::remote", 50_000, |random| {
            let wire: [u8; RemoteRegion::WIRE_SIZE] = std::array::from_fn(|_| random.byte());
            let read = [
                RemoteRegion::from_bytes(&random.mutate(&REGION.to_bytes())).ok(),
                RemoteRegion::from_bytes(&wire).ok(),
                serde_json::from_slice(&random.mutate(&json)).ok(),
            ];
            for region in read.into_iter().flatten() {
                assert_eq!(RemoteRegion::from_bytes(&region.to_bytes()).unwrap(), region);
                let (offset, count) = (random.number() as usize, random.number() as usize);
                if let Ok((address, _)) = region.locate("read", offset, count) {
                    let end = u128::from(address) + count as u128;
                    assert!(address >= region.base);
                    assert!(end <= u128::from(region.base) + u128::from(region.bytes), "{region:?}");
                }
            }
        });
    }
}
