//! x
mod slot;
mod tag;
pub use tag::{MAX_RANKS, Source, Tag, TagMatch};
