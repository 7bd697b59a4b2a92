//! `efa bench`: measures the fabric between ranks.

mod case;
mod counts;
mod options;
mod pattern;

pub(crate) use case::Case;
