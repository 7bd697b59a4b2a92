//! The tcp provider's connections: who may make one, and what follows when one breaks.
//!
//! Both need the patches to the built-in libfabric (`efa-sys/patches/tcp-*.patch`). An unpatched tcp provider
//! lets everybody connect who reaches the port, and replaces a broken connection without a word. There a send or a
//! receive that fails tells of the break, and a number that is missing (see `numbers`).

use std::time::Duration;

use super::clock::Clock;
use super::{FirstFailure, Shared};
use crate::bootstrap::JobSecret;
use crate::endpoint::engine::Engine;

/// How long the control connection may take to tell that the peer has left or died, in ticks. That is the better
/// reason, and the connections of a process that ends break in any order.
const PATIENCE: u32 = 50;
/// How long operations with the peer then have to end with its name, before all others end too, in ticks.
const GRACE: u32 = 20;

/// By when a broken connection has closed the endpoint, or its peer is known to be gone, on a busy machine.
pub(in crate::endpoint) const EXPLAINED: Duration = Duration::from_secs(5);

/// How long a proof is, in bytes.
const PROOF_BYTES: usize = 16;

/// What rank `from` shows to rank `to`, whoever of the two makes the connection.
///
/// It differs by direction and by pair, so that nobody can use a proof that was shown to him.
fn proof(secret: &JobSecret, from: usize, to: usize) -> [u8; PROOF_BYTES] {
    let key = secret.subkey(&format!("efa tcp connection, shown by rank {from} to rank {to}"));
    let mut proof = [0; PROOF_BYTES];
    proof.copy_from_slice(&key[..PROOF_BYTES]);
    proof
}

/// The proofs that rank `me` shows and expects, by the other's rank: the layout of `struct xnet_proofs`.
pub(in crate::endpoint) fn proofs(secret: &JobSecret, me: usize, ranks: usize) -> Vec<u8> {
    (0..ranks).flat_map(|rank| [proof(secret, me, rank), proof(secret, rank, me)]).flatten().collect()
}

/// The connections that broke, and when.
#[derive(Default)]
pub(in crate::endpoint) struct Connections {
    broken: Vec<Broken>,
}

struct Broken {
    rank: usize,
    since: u32,
    /// Set when the loss has been told to those who wait for the rank.
    why: Option<String>,
}

impl Connections {
    /// Whether no connection broke, but for those of ranks that are gone.
    pub(in crate::endpoint) fn is_empty(&self) -> bool {
        self.broken.is_empty()
    }

    /// Looks for connections that broke, although neither side closed its endpoint. Returns why the endpoint has to be
    /// closed, if one did.
    ///
    /// What was on its way is gone, and nobody can tell which messages that were: the job can't go on.
    pub(in crate::endpoint) fn look(
        &mut self,
        shared: &Shared,
        core: &mut Engine,
        now: u32,
    ) -> Option<String> {
        if !shared.quirks.loses_connections {
            return None;
        }
        for rank in core.take_lost_peers() {
            if !self.broken.iter().any(|broken| broken.rank == rank) {
                self.broken.push(Broken { rank, since: now, why: None });
            }
        }
        // A rank that is gone in whatever way ends its operations by itself.
        self.broken.retain(|broken| broken.why.is_some() || !shared.liveness.status(broken.rank).is_gone());
        for Broken { rank, since, why } in &mut self.broken {
            let elapsed = now.wrapping_sub(*since);
            match why {
                None if elapsed > PATIENCE => {
                    let (me, peer) = (&shared.peers[shared.me], &shared.peers[*rank]);
                    let text = format!(
                        "the data connection between {me} and {peer} broke, and messages on their way are lost"
                    );
                    let failure = FirstFailure { text: text.clone(), lost: Some(*rank) };
                    shared.first_failure.get_or_init(|| failure);
                    shared.liveness.mark_dead(*rank, &text);
                    *why = Some(text);
                }
                Some(text) if elapsed > PATIENCE + GRACE => return Some(text.clone()),
                _ => {}
            }
        }
        None
    }
}

const _: () =
    assert!(PATIENCE as u128 * Clock::TICK.as_millis() <= 1000, "a broken connection is told at once");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::{ControlConfig, Job};

    #[test]
    fn what_one_rank_shows_is_what_the_other_expects_and_nothing_else_is() {
        let control =
            Job::alone().connect(&ControlConfig::default(), std::time::Duration::from_secs(1)).unwrap();
        let secret = control.secret();
        let [a, b] = [0, 1].map(|me| proofs(secret, me, 3));
        let (shown, expected) = (0..PROOF_BYTES, PROOF_BYTES..2 * PROOF_BYTES);
        let of = |all: &[u8], rank: usize, part: &std::ops::Range<usize>| {
            all[rank * 2 * PROOF_BYTES..][part.clone()].to_vec()
        };
        assert_eq!(a.len(), 3 * 2 * PROOF_BYTES);
        assert_eq!(of(&a, 1, &shown), of(&b, 0, &expected));
        assert_eq!(of(&a, 1, &expected), of(&b, 0, &shown));
        assert_ne!(of(&a, 1, &shown), of(&a, 1, &expected));
        assert_ne!(of(&a, 1, &shown), of(&a, 2, &shown));
        control.leave();
    }
}
