//! What is asked of a collective.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::schedule::{BufferId, Span};
use crate::{Error, Result};

/// The most ranks that take part in a collective. Far beyond any job, and small enough that the messages of a
/// schedule are counted in 32 bits.
pub const MAX_RANKS: usize = 1 << 20;

/// The most elements of all ranks together. No allocation exceeds `isize::MAX` bytes, and the largest elements have 64.
const MAX_ELEMENTS: usize = isize::MAX as usize / 64;

/// A collective operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Collective {
    /// Nobody leaves before everybody has come.
    Barrier,
    /// The root's elements, at every rank.
    Broadcast,
    /// Everybody's elements reduced, at the root.
    Reduce,
    /// Everybody's elements reduced, at every rank.
    AllReduce,
    /// Everybody's elements one after the other in the order of the ranks, at the root.
    Gather,
    /// The root's elements, cut in as many blocks as there are ranks: to each rank its block.
    Scatter,
    /// Everybody's elements one after the other in the order of the ranks, at every rank.
    AllGather,
    /// Everybody's elements reduced, and cut in as many blocks as there are ranks: to each rank its block.
    ReduceScatter,
    /// Everybody's elements, cut in as many blocks as there are ranks: block `j` of rank `i` becomes block `i` of rank
    /// `j`.
    AllToAll,
    /// The elements of all ranks up to this one reduced, its own included.
    Scan,
    /// The elements of all ranks before this one reduced; at rank 0 the output is left as it is.
    ExclusiveScan,
}

impl Collective {
    /// Every collective there is.
    pub const ALL: [Self; 11] = [
        Self::Barrier,
        Self::Broadcast,
        Self::Reduce,
        Self::AllReduce,
        Self::Gather,
        Self::Scatter,
        Self::AllGather,
        Self::ReduceScatter,
        Self::AllToAll,
        Self::Scan,
        Self::ExclusiveScan,
    ];

    /// The name, as on the command line: `all-reduce`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Barrier => "barrier",
            Self::Broadcast => "broadcast",
            Self::Reduce => "reduce",
            Self::AllReduce => "all-reduce",
            Self::Gather => "gather",
            Self::Scatter => "scatter",
            Self::AllGather => "all-gather",
            Self::ReduceScatter => "reduce-scatter",
            Self::AllToAll => "all-to-all",
            Self::Scan => "scan",
            Self::ExclusiveScan => "exclusive-scan",
        }
    }

    /// Returns `true` if one rank, the root, has a part of its own.
    pub const fn has_root(self) -> bool {
        matches!(self, Self::Broadcast | Self::Reduce | Self::Gather | Self::Scatter)
    }

    /// Returns `true` if elements of several ranks are combined.
    pub const fn reduces(self) -> bool {
        matches!(
            self,
            Self::Reduce | Self::AllReduce | Self::ReduceScatter | Self::Scan | Self::ExclusiveScan
        )
    }

    /// Returns `true` if elements are counted in blocks, one for each rank, which may differ in length
    /// ([`Call::with_counts`]).
    pub const fn has_blocks(self) -> bool {
        matches!(self, Self::Gather | Self::Scatter | Self::AllGather | Self::ReduceScatter | Self::AllToAll)
    }
}

impl fmt::Display for Collective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Collective {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|collective| collective.name() == name).ok_or_else(|| {
            Error::setting(
                format!("cannot run the collective '{name}'"),
                "there is none of that name",
                format!("choose one of {}", Self::ALL.map(Self::name).join(", ")),
            )
        })
    }
}

/// Whether a rank's contribution lies in a buffer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufferMode {
    /// The contribution lies in the output, and the result takes its place.
    ///
    /// - All-gather, and gather at the root: the contribution lies in the rank's own block of the output.
    /// - Reduce-scatter: the output holds the whole contribution. The result comes to lie in the rank's own block, and
    ///   the rest is left undefined.
    /// - Scatter at the root: the output holds all blocks and is left as it is.
    /// - Reduce and gather at other ranks: the output holds the contribution and is left as it is.
    InPlace,
    /// The contribution lies in the input, which is left as it is.
    OutOfPlace,
}

/// How many elements each block has, for blocks that differ in length. Cheap to clone.
#[derive(Clone)]
pub struct Counts(Arc<Table>);

struct Table {
    counts: Box<[usize]>,
    /// Where each block begins, and where the last one ends.
    starts: Box<[usize]>,
}

impl Counts {
    /// Takes the length of each block.
    pub fn new(counts: impl Into<Box<[usize]>>) -> Self {
        let counts = counts.into();
        let mut end = 0usize;
        let ends = counts.iter().map(|&count| {
            end = end.saturating_add(count);
            end
        });
        let starts = std::iter::once(0).chain(ends).collect();
        Self(Arc::new(Table { counts, starts }))
    }

    /// Returns the length of each block.
    pub fn as_slice(&self) -> &[usize] {
        &self.0.counts
    }

    fn block(&self, index: usize) -> Range<usize> {
        self.0.starts[index]..self.0.starts[index + 1]
    }

    fn total(&self) -> usize {
        self.0.starts[self.0.counts.len()]
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.as_slice() == other.as_slice()
    }
}

impl Eq for Counts {}

impl Hash for Counts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

/// So that a set of counts can be asked for a slice.
impl Borrow<[usize]> for Counts {
    fn borrow(&self) -> &[usize] {
        self.as_slice()
    }
}

/// One rank's part in one collective. All ranks must ask for the same, but for `rank`; placement may differ too, and so
/// may the counts of an all-to-all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// What to do.
    pub collective: Collective,
    /// The rank that does it.
    pub rank: usize,
    /// How many ranks take part.
    pub size: usize,
    /// The root of a broadcast, reduce, gather or scatter; of no meaning elsewhere.
    pub root: usize,
    /// How many elements: of one rank's block where there are blocks ([`Collective::has_blocks`]), else of the whole.
    /// Of no meaning for a barrier. With counts, the average length of a block, by which an algorithm is chosen.
    pub elements: usize,
    /// Where the contribution lies.
    pub buffer_mode: BufferMode,
    /// Whether contributions are combined in the order of the ranks, as an operation that does not commute needs.
    pub ordered: bool,
    counts: Option<Counts>,
}

impl Call {
    /// A call out of place, with rank 0 as the root, blocks of equal length and an operation that commutes.
    pub fn new(collective: Collective, rank: usize, size: usize, elements: usize) -> Self {
        Self {
            collective,
            rank,
            size,
            root: 0,
            elements,
            buffer_mode: BufferMode::OutOfPlace,
            ordered: false,
            counts: None,
        }
    }

    /// The same with another root.
    pub fn with_root(&self, root: usize) -> Self {
        Self { root, ..self.clone() }
    }

    /// The same with another placement.
    pub fn with_buffer_mode(&self, buffer_mode: BufferMode) -> Self {
        Self { buffer_mode, ..self.clone() }
    }

    /// The same for an operation that does not commute if `ordered`.
    pub fn with_order(&self, ordered: bool) -> Self {
        Self { ordered, ..self.clone() }
    }

    /// The same with a length for each block: one for each rank, the same at all ranks. For an all-to-all, what this
    /// rank sends to each rank, followed by what it receives from each rank.
    pub fn with_counts(&self, counts: Counts) -> Self {
        // What a rank sends and receives in an all-to-all is its own, so it can't choose the algorithm.
        let elements = match self.collective {
            Collective::AllToAll => 0,
            _ => counts.total() / self.size.max(1),
        };
        Self { counts: Some(counts), elements, ..self.clone() }
    }

    /// The same as another rank sees it.
    pub fn at_rank(&self, rank: usize) -> Self {
        Self { rank, ..self.clone() }
    }

    /// The lengths of the blocks if they were given, as [`with_counts`](Self::with_counts) takes them.
    pub fn counts(&self) -> Option<&Counts> {
        self.counts.as_ref()
    }

    /// Where the block of `rank` lies among all blocks; for an all-to-all, the one that goes to `rank`.
    pub fn block(&self, rank: usize) -> Range<usize> {
        match &self.counts {
            Some(counts) => counts.block(rank),
            None => rank * self.elements..(rank + 1) * self.elements,
        }
    }

    /// Where the block of `rank` lies in the result; differs from [`block`](Self::block) in an all-to-all only.
    pub fn result_block(&self, rank: usize) -> Range<usize> {
        match &self.counts {
            Some(counts) if self.collective == Collective::AllToAll => {
                let (first, block) = (counts.block(self.size).start, counts.block(self.size + rank));
                block.start - first..block.end - first
            }
            _ => self.block(rank),
        }
    }

    /// How many elements all blocks have together.
    pub fn total(&self) -> usize {
        self.block(self.size - 1).end
    }

    fn result_total(&self) -> usize {
        self.result_block(self.size - 1).end
    }

    /// How many elements this rank brings.
    pub fn input_len(&self) -> usize {
        match self.collective {
            Collective::Barrier => 0,
            Collective::Broadcast | Collective::Scatter if self.rank != self.root => 0,
            Collective::Broadcast
            | Collective::Reduce
            | Collective::AllReduce
            | Collective::Scan
            | Collective::ExclusiveScan => self.elements,
            Collective::Gather | Collective::AllGather => self.block(self.rank).len(),
            Collective::Scatter | Collective::ReduceScatter | Collective::AllToAll => self.total(),
        }
    }

    /// How many elements the output has.
    pub fn output_len(&self) -> usize {
        let (at_root, in_place) = (self.rank == self.root, self.buffer_mode == BufferMode::InPlace);
        match self.collective {
            Collective::Barrier => 0,
            Collective::Reduce | Collective::Gather if !at_root && !in_place => 0,
            Collective::Broadcast
            | Collective::Reduce
            | Collective::AllReduce
            | Collective::Scan
            | Collective::ExclusiveScan => self.elements,
            Collective::Gather if at_root => self.total(),
            Collective::Scatter if at_root && in_place => self.total(),
            Collective::Gather | Collective::Scatter => self.block(self.rank).len(),
            Collective::AllGather => self.total(),
            Collective::ReduceScatter if in_place => self.total(),
            Collective::ReduceScatter => self.block(self.rank).len(),
            Collective::AllToAll => self.result_total(),
        }
    }

    /// Where this rank's contribution lies.
    pub fn contribution(&self) -> Span {
        let gathers = match self.collective {
            Collective::AllGather => true,
            Collective::Gather => self.rank == self.root,
            _ => false,
        };
        match self.buffer_mode {
            BufferMode::OutOfPlace => Span::new(BufferId::Input, 0, self.input_len()),
            BufferMode::InPlace => {
                let start = if gathers { self.block(self.rank).start } else { 0 };
                Span::new(BufferId::Output, start, self.input_len())
            }
        }
    }

    /// Refuses ranks outside the group and counts that overflow or don't fit.
    pub(super) fn check(&self) -> Result<()> {
        let &Self { collective, rank, size, root, elements, .. } = self;
        let refuse = |why: String, remedy: &str| {
            Err(Error::misuse(format!("cannot plan {collective} for rank {rank} of {size}"), why, remedy))
        };
        if size == 0 || size > MAX_RANKS {
            return refuse(format!("a group has 1 to {MAX_RANKS} ranks"), "correct the number of ranks");
        }
        if rank >= size {
            return refuse(format!("ranks go from 0 to {}", size - 1), "correct the rank");
        }
        if collective.has_root() && root >= size {
            return refuse(format!("rank {root} is not in the group"), "choose a root inside the group");
        }
        if elements.checked_mul(size).is_none_or(|total| total > MAX_ELEMENTS) {
            return refuse(format!("{elements} elements at {size} ranks overflow"), "send fewer elements");
        }
        let Some(counts) = &self.counts else { return Ok(()) };
        let (given, wanted) = match collective {
            Collective::AllToAll => (counts.as_slice().len(), 2 * size),
            _ => (counts.as_slice().len(), size),
        };
        if !collective.has_blocks() || given != wanted {
            let why = match collective.has_blocks() {
                true => format!("there are {given} counts and not {wanted}"),
                false => format!("{collective} has no blocks to count"),
            };
            return refuse(why, "give one count for each block");
        }
        if counts.total() > MAX_ELEMENTS {
            return refuse("the counts overflow".into(), "send fewer elements");
        }
        let (sent, received) = counts.as_slice().split_at(size);
        if collective == Collective::AllToAll && self.buffer_mode == BufferMode::InPlace && sent != received {
            return refuse(
                "in place a rank receives from each rank as much as it sends there".into(),
                "give the same counts for both, or two buffers",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_roots_and_counts_that_make_no_sense_are_refused() {
        let good = Call::new(Collective::Broadcast, 3, 4, 10).with_root(3);
        assert!(good.check().is_ok());
        let blocks = Call::new(Collective::Gather, 3, 4, 10);
        let exchange = Call::new(Collective::AllToAll, 1, 2, 0).with_buffer_mode(BufferMode::InPlace);
        let counts = |counts: &[usize]| Counts::new(counts);
        assert!(blocks.with_counts(counts(&[1, 0, 3, 2])).check().is_ok());
        assert!(exchange.with_counts(counts(&[1, 2, 1, 2])).check().is_ok());
        for bad in [
            good.at_rank(4),
            good.with_root(4),
            Call { size: 0, ..good.clone() },
            Call { size: MAX_RANKS + 1, ..good.clone() },
            Call { elements: usize::MAX / 2, ..good.clone() },
            blocks.with_root(4),
            good.with_counts(counts(&[1, 2, 3, 4])),
            blocks.with_counts(counts(&[1, 2, 3])),
            blocks.with_counts(counts(&[1, 2, 3, 4, 5])),
            blocks.with_counts(counts(&[1, 2, usize::MAX, 4])),
            exchange.with_counts(counts(&[1, 2])),
            exchange.with_counts(counts(&[1, 2, 2, 1])),
        ] {
            assert!(matches!(bad.check(), Err(Error::Misuse(_))), "{bad:?}");
        }
        assert!(Call::new(Collective::AllReduce, 0, 1, 0).with_root(9).check().is_ok());
    }

    #[test]
    fn a_collective_is_known_by_its_name() {
        for collective in Collective::ALL {
            assert_eq!(collective.name().parse::<Collective>().unwrap(), collective);
            assert_eq!(serde_json::to_string(&collective).unwrap(), format!("\"{collective}\""));
        }
        assert!("allreduce".parse::<Collective>().unwrap_err().to_string().contains("all-reduce"));
    }

    #[test]
    fn blocks_follow_their_counts() {
        let call = Call::new(Collective::AllToAll, 0, 3, 7);
        assert_eq!((call.block(2), call.result_block(2), call.total()), (14..21, 14..21, 21));
        let call = call.with_counts(Counts::new([1, 2, 3, 4, 0, 5]));
        assert_eq!((call.block(2), call.result_block(0), call.result_block(2)), (3..6, 0..4, 4..9));
        assert_eq!((call.input_len(), call.output_len()), (6, 9));
    }
}
