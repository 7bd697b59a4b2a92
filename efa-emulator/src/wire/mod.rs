//! What processes share: layouts of the files in a job's folder, and the rules by which they are read and written.
//!
//! Any of it may be changed or left half done by another process at any moment. Hence everything is an atomic or a copy
//! of bytes, every index is bounded by a size that this process checked once, and no state waits for a process that may
//! have died.

pub(crate) mod process;
pub(crate) mod queue;
pub(crate) mod ring;

use crate::abi::verbs::ibv_gid;

/// Longest message of the device, in bytes: what EFA reports.
pub(crate) const MAX_MESSAGE: usize = 8928;

/// Which device of which process: what an address says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Address {
    pub(crate) slot: u16,
    pub(crate) generation: u32,
    pub(crate) device: u8,
}

impl Address {
    /// Returns the address as a GID: link-local, with the process and the device in the part that names the interface.
    pub(crate) fn gid(self) -> ibv_gid {
        let mut raw = [0; 16];
        raw[..2].copy_from_slice(&[0xfe, 0x80]);
        raw[8] = 0x02; // locally administered
        raw[9] = self.device;
        raw[10..12].copy_from_slice(&self.slot.to_be_bytes());
        raw[12..].copy_from_slice(&self.generation.to_be_bytes());
        ibv_gid { raw }
    }

    /// Returns the address that a GID stands for, or `None` if it isn't one of ours.
    pub(crate) fn from_gid(gid: ibv_gid) -> Option<Self> {
        let address = Self {
            slot: u16::from_be_bytes([gid.raw[10], gid.raw[11]]),
            generation: u32::from_be_bytes([gid.raw[12], gid.raw[13], gid.raw[14], gid.raw[15]]),
            device: gid.raw[9],
        };
        (address.gid() == gid && address.generation != 0).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::Address;
    use crate::abi::verbs::ibv_gid;

    #[test]
    fn an_address_survives_the_way_through_a_gid() {
        let address = Address { slot: 513, generation: 0xdead_beef, device: 31 };
        assert_eq!(Address::from_gid(address.gid()), Some(address));
        assert_eq!(Address::from_gid(ibv_gid { raw: [0; 16] }), None);
        assert_eq!(Address::from_gid(ibv_gid { raw: [0xff; 16] }), None);
    }
}
