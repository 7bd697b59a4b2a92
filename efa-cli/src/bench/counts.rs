//! How often to measure: often enough for a stable median, seldom enough that large sizes end in seconds.

use std::time::Duration;

use super::case::Case;
use super::options::BenchArgs;

/// How often a size is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Iterations before the clock counts: caches, connections, registrations.
    pub(crate) warmup: u64,
    /// Iterations that count.
    pub(crate) iterations: u64,
    /// Messages in flight in each iteration of a bandwidth case; 1 for the others.
    pub(crate) window: u64,
    /// After this time no further iteration begins, once there were [`FEWEST`]. Of cases in which one rank acts alone: the
    /// others could not know when to stop.
    pub(crate) time: Option<Duration>,
}

/// Messages in flight, as the OSU benchmarks have.
const WINDOW: u64 = 64;
/// Fewest in flight, so that the next message never waits for an answer.
const NARROWEST_WINDOW: u64 = 4;
/// Every message in flight has a buffer of its own. More memory than this would measure the caches' misses.
const WINDOW_BYTES: u64 = 16 << 20;
/// However large the messages, fewer iterations have no median.
pub(super) const FEWEST: u64 = 10;
/// On shared memory a remote operation waits for a look of its target, a millisecond later: 10,000 of each size would take
/// minutes.
const TIME: Duration = Duration::from_millis(500);

impl Counts {
    /// Returns the counts for a case at a size, unless the options say otherwise.
    pub(crate) fn of(case: Case, size: u64, args: &BenchArgs) -> Self {
        let in_flight = case.measures_bandwidth() && !case.measures_time();
        let window = window(size);
        let (most, bytes) = match case {
            Case::Latency | Case::Write | Case::Read => (10_000, 4 << 30),
            Case::AllReduce | Case::Broadcast | Case::Barrier => (2_000, 512 << 20),
            Case::Bandwidth | Case::Bidirectional | Case::MessageRate => (500, (8 << 30) / window),
        };
        let iterations = args.iterations.unwrap_or((bytes / size.max(1)).clamp(FEWEST, most));
        let warmup = args.warmup.unwrap_or((iterations / 10).clamp(2, 200));
        let acts_alone = matches!(case, Case::Write | Case::Read);
        let time = (acts_alone && args.iterations.is_none()).then_some(TIME);
        Self { warmup, iterations, window: if in_flight { window } else { 1 }, time }
    }
}

/// Returns how many messages of a size to have in flight.
pub(crate) fn window(size: u64) -> u64 {
    (WINDOW_BYTES / size.max(1)).clamp(NARROWEST_WINDOW, WINDOW)
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::options;
    use super::*;

    #[test]
    fn larger_messages_are_measured_less_often() {
        let args = options(&["latency"]);
        let counts: Vec<u64> =
            (0..40).map(|bits| Counts::of(Case::Latency, 1 << bits, &args).iterations).collect();
        assert!(counts.is_sorted_by(|a, b| a >= b));
        assert_eq!((counts[3], counts[22], counts[39]), (10_000, 1024, FEWEST));
    }

    #[test]
    fn a_window_never_holds_too_many_bytes_nor_too_few_messages() {
        assert_eq!(Counts::of(Case::Bandwidth, 8, &options(&["bandwidth"])).window, 64);
        assert_eq!(Counts::of(Case::Bandwidth, 1 << 20, &options(&["bandwidth"])).window, 16);
        assert_eq!(Counts::of(Case::Bandwidth, 1 << 30, &options(&["bandwidth"])).window, 4);
        assert_eq!(Counts::of(Case::Latency, 8, &options(&["latency"])).window, 1);
    }

    #[test]
    fn options_have_the_last_word() {
        let args = options(&["latency", "--iterations", "7", "--warmup", "0"]);
        assert_eq!(
            Counts::of(Case::Latency, 8, &args),
            Counts { warmup: 0, iterations: 7, window: 1, time: None }
        );
        assert_eq!(Counts::of(Case::Write, 8, &options(&["write", "--iterations", "7"])).time, None);
        assert!(Counts::of(Case::Write, 8, &options(&["write"])).time.is_some());
        assert_eq!(Counts::of(Case::Barrier, 0, &options(&["barrier"])).iterations, 2_000);
    }
}
