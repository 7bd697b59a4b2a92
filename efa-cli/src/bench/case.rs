//! The benchmarks by name, and what each of them measures.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A benchmark, by the name on the command line and in results.
// No doc comments on the variants: clap would spread them over the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Case {
    Latency,
    Bandwidth,
    Bidirectional,
    MessageRate,
    Write,
    Read,
    AllReduce,
    Broadcast,
    Barrier,
}

impl Case {
    /// Returns `true` if all ranks take part, not just the first two.
    pub(crate) fn is_collective(self) -> bool {
        matches!(self, Self::AllReduce | Self::Broadcast | Self::Barrier)
    }

    /// Returns `true` if it is a collective with a buffer, and so an algorithm and a bus bandwidth.
    pub(crate) fn moves_data_collectively(self) -> bool {
        matches!(self, Self::AllReduce | Self::Broadcast)
    }

    /// Returns `true` if single operations are timed.
    pub(crate) fn measures_time(self) -> bool {
        matches!(self, Self::Latency | Self::Write | Self::Read) || self.is_collective()
    }

    /// Returns `true` if operations are kept in flight to see how much goes through.
    pub(crate) fn measures_bandwidth(self) -> bool {
        matches!(self, Self::Bandwidth | Self::Bidirectional | Self::MessageRate | Self::Write | Self::Read)
    }

    /// Returns the factor from the algorithm bandwidth to the bus bandwidth.
    ///
    /// The links of an optimal all-reduce carry 2(n-1)/n times the size, those of a broadcast the size itself.
    pub(crate) fn busbw_factor(self, ranks: usize) -> f64 {
        let n = ranks.max(1) as f64;
        match self {
            Self::AllReduce => 2.0 * (n - 1.0) / n,
            _ => 1.0,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Latency => "latency",
            Self::Bandwidth => "bandwidth",
            Self::Bidirectional => "bidirectional",
            Self::MessageRate => "message-rate",
            Self::Write => "write",
            Self::Read => "read",
            Self::AllReduce => "all-reduce",
            Self::Broadcast => "broadcast",
            Self::Barrier => "barrier",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_one_name_everywhere() {
        for case in Case::value_variants() {
            let on_command_line = case.to_possible_value().expect("none is hidden");
            assert_eq!(on_command_line.get_name(), case.to_string());
            assert_eq!(serde_json::to_string(case).expect("a name"), format!("\"{case}\""));
        }
    }

    #[test]
    fn the_bus_bandwidth_factor_is_that_of_nccl_tests() {
        assert_eq!(Case::AllReduce.busbw_factor(2), 1.0);
        assert_eq!(Case::AllReduce.busbw_factor(4), 1.5);
        assert_eq!(Case::Broadcast.busbw_factor(4), 1.0);
    }
}
