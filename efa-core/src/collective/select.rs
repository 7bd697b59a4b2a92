//! Which algorithm for which collective, how many ranks and how many bytes.
//!
//! The choice compares what the algorithms cost, in bytes: the time of a collective, expressed by how many bytes a
//! link moves in it. A latency is worth [`Options::latency_bytes`]; reducing a byte is worth
//! [`REDUCTION_PER_BYTE`] of moving it. Only the ratios matter, so one pair of numbers serves fast and slow networks,
//! and a wrong guess near the point where two algorithms cost the same costs little.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::algorithms;
use super::schedule::Schedule;
use super::{Call, Collective};
use crate::{Error, Result};

/// A way to carry out a collective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Whichever costs least for this many ranks and bytes.
    #[default]
    Auto,
    /// Barrier: tell ever more distant ranks what was heard.
    Dissemination,
    /// Broadcast along a binomial tree.
    Tree,
    /// Broadcast along a chain, in pieces.
    Chain,
    /// Broadcast as a scatter and an all-gather.
    ScatterAllGather,
    /// All-reduce by exchanging everything with ever more distant ranks.
    RecursiveDoubling,
    /// All-reduce by sending everything to everybody.
    AllPairs,
    /// All-reduce, all-gather and reduce-scatter by passing blocks around a ring.
    Ring,
}

/// What may be chosen about how a collective is carried out. All ranks must choose the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// The algorithm. Default: [`Algorithm::Auto`].
    pub algorithm: Algorithm,
    /// Long messages are cut in pieces of this many bytes. Default: 128 KiB, which spends little on per-message costs
    /// and lets several pieces stay in a core's second-level cache between their arrival and their reduction.
    pub segment_bytes: usize,
    /// How many bytes a link moves in the time of one latency. Default: 16 KiB, between shared memory (0.5 us at
    /// 10 GB/s) and tcp (5 us at 4 GB/s).
    pub latency_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { algorithm: Algorithm::Auto, segment_bytes: 128 << 10, latency_bytes: 16 << 10 }
    }
}

/// What reducing a byte costs, with moving it to another rank as the unit: a kernel reads two streams and writes one
/// at memory speed, several times a link's.
pub const REDUCTION_PER_BYTE: f64 = 0.25;

/// What a further message costs when it need not wait for the one before, with a latency as the unit.
pub const PIPELINED_MESSAGE: f64 = 0.1;

impl Algorithm {
    /// The name, as on the command line: `recursive-doubling`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dissemination => "dissemination",
            Self::Tree => "tree",
            Self::Chain => "chain",
            Self::ScatterAllGather => "scatter-all-gather",
            Self::RecursiveDoubling => "recursive-doubling",
            Self::AllPairs => "all-pairs",
            Self::Ring => "ring",
        }
    }

    /// The algorithms for a collective, [`Algorithm::Auto`] not among them.
    pub const fn of(collective: Collective) -> &'static [Self] {
        match collective {
            Collective::Barrier => &[Self::Dissemination],
            Collective::Broadcast => &[Self::Tree, Self::Chain, Self::ScatterAllGather],
            Collective::AllReduce => &[Self::RecursiveDoubling, Self::AllPairs, Self::Ring],
            Collective::AllGather | Collective::ReduceScatter => &[Self::Ring],
        }
    }

    /// Reads the name of an algorithm for `collective`, or `auto`.
    ///
    /// # Errors
    /// [`Error::Misuse`] for any other name; it lists the ones there are for this collective.
    pub fn parse(collective: Collective, name: &str) -> Result<Self> {
        std::iter::once(&Self::Auto)
            .chain(Self::of(collective))
            .find(|algorithm| algorithm.name() == name)
            .copied()
            .ok_or_else(|| Self::unfit(collective, name))
    }

    pub(super) fn unfit(collective: Collective, name: &str) -> Error {
        let names: Vec<_> = Self::of(collective).iter().map(|algorithm| algorithm.name()).collect();
        Error::misuse(
            format!("cannot run {collective} by '{name}'"),
            format!("that is not an algorithm for {collective}"),
            format!("choose auto or one of {}", names.join(", ")),
        )
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The schedule for `call` with elements of `element_bytes`, by the algorithm that `options` name or that costs
/// least.
///
/// # Errors
/// [`Error::Misuse`] when the call makes no sense or the algorithm is not one for it.
pub fn plan(call: &Call, element_bytes: usize, options: &Options) -> Result<Schedule> {
    let algorithm = match options.algorithm {
        Algorithm::Auto => choose(call, element_bytes, options),
        named => named,
    };
    algorithms::build(algorithm, call, (options.segment_bytes / element_bytes.max(1)).max(1))
}

/// The same with the ranks in the places that `order` gives them; see [`Schedule::in_order`].
///
/// # Errors
/// As [`plan`], and [`Error::Misuse`] when `order` does not have every rank once.
pub fn plan_in_order(
    call: &Call,
    element_bytes: usize,
    options: &Options,
    order: &[usize],
) -> Result<Schedule> {
    let place_of = |rank: usize| order.iter().position(|&other| other == rank).unwrap_or(rank);
    let mut moved = call.at_rank(place_of(call.rank));
    if call.collective == Collective::Broadcast {
        moved = moved.with_root(place_of(call.root));
    }
    plan(&moved, element_bytes, options)?.in_order(order)
}

/// The algorithm that costs least; of two that cost the same, the first that [`Algorithm::of`] lists.
pub fn choose(call: &Call, element_bytes: usize, options: &Options) -> Algorithm {
    let cost = |algorithm: Algorithm| cost(algorithm, call, element_bytes, options);
    *Algorithm::of(call.collective)
        .iter()
        .min_by(|a, b| cost(**a).total_cmp(&cost(**b)))
        .expect("every collective has an algorithm")
}

/// What `algorithm` costs, in bytes moved by a link.
fn cost(algorithm: Algorithm, call: &Call, element_bytes: usize, options: &Options) -> f64 {
    let n = call.size as f64;
    let rounds = f64::from(call.size.next_power_of_two().max(1).ilog2());
    let latency = options.latency_bytes as f64;
    let segment = options.segment_bytes as f64;
    let total = call.elements as f64 * element_bytes as f64;
    match (call.collective, algorithm) {
        (Collective::Broadcast, Algorithm::Tree) => rounds * (latency + total),
        (Collective::Broadcast, Algorithm::Chain) => {
            // The first piece travels all the way; the others follow it closely.
            let first = segment.min(total);
            let others = PIPELINED_MESSAGE * latency * (total / segment);
            (n - 1.0) * (latency + first) + (total - first) + others
        }
        (Collective::Broadcast, Algorithm::ScatterAllGather) => {
            (rounds + n - 1.0) * latency + 2.0 * (n - 1.0) / n * total
        }
        (Collective::AllReduce, Algorithm::RecursiveDoubling) => {
            let folding = if call.size.is_power_of_two() { 0.0 } else { 1.0 };
            (rounds + folding) * (latency + total) + rounds * REDUCTION_PER_BYTE * total
        }
        (Collective::AllReduce, Algorithm::AllPairs) => {
            // Each further message costs once where it is sent, and once where it is received.
            let further = 2.0 * PIPELINED_MESSAGE * (n - 2.0).max(0.0);
            (1.0 + further) * latency + (n - 1.0) * (1.0 + REDUCTION_PER_BYTE) * total
        }
        (Collective::AllReduce, Algorithm::Ring) => {
            let share = (n - 1.0) / n * total;
            // Only the reduction of the last piece of a block is not hidden behind a transfer.
            let reduction = (n - 1.0) * REDUCTION_PER_BYTE * segment.min(total / n);
            2.0 * (n - 1.0) * latency + 2.0 * share + reduction
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(collective: Collective, size: usize, bytes: usize) -> Algorithm {
        choose(&Call::new(collective, 0, size, bytes), 1, &Options::default())
    }

    #[test]
    fn small_messages_take_the_least_latency_and_large_ones_the_least_traffic() {
        for size in [2, 3, 4, 7, 8, 64, 512] {
            let small =
                if (3..=8).contains(&size) { Algorithm::AllPairs } else { Algorithm::RecursiveDoubling };
            assert_eq!(chosen(Collective::AllReduce, size, 8), small, "{size}");
            assert_eq!(chosen(Collective::AllReduce, size, 1 << 30), Algorithm::Ring, "{size}");
            assert_eq!(chosen(Collective::Broadcast, size, 8), Algorithm::Tree, "{size}");
        }
        assert_eq!(chosen(Collective::Broadcast, 2, 1 << 30), Algorithm::Tree);
        assert_eq!(chosen(Collective::Broadcast, 8, 1 << 30), Algorithm::Chain);
        assert_eq!(chosen(Collective::Broadcast, 64, 4 << 20), Algorithm::ScatterAllGather);
    }

    #[test]
    fn more_bytes_never_lead_back_from_the_ring() {
        for size in 2..=600 {
            let choices: Vec<_> =
                (0..32).map(|bits| chosen(Collective::AllReduce, size, 1 << bits)).collect();
            assert!(
                choices.is_sorted_by_key(|algorithm| *algorithm == Algorithm::Ring),
                "{size}: {choices:?}"
            );
        }
    }

    #[test]
    fn an_algorithm_is_known_by_its_name_where_it_fits() {
        for collective in Collective::ALL {
            assert_eq!(Algorithm::parse(collective, "auto").unwrap(), Algorithm::Auto);
            for algorithm in Algorithm::of(collective) {
                assert_eq!(Algorithm::parse(collective, algorithm.name()).unwrap(), *algorithm);
            }
        }
        let message = Algorithm::parse(Collective::Broadcast, "ring").unwrap_err().to_string();
        assert!(message.contains("tree, chain, scatter-all-gather"), "{message}");
    }

    #[test]
    fn a_plan_follows_the_options() {
        let call = Call::new(Collective::AllReduce, 1, 4, 1 << 20);
        let named = Options { algorithm: Algorithm::RecursiveDoubling, ..Options::default() };
        assert_eq!(plan(&call, 4, &Options::default()).unwrap().algorithm(), Algorithm::Ring);
        assert_eq!(plan(&call, 4, &named).unwrap().algorithm(), Algorithm::RecursiveDoubling);
        let wrong = Options { algorithm: Algorithm::Tree, ..Options::default() };
        assert!(plan(&call, 4, &wrong).is_err());
    }
}
