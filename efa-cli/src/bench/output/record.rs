//! What a benchmark has found out at one size.

use serde::Serialize;

use crate::bench::case::Case;
use crate::bench::statistics::Summary;

/// One measured size. What a case does not measure is absent.
///
/// The fields are in the order in which JSON and CSV show them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Record {
    /// Which benchmark.
    pub(crate) bench: Case,
    /// The provider that carried it.
    pub(crate) provider: String,
    /// How many ranks took part.
    pub(crate) ranks: usize,
    /// The algorithm of a collective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) algorithm: Option<String>,
    /// The element type of a collective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dtype: Option<String>,
    /// The reduction of a collective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) op: Option<String>,
    /// Bytes per message, or per rank's buffer.
    pub(crate) size: u64,
    /// How often it was measured.
    pub(crate) iterations: u64,
    /// How long it took: one way, or for the slowest rank of each iteration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_us: Option<Summary>,
    /// Million bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mb_per_s: Option<f64>,
    /// Messages per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) messages_per_s: Option<f64>,
    /// What the last fields tell of a collective.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) collective: Option<Collective>,
    /// Elements per rank of a collective; in tables only, since size and type tell it.
    #[serde(skip)]
    pub(crate) count: u64,
    /// The same collective with the result in place of the input; shown in tables only.
    #[serde(skip)]
    pub(crate) in_place: Option<InPlace>,
}

/// How fast a collective was and whether it was right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Collective {
    /// Size over time, 10^9 bytes per second.
    #[serde(rename = "algbw_gb_per_s")]
    pub(crate) algbw: f64,
    /// The same times the collective's factor: what the links carried, comparable across numbers of ranks.
    #[serde(rename = "busbw_gb_per_s")]
    pub(crate) busbw: f64,
    /// Elements of the result that were wrong, over all ranks.
    pub(crate) wrong: u64,
}

/// An in-place run of a collective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct InPlace {
    pub(crate) time_us: Summary,
    pub(crate) collective: Collective,
}
