//! What is asked of a collective.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The most ranks that take part in a collective. Far beyond any job, and small enough that the messages of a
/// schedule are counted in 32 bits.
pub const MAX_RANKS: usize = 1 << 20;

/// A collective operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Collective {
    /// Nobody leaves before everybody has come.
    Barrier,
    /// The root's elements, at every rank.
    Broadcast,
    /// Everybody's elements reduced, at every rank.
    AllReduce,
    /// Everybody's elements one after the other in the order of the ranks, at every rank.
    AllGather,
    /// Everybody's elements reduced, and cut in as many blocks as there are ranks: to each rank its block.
    ReduceScatter,
}

impl Collective {
    /// Every collective there is.
    pub const ALL: [Self; 5] =
        [Self::Barrier, Self::Broadcast, Self::AllReduce, Self::AllGather, Self::ReduceScatter];

    /// The name, as on the command line: `all-reduce`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Barrier => "barrier",
            Self::Broadcast => "broadcast",
            Self::AllReduce => "all-reduce",
            Self::AllGather => "all-gather",
            Self::ReduceScatter => "reduce-scatter",
        }
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
    /// The contribution lies in the output and is overwritten there. For an all-gather it lies in the rank's own
    /// block of the output. For a reduce-scatter the output holds the whole contribution, the result comes to lie
    /// in the rank's own block, and the rest is left undefined.
    InPlace,
    /// The contribution lies in the input, which is left as it is.
    OutOfPlace,
}

/// One rank's part in one collective. All ranks must ask for the same, but for `rank`; placement may differ too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// What to do.
    pub collective: Collective,
    /// The rank that does it.
    pub rank: usize,
    /// How many ranks take part.
    pub size: usize,
    /// The rank that a broadcast starts from; of no meaning elsewhere.
    pub root: usize,
    /// How many elements: of the whole for all-reduce and broadcast, of one rank's block for all-gather and
    /// reduce-scatter. Of no meaning for a barrier.
    pub elements: usize,
    /// Where the contribution lies.
    pub buffer_mode: BufferMode,
}

impl Call {
    /// A call out of place, with rank 0 as the root.
    pub fn new(collective: Collective, rank: usize, size: usize, elements: usize) -> Self {
        Self { collective, rank, size, root: 0, elements, buffer_mode: BufferMode::OutOfPlace }
    }

    /// The same with another root.
    pub fn with_root(self, root: usize) -> Self {
        Self { root, ..self }
    }

    /// The same with another placement.
    pub fn with_buffer_mode(self, buffer_mode: BufferMode) -> Self {
        Self { buffer_mode, ..self }
    }

    /// The same as another rank sees it.
    pub fn at_rank(self, rank: usize) -> Self {
        Self { rank, ..self }
    }

    /// How many elements this rank brings; for a broadcast, none but at the root.
    pub fn input_len(&self) -> usize {
        match self.collective {
            Collective::Barrier => 0,
            Collective::Broadcast if self.rank != self.root => 0,
            Collective::Broadcast | Collective::AllReduce | Collective::AllGather => self.elements,
            Collective::ReduceScatter => self.elements * self.size,
        }
    }

    /// How many elements the output has.
    pub fn output_len(&self) -> usize {
        match (self.collective, self.buffer_mode) {
            (Collective::Barrier, _) => 0,
            (Collective::Broadcast | Collective::AllReduce, _) => self.elements,
            (Collective::ReduceScatter, BufferMode::OutOfPlace) => self.elements,
            (Collective::AllGather, _) | (Collective::ReduceScatter, BufferMode::InPlace) => {
                self.elements * self.size
            }
        }
    }

    /// Refuses ranks outside the group and counts that overflow.
    pub(super) fn check(&self) -> Result<()> {
        let Self { collective, rank, size, root, elements, .. } = *self;
        let refuse = |why: String, remedy: &str| {
            Err(Error::misuse(format!("cannot plan {collective} for rank {rank} of {size}"), why, remedy))
        };
        if size == 0 || size > MAX_RANKS {
            return refuse(format!("a group has 1 to {MAX_RANKS} ranks"), "correct the number of ranks");
        }
        if rank >= size {
            return refuse(format!("ranks go from 0 to {}", size - 1), "correct the rank");
        }
        if collective == Collective::Broadcast && root >= size {
            return refuse(format!("rank {root} is not in the group"), "choose a root inside the group");
        }
        // Elements have at most 8 bytes, and no allocation exceeds isize::MAX bytes.
        if elements.checked_mul(size).is_none_or(|total| total > isize::MAX as usize / 8) {
            return refuse(format!("{elements} elements at {size} ranks overflow"), "send fewer elements");
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
        for bad in [
            good.at_rank(4),
            good.with_root(4),
            Call { size: 0, ..good },
            Call { size: MAX_RANKS + 1, ..good },
            Call { elements: usize::MAX / 2, ..good },
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
}
