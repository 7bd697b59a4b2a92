//! Tags, and how the 64 bits of a fabric tag are shared out.
//!
//! The sender's rank travels in the tag. So "from one peer or from any" and "which rank was it" need neither
//! directed receives nor source addresses, which not every provider has.
//!
//! ```text
//! 63   60 59              40 39                                      0
//! [space] [ sender's rank  ] [ the user's tag, or a collective's slot ]
//! ```

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
/// # Ok::<(), efa_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(u64);

impl Tag {
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
    pub(crate) fn tag(self) -> Tag {
        self.tag
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

/// The fabric tag of a message that `sender` sends.
#[inline]
pub(crate) fn pack(space: Space, sender: usize, tag: Tag) -> u64 {
    ((space as u64) << SPACE_SHIFT) | ((sender as u64) << TAG_BITS) | tag.0
}

/// The fabric tag and ignore mask of a receive.
#[inline]
pub(crate) fn pack_match(space: Space, source: Source, tag: TagMatch) -> (u64, u64) {
    match source {
        Source::Rank(rank) => (pack(space, rank, tag.tag), tag.ignore),
        Source::Any => (pack(space, 0, tag.tag), tag.ignore | RANK_MASK),
    }
}

/// The sender and the tag in a fabric tag.
#[inline]
pub(crate) fn unpack(fabric: u64) -> (usize, Tag) {
    (((fabric & RANK_MASK) >> TAG_BITS) as usize, Tag(fabric & TAG_MASK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        for (rank, tag) in [(0, 0), (1, 7), (MAX_RANKS - 1, TAG_MASK)] {
            assert_eq!(unpack(pack(Space::Control, rank, Tag(tag))), (rank, Tag(tag)));
        }
    }

    #[test]
    fn a_receive_from_any_ignores_the_rank_and_nothing_else() {
        let (tag, ignore) = pack_match(Space::User, Source::Any, Tag(5).into());
        let sent = pack(Space::User, 12, Tag(5));
        assert_eq!(sent & !ignore, tag & !ignore);
        for other in [pack(Space::User, 12, Tag(4)), pack(Space::Collective, 12, Tag(5))] {
            assert_ne!(other & !ignore, tag & !ignore);
        }
    }

    #[test]
    fn spaces_do_not_mix_even_when_every_tag_is_accepted() {
        let (tag, ignore) = pack_match(Space::User, Source::Any, TagMatch::ANY);
        assert_ne!(pack(Space::Collective, 3, Tag(9)) & !ignore, tag & !ignore);
    }
}
