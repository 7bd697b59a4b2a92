//! Summarises measured times: minimum, median, 99th percentile, maximum and mean.

use serde::Serialize;

/// The times of all iterations at one size, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// The shortest.
    pub(crate) min: f64,
    /// The median.
    pub(crate) p50: f64,
    /// All but one in a hundred are at most this.
    pub(crate) p99: f64,
    /// The longest.
    pub(crate) max: f64,
    /// The arithmetic mean.
    pub(crate) mean: f64,
}

impl Summary {
    /// Summarises times in microseconds, which are sorted on the way; all zero if there are none.
    ///
    /// Percentiles are times that occurred (nearest rank), not interpolated ones. Everything is rounded to
    /// nanoseconds, which is finer than any clock we read.
    pub(crate) fn of(times: &mut [f64]) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (times.first(), times.last()) else { return Self::default() };
        let percentile = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        Self {
            min: rounded(min),
            p50: rounded(percentile(50)),
            p99: rounded(percentile(99)),
            max: rounded(max),
            mean: rounded(mean),
        }
    }
}

/// Rounds to three places after the point, which results carry.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let mut times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let summary = Summary::of(&mut times);
        assert_eq!(summary, Summary { min: 1.0, p50: 50.0, p99: 99.0, max: 100.0, mean: 50.5 });
        assert_eq!(
            Summary::of(&mut [3.0, 1.0, 2.0]),
            Summary { min: 1.0, p50: 2.0, p99: 3.0, max: 3.0, mean: 2.0 }
        );
    }

    #[test]
    fn one_time_is_all_of_them() {
        let one = 5.4321;
        let told = 5.432;
        assert_eq!(
            Summary::of(&mut [one]),
            Summary { min: told, p50: told, p99: told, max: told, mean: told }
        );
    }

    #[test]
    fn no_times_are_zeros() {
        assert_eq!(Summary::of(&mut []), Summary::default());
    }
}
