//! What is compared: a measure, a provider, a size, and how long to run.

use std::fmt;

/// What a program measures between two ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Half of a round trip, in microseconds.
    Latency,
    /// Bytes sent one way, in decimal megabytes per second.
    Bandwidth,
    /// Messages sent one way, per second.
    MessageRate,
}

impl Measure {
    /// Returns the name that `efa bench` and the peers know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Bandwidth => "bandwidth",
            Self::MessageRate => "message-rate",
        }
    }

    /// Returns the unit of its figures.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Latency => "us",
            Self::Bandwidth => "MB/s",
            Self::MessageRate => "messages/s",
        }
    }

    /// Returns which figures are the good ones.
    pub fn better(self) -> Better {
        match self {
            Self::Latency => Better::Lower,
            Self::Bandwidth | Self::MessageRate => Better::Higher,
        }
    }
}

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Times and counts.
    Lower,
    /// Rates.
    Higher,
}

impl fmt::Display for Better {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        })
    }
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// A ratio of ours to theirs of at most this: latencies.
    AtMost(f64),
    /// A ratio of at least this: rates.
    AtLeast(f64),
    /// A ratio below this.
    Below(f64),
    /// Ours at most this, whatever theirs: counts.
    OursAtMost(f64),
}

impl Target {
    /// Returns `true` if figures with this ratio meet it.
    pub fn is_met_by(self, ours: f64, ratio: f64) -> bool {
        match self {
            Self::AtMost(limit) => ratio <= limit,
            Self::AtLeast(limit) => ratio >= limit,
            Self::Below(limit) => ratio < limit,
            Self::OursAtMost(limit) => ours <= limit,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "<= {limit}"),
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
            Self::Below(limit) => write!(f, "< {limit}"),
            Self::OursAtMost(limit) => write!(f, "ours <= {limit}"),
        }
    }
}

/// One measurement between two ranks, the same for every program that makes it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is measured.
    pub measure: Measure,
    /// libfabric's provider; peers that don't use libfabric take the same road without it.
    pub provider: String,
    /// Bytes of a message.
    pub size: usize,
    /// Round trips or messages that count.
    pub iterations: usize,
    /// The same, before the clock starts.
    pub warmup: usize,
    /// Messages under way before the receiver answers with one of four bytes or so: fabtests' pattern, which all
    /// programs follow. Every message of a window has a buffer of its own.
    pub window: usize,
    /// What the ratio to fabtests is meant to be.
    pub target: Target,
}

impl Case {
    /// Returns the three measures on one provider, with iterations that keep a run near a second.
    pub fn on(provider: &str) -> Vec<Self> {
        let latency_target = if provider == "shm" { 1.15 } else { 1.05 };
        let round_trips = if provider == "shm" { 200_000 } else { 30_000 };
        let case = |measure, size, window: usize, windows: usize, target| Self {
            measure,
            provider: provider.to_owned(),
            size,
            iterations: windows * window,
            warmup: windows / 10 * window,
            window,
            target,
        };
        // A window of messages of 1 MiB is what `efa bench` has under way: 16 MiB.
        vec![
            case(Measure::Latency, 64, 1, round_trips, Target::AtMost(latency_target)),
            case(Measure::Bandwidth, 1 << 20, 16, 256, Target::AtLeast(0.95)),
            case(Measure::MessageRate, 64, 64, 8_000, Target::AtLeast(0.9)),
        ]
    }

    /// Returns the name it is chosen and printed by, such as `latency tcp 64`.
    pub fn name(&self) -> String {
        format!("{} {} {}", self.measure.name(), self.provider, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_named_by_measure_provider_and_size() {
        let names: Vec<_> = Case::on("tcp").iter().map(Case::name).collect();
        assert_eq!(names, ["latency tcp 64", "bandwidth tcp 1048576", "message-rate tcp 64"]);
    }

    #[test]
    fn a_case_is_a_whole_number_of_windows_so_that_all_programs_acknowledge_equally_often() {
        for case in Case::on("shm") {
            assert_eq!((case.iterations % case.window, case.warmup % case.window), (0, 0), "{}", case.name());
        }
    }

    #[test]
    fn a_target_is_met_up_to_its_limit() {
        assert!(Target::AtMost(1.05).is_met_by(2.1, 1.05) && !Target::AtMost(1.05).is_met_by(2.12, 1.06));
        assert!(Target::AtLeast(0.95).is_met_by(95.0, 0.95) && !Target::AtLeast(0.95).is_met_by(94.0, 0.94));
        assert!(!Target::Below(10.0).is_met_by(5.0, 10.0));
        assert!(
            Target::OursAtMost(250.0).is_met_by(250.0, 3.0)
                && !Target::OursAtMost(250.0).is_met_by(251.0, 0.1)
        );
    }
}
