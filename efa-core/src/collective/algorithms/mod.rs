//! The algorithms: pure functions from a rank's part in a collective to its schedule.
//!
//! In the costs given, `n` is the number of ranks, `B` the bytes of the whole and `L` the latency of a message.

mod all_gather_bruck;
mod all_gather_recursive_doubling;
mod all_gather_ring;
mod all_reduce_all_pairs;
mod all_reduce_recursive_doubling;
mod all_reduce_recursive_halving;
mod all_reduce_ring;
mod all_to_all_all_pairs;
mod all_to_all_bruck;
mod all_to_all_pairwise;
mod barrier_dissemination;
mod broadcast_chain;
mod broadcast_scatter_all_gather;
mod broadcast_tree;
mod gather_tree;
mod halving;
mod reduce_chain;
mod reduce_recursive_halving;
mod reduce_scatter_all_pairs;
mod reduce_scatter_recursive_halving;
mod reduce_scatter_ring;
mod reduce_tree;
mod ring;
mod scan_chain;
mod scan_recursive_doubling;
mod scatter_tree;
mod tree;

use super::schedule::{BufferId, Schedule, Span};
use super::{Algorithm, BufferMode, Call, Collective};
use crate::{Error, Result};

/// Makes the schedule for `call` by one algorithm. Long messages are cut in pieces of `segment` elements where the
/// algorithm can work on one piece while the next is on its way; `usize::MAX` never cuts.
///
/// All ranks must be given the same algorithm and the same segment.
///
/// # Errors
/// [`Error::Misuse`] when the call makes no sense, `segment` is zero, or the algorithm, [`Algorithm::Auto`] included,
/// is not one for this collective.
pub fn build(algorithm: Algorithm, call: &Call, segment: usize) -> Result<Schedule> {
    call.check()?;
    if segment == 0 {
        return Err(Error::misuse(
            format!("cannot plan {}", call.collective),
            "a segment of zero elements never ends",
            "give at least one element per segment",
        ));
    }
    if !Algorithm::of(call.collective).contains(&algorithm) {
        return Err(Algorithm::unfit(call.collective, algorithm.name()));
    }
    if let Some(obstacle) = algorithm.obstacle(call) {
        return Err(Error::misuse(
            format!("cannot run {} by {algorithm} at {} ranks", call.collective, call.size),
            obstacle,
            "choose auto or another algorithm",
        ));
    }
    Ok(match (call.collective, algorithm) {
        (Collective::Broadcast, Algorithm::Tree | Algorithm::KNomial) => {
            broadcast_tree::schedule(call, algorithm)
        }
        (Collective::Broadcast, Algorithm::Chain) => broadcast_chain::schedule(call, segment),
        (Collective::Broadcast, _) => broadcast_scatter_all_gather::schedule(call),
        (Collective::Reduce, Algorithm::Tree | Algorithm::KNomial) => reduce_tree::schedule(call, algorithm),
        (Collective::Reduce, Algorithm::Chain) => reduce_chain::schedule(call, segment),
        (Collective::Reduce, _) => reduce_recursive_halving::schedule(call),
        (Collective::AllReduce, Algorithm::RecursiveDoubling) => {
            all_reduce_recursive_doubling::schedule(call)
        }
        (Collective::AllReduce, Algorithm::AllPairs) => all_reduce_all_pairs::schedule(call),
        (Collective::AllReduce, Algorithm::RecursiveHalving) => all_reduce_recursive_halving::schedule(call),
        (Collective::AllReduce, _) => all_reduce_ring::schedule(call, segment),
        (Collective::Gather, _) => gather_tree::schedule(call, algorithm),
        (Collective::Scatter, _) => scatter_tree::schedule(call, algorithm),
        (Collective::AllGather, Algorithm::RecursiveDoubling) => {
            all_gather_recursive_doubling::schedule(call)
        }
        (Collective::AllGather, Algorithm::Bruck) => all_gather_bruck::schedule(call),
        (Collective::AllGather, _) => all_gather_ring::schedule(call, segment),
        (Collective::ReduceScatter, Algorithm::RecursiveHalving) => {
            reduce_scatter_recursive_halving::schedule(call)
        }
        (Collective::ReduceScatter, Algorithm::AllPairs) => reduce_scatter_all_pairs::schedule(call),
        (Collective::ReduceScatter, _) => reduce_scatter_ring::schedule(call, segment),
        (Collective::AllToAll, Algorithm::Pairwise) => all_to_all_pairwise::schedule(call),
        (Collective::AllToAll, Algorithm::Bruck) => all_to_all_bruck::schedule(call),
        (Collective::AllToAll, _) => all_to_all_all_pairs::schedule(call),
        (Collective::Scan | Collective::ExclusiveScan, Algorithm::Chain) => {
            scan_chain::schedule(call, segment)
        }
        (Collective::Scan | Collective::ExclusiveScan, _) => scan_recursive_doubling::schedule(call),
        (Collective::Barrier, _) => barrier_dissemination::schedule(call),
    })
}

/// More pieces than this gain nothing, as filling a chain is then a small part of the time already.
const MAX_PIECES: usize = 1 << 16;
/// How many messages a reduction may receive ahead of combining them. Enough to keep a link busy during a reduction;
/// more would only take memory and cache.
const LANDINGS: usize = 8;

/// Spans start at multiples of this many elements in scratch: 64 bytes for the smallest type, a cache line.
const SCRATCH_ALIGNMENT: usize = 64;

/// `elements` rounded up, so that what follows in scratch is aligned.
fn aligned(elements: usize) -> usize {
    elements.next_multiple_of(SCRATCH_ALIGNMENT)
}

/// Where this rank's contribution lies.
fn contribution(call: &Call) -> BufferId {
    match call.buffer_mode {
        BufferMode::InPlace => BufferId::Output,
        BufferMode::OutOfPlace => BufferId::Input,
    }
}

/// Block `index` of `elements` cut in `parts` as equal as can be, the longer ones first.
fn block(buffer: BufferId, elements: usize, parts: usize, index: usize) -> Span {
    let (length, longer) = (elements / parts, elements % parts);
    Span::new(buffer, index * length + index.min(longer), length + usize::from(index < longer))
}

/// `span` cut in pieces of at most `segment` elements; none when it is empty.
fn pieces(span: Span, segment: usize) -> impl ExactSizeIterator<Item = Span> {
    let count = span.len.div_ceil(segment);
    (0..count)
        .map(move |k| Span::new(span.buffer, span.start + k * segment, segment.min(span.len - k * segment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_tile_the_whole_and_differ_by_at_most_one() {
        for (elements, parts) in [(0, 3), (2, 5), (5, 5), (17, 4), (100, 7)] {
            let blocks: Vec<_> = (0..parts).map(|i| block(BufferId::Output, elements, parts, i)).collect();
            assert_eq!(blocks[0].start, 0);
            assert_eq!(blocks[parts - 1].range().end, elements);
            assert!(blocks.windows(2).all(|pair| pair[0].range().end == pair[1].start));
            let lengths = || blocks.iter().map(|block| block.len);
            assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1);
        }
    }

    #[test]
    fn pieces_tile_a_span() {
        let starts: Vec<_> =
            pieces(Span::new(BufferId::Output, 7, 10), 4).map(|piece| piece.range()).collect();
        assert_eq!(starts, [7..11, 11..15, 15..17]);
        assert_eq!(pieces(Span::new(BufferId::Output, 7, 0), 4).len(), 0);
        assert_eq!(pieces(Span::new(BufferId::Output, 0, 10), usize::MAX).len(), 1);
    }

    #[test]
    fn an_algorithm_of_another_collective_is_refused() {
        let call = Call::new(Collective::AllReduce, 0, 4, 10);
        for algorithm in [Algorithm::Auto, Algorithm::Dissemination, Algorithm::Tree] {
            let message = build(algorithm, &call, 1).unwrap_err().to_string();
            assert!(message.contains("recursive-doubling, all-pairs, ring"), "{message}");
        }
        assert!(build(Algorithm::Ring, &call, 0).is_err());
        assert!(build(Algorithm::Ring, &call.at_rank(4), 1).is_err());
    }
}
