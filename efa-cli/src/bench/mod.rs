//! `efa bench`: measures the fabric between ranks.

mod case;

pub(crate) use case::Case;
