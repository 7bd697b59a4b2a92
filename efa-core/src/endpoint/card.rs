//! What ranks tell each other before they connect: [`AddressCard`].

use serde::{Deserialize, Serialize};

use crate::admission::{Admission, Fingerprint};
use crate::error::{Error, Peer, Result};

/// Who a rank is, where its endpoint can be reached, and for which membership that was opened.
///
/// Only [`Unconnected::card`](super::Unconnected::card) makes one, so the admission is that which opened the endpoint.
/// Ranks send it to one another as any serde format has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressCard {
    pub(super) peer: Peer,
    pub(super) address: Vec<u8>,
    pub(super) member: Fingerprint,
    pub(super) admission: Fingerprint,
}

impl AddressCard {
    /// Whose it is.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The endpoint's address as libfabric has it.
    pub fn address(&self) -> &[u8] {
        &self.address
    }

    /// The digest of the member's facts when the card was made.
    pub fn member(&self) -> Fingerprint {
        self.member
    }

    /// What the endpoint's admission was given for.
    pub fn admission(&self) -> Fingerprint {
        self.admission
    }
}

/// Checks that the cards are those of all who were admitted, in order: as they were judged, and by the same verdict.
pub(super) fn check(cards: &[AddressCard], me: usize, admission: &Admission) -> Result<()> {
    let what = "cannot connect the endpoint";
    let together = "let all members be judged together, and connect just those";
    let members = admission.members();
    if cards.len() != members {
        let why = format!("there are {} peers, and {members} members were admitted", cards.len());
        return Err(Error::misuse(what, why, together));
    }
    if me >= members {
        let why = format!("there is no rank {me} among {members}");
        return Err(Error::misuse(what, why, "number the ranks from 0"));
    }
    for (rank, card) in cards.iter().enumerate() {
        if card.peer.rank != rank {
            let why = format!("the card of {} is in the place of rank {rank}", card.peer);
            return Err(Error::misuse(what, why, "give the cards in the order of the ranks"));
        }
        let why = if admission.member(rank) != Some(card.member) {
            "it is not the member that was judged as this rank, or its facts have changed since"
        } else if card.admission != admission.fingerprint() {
            "it was admitted with another membership, or by another policy"
        } else {
            continue;
        };
        return Err(Error::refused(false, format!("cannot connect to {}", card.peer), why, together));
    }
    Ok(())
}
