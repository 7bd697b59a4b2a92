//! What ranks tell each other before they connect: [`PeerAddress`].

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::tag::MAX_RANKS;
use crate::admission::{Admission, Fingerprint};
use crate::error::{Error, Peer, Result};
use crate::fabric::Provider;

/// The longest address of any provider, in bytes: our own is asked for with as much room.
const MAX_ADDRESS: usize = 512;
/// The longest name of shm, with its final zero: `SMR_NAME_MAX`. libfabric cuts longer names off without a word.
const MAX_NAME: usize = 256;

/// Who a rank is, where its endpoint can be reached, and for which membership that was opened.
///
/// Only [`Unconnected::peer_address`](super::Unconnected::peer_address) makes one, so the admission is that which opened the endpoint.
/// Ranks send it to one another as any serde format has it. One that comes from another rank is checked when it is read,
/// and once more by [`Unconnected::connect`](super::Unconnected::connect), which knows the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct PeerAddress {
    pub(super) peer: Peer,
    pub(super) address: Vec<u8>,
    pub(super) member: Fingerprint,
    pub(super) admission: Fingerprint,
}

/// A peer address as somebody else wrote it.
#[derive(Deserialize)]
struct Unchecked {
    peer: Peer,
    address: Vec<u8>,
    member: Fingerprint,
    admission: Fingerprint,
}

impl TryFrom<Unchecked> for PeerAddress {
    type Error = Error;

    fn try_from(Unchecked { peer, address, member, admission }: Unchecked) -> Result<Self> {
        let why = if peer.rank >= MAX_RANKS {
            format!("it is of rank {}, and ranks are below {MAX_RANKS}", peer.rank)
        } else if !(1..=MAX_ADDRESS).contains(&address.len()) {
            format!("its address has {} bytes, and addresses have 1 to {MAX_ADDRESS}", address.len())
        } else {
            return Ok(Self { peer, address, member, admission });
        };
        Err(Error::setting(
            "cannot read a rank's peer address",
            why,
            "send it as Unconnected::peer_address made it",
        ))
    }
}

impl PeerAddress {
    /// Whose it is.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The endpoint's address as libfabric has it.
    pub fn address(&self) -> &[u8] {
        &self.address
    }

    /// The digest of the member's facts when the peer address was made.
    pub fn member(&self) -> Fingerprint {
        self.member
    }

    /// What the endpoint's admission was given for.
    pub fn admission(&self) -> Fingerprint {
        self.admission
    }
}

/// Checks that the peer addresses are those of all who were admitted, in order: as they were judged, and by the same verdict.
pub(super) fn check(peer_addresses: &[PeerAddress], me: usize, admission: &Admission) -> Result<()> {
    let what = "cannot connect the endpoint";
    let together = "let all members be judged together, and connect just those";
    let members = admission.members();
    if peer_addresses.len() != members {
        let why = format!("there are {} peers, and {members} members were admitted", peer_addresses.len());
        return Err(Error::misuse(what, why, together));
    }
    if me >= members {
        let why = format!("there is no rank {me} among {members}");
        return Err(Error::misuse(what, why, "number the ranks from 0"));
    }
    let mut owners = HashMap::with_capacity(peer_addresses.len());
    for (rank, peer_address) in peer_addresses.iter().enumerate() {
        if peer_address.peer.rank != rank {
            let why = format!("the address of {} is in the place of rank {rank}", peer_address.peer);
            return Err(Error::misuse(what, why, "give the peer addresses in the order of the ranks"));
        }
        if let Some(other) = owners.insert(&peer_address.address, rank) {
            let why = format!("rank {other} and {} have the same address", peer_address.peer);
            return Err(Error::misuse(what, why, "give each rank an endpoint of its own"));
        }
        let why = if admission.member(rank) != Some(peer_address.member) {
            "it is not the member that was judged as this rank, or its facts have changed since"
        } else if peer_address.admission != admission.fingerprint() {
            "it was admitted with another membership, or by another policy"
        } else {
            continue;
        };
        return Err(Error::refused(false, format!("cannot connect to {}", peer_address.peer), why, together));
    }
    Ok(())
}

/// Checks that libfabric can make sense of a peer's address, given our own of the same provider. libfabric itself is
/// told no length: it reads as many bytes as an address of the provider has, or up to a zero.
pub(super) fn check_address(provider: Provider, ours: &[u8], theirs: &[u8], peer: &Peer) -> Result<()> {
    let why = if provider == Provider::Shm {
        match theirs.split_last() {
            Some((0, name)) if name.is_empty() || name.contains(&0) => {
                "is a name with a zero in it, or an empty one"
            }
            Some((0, name)) if name.len() >= MAX_NAME => "is too long for a name",
            Some((0, _)) => return Ok(()),
            _ => "is a name that does not end in a zero",
        }
    } else if theirs.len() != ours.len() {
        "is not as long as ours"
    } else if provider.uses_ip() && theirs.get(..FAMILY) != ours.get(..FAMILY) {
        // From the family libfabric takes the length.
        "is of another family than ours"
    } else {
        return Ok(());
    };
    Err(Error::misuse(
        "cannot connect the endpoint",
        format!("the address of {peer} ({} bytes, ours has {}) {why}", theirs.len(), ours.len()),
        "let all ranks use one provider",
    ))
}

/// The bytes of a socket address's family.
const FAMILY: usize = size_of::<libc::sa_family_t>();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;

    fn peer_address() -> PeerAddress {
        let peer = Peer { rank: 3, host: "node-3".into(), address: "fi_sockaddr_in://10.0.0.3:4711".into() };
        let digest: Fingerprint = serde_json::from_value(vec![7; 32].into()).unwrap();
        PeerAddress { peer, address: b"efa-ep.1.2.3.4\0".to_vec(), member: digest, admission: digest }
    }

    #[test]
    fn a_card_survives_the_wire_and_one_that_no_endpoint_makes_is_refused() {
        let wire = serde_json::to_value(peer_address()).unwrap();
        assert_eq!(serde_json::from_value::<PeerAddress>(wire.clone()).unwrap(), peer_address());
        for (field, value) in [
            ("/address", vec![0; 0].into()),
            ("/address", vec![1; 513].into()),
            ("/peer/rank", (1 << 20).into()),
        ] {
            let mut bad: serde_json::Value = wire.clone();
            *bad.pointer_mut(field).unwrap() = value;
            let error = serde_json::from_value::<PeerAddress>(bad).unwrap_err().to_string();
            assert!(error.contains("cannot read a rank's peer address"), "{error}");
        }
    }

    #[test]
    fn a_name_has_one_zero_and_that_is_its_last_byte() {
        let check = |name: &[u8]| check_address(Provider::Shm, b"efa-ep\0", name, &peer_address().peer);
        check(b"a\0").unwrap();
        check(&[&[b'a'; 255][..], b"\0"].concat()).unwrap();
        for bad in [&b""[..], b"\0", b"a", b"a\0b", b"a\0b\0", b"a\0\0", &[&[b'a'; 256][..], b"\0"].concat()]
        {
            assert!(matches!(check(bad), Err(Error::Misuse(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_socket_address_has_the_length_and_family_of_ours() {
        let ours = [2, 0, 0x12, 0x34, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let check = |theirs: &[u8]| check_address(Provider::Tcp, &ours, theirs, &peer_address().peer);
        let mut theirs = ours;
        theirs[4] = 10;
        check(&theirs).unwrap();
        // AF_INET6 in so few bytes would be read past its end.
        theirs[0] = 10;
        assert!(check(&theirs).is_err());
        assert!(check(&ours[..15]).is_err() && check(&[&ours[..], &[0]].concat()).is_err());
        // A name is no address of sockets.
        assert!(check(b"efa-ep.1.2.3.4\0").is_err());
        assert!(check_address(Provider::Efa, &[1; 32], &[2; 16], &peer_address().peer).is_err());
        check_address(Provider::Efa, &[1; 32], &[2; 32], &peer_address().peer).unwrap();
    }

    #[test]
    fn fuzz_whatever_comes_as_a_card_is_refused_or_can_be_given_to_libfabric() {
        let wire = serde_json::to_vec(&peer_address()).unwrap();
        let sockets: [&[u8]; 2] = [&[2; 16], &[10; 28]];
        fuzz::rounds("endpoint::peer_address", 20_000, |random| {
            let bytes = random.mutate(&wire);
            let Ok(peer_address) = serde_json::from_slice::<PeerAddress>(&bytes) else { return };
            assert!(
                peer_address.peer.rank < MAX_RANKS && (1..=MAX_ADDRESS).contains(&peer_address.address.len())
            );
            let address = random.mutate(&peer_address.address);
            if check_address(Provider::Shm, b"a\0", &address, &peer_address.peer).is_ok() {
                let zero = address.iter().position(|&byte| byte == 0);
                assert_eq!(zero, Some(address.len() - 1), "{address:?}");
                assert!((2..=MAX_NAME).contains(&address.len()), "{address:?}");
            }
            for ours in sockets {
                let theirs = random.mutate(ours);
                if check_address(Provider::Tcp, ours, &theirs, &peer_address.peer).is_ok() {
                    assert_eq!((theirs.len(), &theirs[..2]), (ours.len(), &ours[..2]));
                }
            }
        });
    }
}
