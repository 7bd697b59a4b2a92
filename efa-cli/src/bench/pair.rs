//! The two ranks between which messages are measured: [`Pair`].

use std::ops::Deref;

use efa_core::Endpoint;

/// One of the two ranks between which messages are measured, with its endpoint.
pub(super) struct Pair<'a> {
    endpoint: &'a Endpoint,
    /// 0 at the first rank of the pair, which takes the times, and 1 at the second.
    pub(super) side: usize,
    /// The other rank.
    pub(super) peer: usize,
}

impl<'a> Pair<'a> {
    /// Returns this rank's place in the pair, or `None` where this rank is neither of `ranks`.
    pub(super) fn of(endpoint: &'a Endpoint, ranks: [usize; 2]) -> Option<Self> {
        let side = ranks.iter().position(|&rank| rank == endpoint.rank())?;
        Some(Self { endpoint, side, peer: ranks[1 - side] })
    }
}

impl Deref for Pair<'_> {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        self.endpoint
    }
}
