//! What ranks tell each other before they connect: [`AddressCard`].

use serde::{Deserialize, Serialize};

use crate::admission::Fingerprint;
use crate::error::{Error, Peer, Result};

/// Where a rank's endpoint can be reached, and for which membership it was opened.
///
/// Only [`Unconnected::card`](super::Unconnected::card) makes one, so the fingerprint is that of the admission which
/// opened the endpoint. Ranks send it to one another as any serde format has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressCard {
    pub(super) peer: Peer,
    pub(super) address: Vec<u8>,
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

    /// What the endpoint's admission was given for.
    pub fn admission(&self) -> Fingerprint {
        self.admission
    }
}

/// Checks that the cards are those of all `members` ranks, in order, and that all were admitted together with us.
pub(super) fn check(cards: &[AddressCard], me: usize, members: usize, admission: Fingerprint) -> Result<()> {
    let what = "cannot connect the endpoint";
    let together = "let all members be judged together, and connect just those";
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
        if card.admission != admission {
            return Err(Error::refused(
                false,
                format!("cannot connect to {}", card.peer),
                format!(
                    "it was admitted with another membership than this rank {me} (its admission is for {:.12}, ours for \
                     {:.12})",
                    card.admission.to_string(),
                    admission.to_string()
                ),
                together,
            ));
        }
    }
    Ok(())
}
