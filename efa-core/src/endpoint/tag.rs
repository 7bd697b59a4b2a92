//! Tags, and how the 64 bits of a fabric tag are shared out.
//!
//! The sender's rank travels in the tag. So "from one peer or from any" and "which rank was it" need neither
//! directed receives nor source addresses, which not every provider has.
//!
//! ```text
//! 63   60 59              40 39                                      0
//! [space] [ sender's rank  ] [ the user's tag, or a collective's slot ]
//! ```
//!
//! What is posted is this exclusive or a mask that only the job's ranks know: see [`TagFormat`].

use crate::bootstrap::JobSecret;
use crate::error::{Error, Result};

const TAG_BITS: u32 = 40;
const RANK_BITS: u32 = 20;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const RANK_MASK: u64 = ((1 << RANK_BITS) - 1) << TAG_BITS;
const SPACE_SHIFT: u32 = TAG_BITS + RANK_BITS;

/// How many ranks a job can have: a rank has 20 bits in a fabric tag.
pub const MAX_RANKS: usize = 1 << RANK_BITS;

/// Labels a message, so that a receive can pick the one it wants. 40 bits.
///
/// ```
/// use efa_core::Tag;
/// assert_eq!(Tag::from(7u32), Tag::new(7)?);
/// assert!(Tag::new(1 << 40).is_err());
/// let layer: usize = 12;
/// assert_eq!(Tag::try_from(layer)?.value(), 12);
/// # Ok::<(), efa_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(u64);

impl Tag {
    /// The tag of operations that have none.
    pub(crate) const ZERO: Tag = Tag(0);

    /// The largest tag, 2⁴⁰ - 1.
    pub const MAX: Tag = Tag(TAG_MASK);

    /// A tag of up to 40 bits.
    ///
    /// # Errors
    /// [`Error::Misuse`] when the value needs more.
    pub fn new(value: u64) -> Result<Self> {
        if value > TAG_MASK {
            return Err(Error::misuse(
                format!("cannot use {value:#x} as a tag"),
                "a tag has 40 bits; the others carry the sender's rank",
                format!("use a value up to {TAG_MASK:#x}"),
            ));
        }
        Ok(Self(value))
    }

    /// The tag in the low 40 bits.
    pub(crate) fn truncating(value: u64) -> Self {
        Self(value & TAG_MASK)
    }

    /// The value, at most 2⁴⁰ - 1.
    pub fn value(self) -> u64 {
        self.0
    }
}

impl From<u32> for Tag {
    fn from(value: u32) -> Self {
        Self(value.into())
    }
}

impl TryFrom<u64> for Tag {
    type Error = Error;

    /// As [`Tag::new`].
    fn try_from(value: u64) -> Result<Self> {
        Self::new(value)
    }
}

impl TryFrom<usize> for Tag {
    type Error = Error;

    /// As [`Tag::new`].
    fn try_from(value: usize) -> Result<Self> {
        Self::new(value as u64)
    }
}

/// Which tags a receive accepts: one, or all that agree with it outside some bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagMatch {
    tag: Tag,
    ignore: u64,
}

impl TagMatch {
    /// Any tag at all.
    pub const ANY: TagMatch = TagMatch { tag: Tag(0), ignore: TAG_MASK };

    /// Tags that equal `tag` in every bit that is not set in `ignore`.
    pub fn masked(tag: Tag, ignore: u64) -> Self {
        Self { tag, ignore: ignore & TAG_MASK }
    }
}

impl TagMatch {
    #[inline]
    pub(crate) fn tag(self) -> Tag {
        self.tag
    }

    /// The bits that are not compared.
    #[inline]
    pub(crate) fn ignore(self) -> u64 {
        self.ignore
    }
}

impl<T: Into<Tag>> From<T> for TagMatch {
    fn from(tag: T) -> Self {
        Self { tag: tag.into(), ignore: 0 }
    }
}

/// Whom a receive accepts a message from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// One rank.
    Rank(usize),
    /// Whichever sends first.
    Any,
}

impl Source {
    /// Returns the rank of a valid source, if it is one rank.
    #[inline]
    pub(crate) fn rank(self) -> Option<u32> {
        match self {
            Self::Rank(rank) => Some(rank as u32),
            Self::Any => None,
        }
    }
}

impl From<usize> for Source {
    fn from(rank: usize) -> Self {
        Self::Rank(rank)
    }
}

/// Who uses a tag: the program, or the library itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    User = 0,
    Collective = 1,
    Control = 2,
}

/// How the tags of one endpoint look on the fabric.
///
/// A fabric tag is the packed tag, exclusive or a mask that follows from the job's secret. So whoever is not of the job
/// doesn't know which tags are received, and the bits that a receive ignores stay where they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TagFormat {
    mask: u64,
    /// The mask and this endpoint's own rank.
    mine: u64,
    /// The bits that a receive from any rank ignores: as many as the job's ranks need. The other bits of a rank are
    /// secret as well.
    any_rank: u64,
}

impl TagFormat {
    /// The format of rank `me` of `ranks`; without a secret, tags are not masked.
    pub(crate) fn new(secret: Option<&JobSecret>, me: usize, ranks: usize) -> Self {
        let mask = secret.map_or(0, |secret| secret.subkey_u64("efa fabric tags"));
        let any_rank = (ranks.next_power_of_two() as u64 - 1) << TAG_BITS;
        Self { mask, mine: mask ^ (me as u64) << TAG_BITS, any_rank: any_rank & RANK_MASK }
    }

    /// The fabric tag of a message that this rank sends.
    #[inline]
    pub(crate) fn pack(&self, space: Space, tag: Tag) -> u64 {
        ((space as u64) << SPACE_SHIFT) ^ self.mine ^ tag.0
    }

    /// The fabric tag and ignore mask of a receive from one rank or any, which does not compare the tag's bits in `ignore`.
    #[inline]
    pub(crate) fn pack_match(&self, space: Space, from: Option<u32>, tag: Tag, ignore: u64) -> (u64, u64) {
        let packed = ((space as u64) << SPACE_SHIFT) ^ self.mask ^ tag.0;
        match from {
            Some(rank) => (packed ^ u64::from(rank) << TAG_BITS, ignore),
            None => (packed, ignore | self.any_rank),
        }
    }

    /// The sender and the tag in a fabric tag.
    #[inline]
    pub(crate) fn unpack(&self, fabric: u64) -> (usize, Tag) {
        let packed = fabric ^ self.mask;
        (((packed & RANK_MASK) >> TAG_BITS) as usize, Tag(packed & TAG_MASK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANKS: usize = 13;

    /// Formats of some ranks, without a secret and with one.
    fn formats(me: usize, ranks: usize) -> [TagFormat; 2] {
        let plain = TagFormat::new(None, me, ranks);
        let mask = 0x9E37_79B9_7F4A_7C15;
        [plain, TagFormat { mask, mine: plain.mine ^ mask, ..plain }]
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        for (rank, ranks, tag) in [(0, 1, 0), (1, 2, 7), (MAX_RANKS - 1, MAX_RANKS, TAG_MASK)] {
            for format in formats(rank, ranks) {
                assert_eq!(format.unpack(format.pack(Space::Control, Tag(tag))), (rank, Tag(tag)));
            }
        }
    }

    #[test]
    fn a_receive_from_any_ignores_the_rank_and_nothing_else() {
        for (receiver, sender) in formats(3, RANKS).into_iter().zip(formats(12, RANKS)) {
            let (tag, ignore) = receiver.pack_match(Space::User, None, Tag(5), 0);
            assert_eq!(sender.pack(Space::User, Tag(5)) & !ignore, tag & !ignore);
            for other in [sender.pack(Space::User, Tag(4)), sender.pack(Space::Collective, Tag(5))] {
                assert_ne!(other & !ignore, tag & !ignore);
            }
        }
    }

    #[test]
    fn masks_of_the_program_work_on_masked_tags() {
        for (receiver, sender) in formats(3, RANKS).into_iter().zip(formats(12, RANKS)) {
            let wanted = TagMatch::masked(Tag(0x50), 0x0F);
            let (tag, ignore) = receiver.pack_match(Space::User, Some(12), wanted.tag(), wanted.ignore());
            let accepts = |sent: u64| (sender.pack(Space::User, Tag(sent)) ^ tag) & !ignore == 0;
            assert!(accepts(0x50) && accepts(0x5F) && !accepts(0x60) && !accepts(0x150));
        }
    }

    #[test]
    fn spaces_do_not_mix_even_when_every_tag_is_accepted() {
        for (receiver, sender) in formats(3, RANKS).into_iter().zip(formats(3, RANKS)) {
            let (tag, ignore) = receiver.pack_match(Space::User, None, Tag::ZERO, TagMatch::ANY.ignore());
            assert_ne!(sender.pack(Space::Collective, Tag(9)) & !ignore, tag & !ignore);
        }
    }

    #[test]
    fn without_the_mask_a_receive_of_anything_is_still_a_guess() {
        let [plain, masked] = formats(0, 8);
        let (tag, ignore) = masked.pack_match(Space::User, None, Tag::ZERO, TagMatch::ANY.ignore());
        // 4 bits of the space, and the 17 that eight ranks don't need.
        assert_eq!((!ignore).count_ones(), 21);
        assert_ne!(plain.pack(Space::User, Tag(0)) & !ignore, tag & !ignore);
    }
}
