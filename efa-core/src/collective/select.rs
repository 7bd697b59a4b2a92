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
use super::{Call, Collective, Counts};
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
    /// Broadcast, reduce, gather and scatter along a binomial tree.
    Tree,
    /// The same along a tree of radix 4: fewer rounds, and more messages in each.
    KNomial,
    /// Gather and scatter between the root and each rank directly.
    Linear,
    /// Broadcast, reduce and scan along a chain, in pieces.
    Chain,
    /// Broadcast as a scatter and an all-gather.
    ScatterAllGather,
    /// All-reduce, all-gather and scan by exchanging everything with ever more distant ranks. An all-gather needs a
    /// power of two of ranks for it.
    RecursiveDoubling,
    /// Reduce-scatter by exchanging ever smaller halves; all-reduce and reduce, where an all-gather or a gather
    /// follows, are Rabenseifner's algorithm.
    RecursiveHalving,
    /// All-reduce, reduce-scatter and all-to-all by sending everything directly to those whom it concerns, at once.
    AllPairs,
    /// All-to-all by an exchange with one rank after the other.
    Pairwise,
    /// All-gather and all-to-all in a logarithmic number of rounds, after Bruck. An all-to-all needs blocks of equal
    /// length for it.
    Bruck,
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

/// What a byte costs that goes to a distant rank rather than to the neighbour on the ring, which stands on the same host
/// or close by: distant ranks share the links between hosts.
pub const DISTANT_BYTE: f64 = 1.25;

/// What copying a byte costs, in the same unit.
pub const COPY_PER_BYTE: f64 = 0.2;

/// What a further message costs when it need not wait for the one before, with a latency as the unit.
pub const PIPELINED_MESSAGE: f64 = 0.1;

impl Algorithm {
    /// The name, as on the command line: `recursive-doubling`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dissemination => "dissemination",
            Self::Tree => "tree",
            Self::KNomial => "k-nomial",
            Self::Linear => "linear",
            Self::Chain => "chain",
            Self::ScatterAllGather => "scatter-all-gather",
            Self::RecursiveDoubling => "recursive-doubling",
            Self::RecursiveHalving => "recursive-halving",
            Self::AllPairs => "all-pairs",
            Self::Pairwise => "pairwise",
            Self::Bruck => "bruck",
            Self::Ring => "ring",
        }
    }

    /// The algorithms for a collective, [`Algorithm::Auto`] not among them.
    pub const fn of(collective: Collective) -> &'static [Self] {
        match collective {
            Collective::Barrier => &[Self::Dissemination],
            Collective::Broadcast => &[Self::Tree, Self::Chain, Self::ScatterAllGather, Self::KNomial],
            Collective::Reduce => &[Self::Tree, Self::Chain, Self::RecursiveHalving, Self::KNomial],
            Collective::AllReduce => {
                &[Self::RecursiveDoubling, Self::AllPairs, Self::Ring, Self::RecursiveHalving]
            }
            Collective::Gather | Collective::Scatter => &[Self::Tree, Self::Linear, Self::KNomial],
            Collective::AllGather => &[Self::Ring, Self::RecursiveDoubling, Self::Bruck],
            Collective::ReduceScatter => &[Self::Ring, Self::RecursiveHalving, Self::AllPairs],
            Collective::AllToAll => &[Self::AllPairs, Self::Pairwise, Self::Bruck],
            Collective::Scan | Collective::ExclusiveScan => &[Self::RecursiveDoubling, Self::Chain],
        }
    }

    /// Returns why this algorithm, one of those for the call's collective, can't carry out this call: the number of ranks,
    /// blocks that differ in length, or an operation that does not commute. None if it can.
    pub fn obstacle(self, call: &Call) -> Option<String> {
        let size = call.size;
        match (call.collective, self) {
            (Collective::AllGather, Self::RecursiveDoubling) if !size.is_power_of_two() => {
                Some(format!("it needs a power of two of ranks, and there are {size}"))
            }
            (Collective::AllToAll, Self::Bruck) if call.counts().is_some() => {
                Some("it needs blocks of equal length".into())
            }
            _ if call.ordered && !self.keeps_order(call.collective) => Some(
                "it combines contributions in another order than that of the ranks, and the operation does not \
                 commute"
                    .into(),
            ),
            _ => None,
        }
    }

    /// Whether contributions are combined in the order of the ranks, or not at all.
    const fn keeps_order(self, collective: Collective) -> bool {
        match collective {
            Collective::Reduce => matches!(self, Self::Tree | Self::KNomial),
            Collective::AllReduce => matches!(self, Self::RecursiveDoubling | Self::AllPairs),
            Collective::ReduceScatter => matches!(self, Self::AllPairs),
            _ => true,
        }
    }

    /// Returns `true` if the ranks may stand in any order when this algorithm carries out `call`
    /// ([`Schedule::in_order`]): their numbers mean nothing to the result, and blocks of several ranks don't travel
    /// together.
    pub fn may_be_reordered(self, call: &Call) -> bool {
        match call.collective {
            Collective::Barrier | Collective::Broadcast => true,
            Collective::Reduce | Collective::AllReduce => !call.ordered,
            Collective::AllGather | Collective::ReduceScatter => self == Self::Ring && !call.ordered,
            _ => false,
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
    let algorithm = chosen(call, element_bytes, options);
    algorithms::build(algorithm, call, (options.segment_bytes / element_bytes.max(1)).max(1))
}

/// The same with the ranks in the places that `order` gives them, where the algorithm allows that; see
/// [`Schedule::in_order`].
///
/// # Errors
/// As [`plan`], and [`Error::Misuse`] when `order` does not have every rank once.
pub fn plan_in_order(
    call: &Call,
    element_bytes: usize,
    options: &Options,
    order: &[usize],
) -> Result<Schedule> {
    if !chosen(call, element_bytes, options).may_be_reordered(call) {
        return plan(call, element_bytes, options);
    }
    let place_of = |rank: usize| order.iter().position(|&other| other == rank).unwrap_or(rank);
    let mut moved = call.at_rank(place_of(call.rank));
    if call.collective.has_root() {
        moved = moved.with_root(place_of(call.root));
    }
    if let Some(counts) = call.counts() {
        let at_place = |&rank: &usize| counts.as_slice().get(rank).copied().unwrap_or(0);
        moved = moved.with_counts(Counts::new(Vec::from_iter(order.iter().map(at_place))));
    }
    plan(&moved, element_bytes, options)?.in_order(order)
}

fn chosen(call: &Call, element_bytes: usize, options: &Options) -> Algorithm {
    match options.algorithm {
        Algorithm::Auto => choose(call, element_bytes, options),
        named => named,
    }
}

/// The algorithm that costs least; of two that cost the same, the first that [`Algorithm::of`] lists.
pub fn choose(call: &Call, element_bytes: usize, options: &Options) -> Algorithm {
    let cost = |algorithm: Algorithm| cost(algorithm, call, element_bytes, options);
    *Algorithm::of(call.collective)
        .iter()
        .filter(|algorithm| algorithm.obstacle(call).is_none())
        .min_by(|a, b| cost(**a).total_cmp(&cost(**b)))
        .expect("every call has an algorithm")
}

/// What `algorithm` costs, in bytes moved by a link.
fn cost(algorithm: Algorithm, call: &Call, element_bytes: usize, options: &Options) -> f64 {
    let n = call.size as f64;
    let rounds = f64::from(call.size.next_power_of_two().max(1).ilog2());
    let latency = options.latency_bytes as f64;
    let segment = options.segment_bytes as f64;
    // Of one rank's block where there are blocks, else of the whole.
    let bytes = call.elements as f64 * element_bytes as f64;
    let others = (n - 1.0).max(0.0);
    let further = PIPELINED_MESSAGE * latency;
    // Ranks beyond a power of two hand over first, and get the result in the end.
    let folding = if call.size.is_power_of_two() { 0.0 } else { 1.0 };
    let reduction = REDUCTION_PER_BYTE;
    // The first piece travels all the way, and is combined at each rank on it; the others follow it closely, and their
    // reduction is hidden behind the transfer.
    let chain = |reduction: f64| {
        let first = segment.min(bytes);
        others * (latency + (1.0 + reduction) * first) + (bytes - first) + further * (bytes / segment)
    };
    // Rounds of a tree of radix 4, in each of which a rank has three messages to send or to receive; a further one costs
    // once where it is sent, and once where it is received.
    let (quarter_rounds, thrice) = ((rounds / 2.0).ceil(), latency + 4.0 * further);
    match (call.collective, algorithm) {
        (Collective::Broadcast, Algorithm::Tree) => rounds * (latency + bytes),
        (Collective::Broadcast, Algorithm::KNomial) => quarter_rounds * (thrice + 3.0 * bytes),
        (Collective::Broadcast, Algorithm::Chain) => chain(0.0),
        (Collective::Broadcast, Algorithm::ScatterAllGather) => {
            (rounds + n - 1.0) * latency + 2.0 * (n - 1.0) / n * bytes
        }
        (Collective::Reduce, Algorithm::Tree) => rounds * (latency + (1.0 + reduction) * bytes),
        (Collective::Reduce, Algorithm::KNomial) => {
            quarter_rounds * (thrice + 3.0 * (1.0 + reduction) * bytes)
        }
        (Collective::Reduce, Algorithm::Chain) => chain(reduction),
        (Collective::Reduce, Algorithm::RecursiveHalving) => {
            let share = others / n * bytes;
            (2.0 * rounds + folding) * latency
                + (2.0 + reduction) * share
                + folding * (1.0 + reduction) * bytes
        }
        (Collective::AllReduce, Algorithm::RecursiveDoubling) => {
            (rounds + folding) * (latency + bytes) + rounds * reduction * bytes
        }
        (Collective::AllReduce, Algorithm::AllPairs) => {
            // Each further message costs once where it is sent, and once where it is received.
            let more = 2.0 * PIPELINED_MESSAGE * (n - 2.0).max(0.0);
            (1.0 + more) * latency + (n - 1.0) * (1.0 + reduction) * bytes
        }
        (Collective::AllReduce, Algorithm::Ring) => {
            let share = (n - 1.0) / n * bytes;
            // Only the reduction of the last piece of a block is not hidden behind a transfer.
            let visible = (n - 1.0) * reduction * segment.min(bytes / n);
            2.0 * (n - 1.0) * latency + 2.0 * share + visible
        }
        (Collective::AllReduce, Algorithm::RecursiveHalving) => {
            let share = others / n * bytes;
            (2.0 * rounds + 2.0 * folding) * latency
                + (2.0 * DISTANT_BYTE + reduction) * share
                + folding * (2.0 + reduction) * bytes
        }
        // Blocks that go together through a tree are moved once in each round.
        (Collective::Gather | Collective::Scatter, Algorithm::Tree) => rounds * latency + others * bytes,
        (Collective::Gather | Collective::Scatter, Algorithm::KNomial) => {
            quarter_rounds * thrice + others * bytes
        }
        (Collective::Gather | Collective::Scatter, Algorithm::Linear) => {
            latency + further * (n - 2.0).max(0.0) + others * bytes
        }
        (Collective::AllGather, Algorithm::Ring) => others * (latency + bytes),
        (Collective::AllGather, Algorithm::RecursiveDoubling) => {
            rounds * latency + others * DISTANT_BYTE * bytes
        }
        // Most rounds take a second message, where the blocks go around the end.
        (Collective::AllGather, Algorithm::Bruck) => {
            rounds * (latency + further) + others * DISTANT_BYTE * bytes
        }
        (Collective::ReduceScatter, Algorithm::Ring) => {
            others * (latency + bytes + reduction * segment.min(bytes))
        }
        (Collective::ReduceScatter, Algorithm::RecursiveHalving) => {
            (rounds + 2.0 * folding) * latency
                + others * (DISTANT_BYTE + reduction) * bytes
                + folding * (n * (1.0 + reduction) + 1.0) * bytes
        }
        (Collective::ReduceScatter | Collective::AllToAll, Algorithm::AllPairs) => {
            let combined = if call.collective == Collective::AllToAll { 0.0 } else { reduction };
            let more = 2.0 * further * (n - 2.0).max(0.0);
            latency + more + others * (1.0 + combined) * bytes
        }
        (Collective::AllToAll, Algorithm::Pairwise) => others * (latency + bytes),
        // Each round moves half of the blocks, and copies them before and after.
        (Collective::AllToAll, Algorithm::Bruck) => {
            rounds * (latency + n / 2.0 * (1.0 + 2.0 * COPY_PER_BYTE) * bytes)
        }
        (_, Algorithm::RecursiveDoubling) => rounds * (latency + (1.0 + reduction) * bytes),
        (_, Algorithm::Chain) => chain(reduction),
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
            let small = if size == 2 { Algorithm::Tree } else { Algorithm::KNomial };
            assert_eq!(chosen(Collective::Broadcast, size, 8), small, "{size}");
            assert_eq!(chosen(Collective::Reduce, size, 8), small, "{size}");
            assert_eq!(chosen(Collective::Scan, size, 8), Algorithm::RecursiveDoubling, "{size}");
            assert_eq!(chosen(Collective::Scan, size, 1 << 30), Algorithm::Chain, "{size}");
            let large = Algorithm::AllPairs;
            assert_eq!(chosen(Collective::AllToAll, size, 8 << 20), large, "{size}");
        }
        assert_eq!(chosen(Collective::AllToAll, 64, 8), Algorithm::Bruck);
        assert_eq!(chosen(Collective::Gather, 8, 8), Algorithm::Linear);
        assert_eq!(chosen(Collective::Gather, 512, 8), Algorithm::KNomial);
        assert_eq!(chosen(Collective::AllGather, 64, 8), Algorithm::RecursiveDoubling);
        assert_eq!(chosen(Collective::AllGather, 63, 8), Algorithm::Bruck);
        assert_eq!(chosen(Collective::AllGather, 64, 1 << 20), Algorithm::Ring);
        assert_eq!(chosen(Collective::ReduceScatter, 64, 1 << 20), Algorithm::Ring);
        assert_eq!(chosen(Collective::AllReduce, 64, 64 << 10), Algorithm::RecursiveHalving);
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
        assert!(message.contains("tree, chain, scatter-all-gather, k-nomial"), "{message}");
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
