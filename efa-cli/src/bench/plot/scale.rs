//! From values to places on an axis, and the ticks in between.

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// Evenly, from 0 to the end, which is a multiple of the step between ticks.
    Linear { end: f64, step: f64 },
    /// By the logarithm, from `start` (more than 0) to `end`.
    Log { start: f64, end: f64 },
}

/// A place on an axis that gets a line; with a label if there is room for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) labelled: bool,
}

/// Labels on the axis of sizes must not touch.
const MOST_SIZE_LABELS: usize = 11;
/// How many steps a linear axis should have at least.
const FEWEST_STEPS: f64 = 4.0;

impl Scale {
    /// Makes a scale from 0 to a little more than `most`.
    pub(super) fn linear(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = step(most);
        // A curve that touches the frame looks cut off, and its best value has a label above.
        Self::Linear { end: (most * 1.09 / step).ceil() * step, step }
    }

    /// Makes a scale around values between `least` and `most`, both more than 0; it ends on ticks.
    pub(super) fn log(least: f64, most: f64) -> Self {
        let below = marks(least.log10().floor() as i32).into_iter().rfind(|&mark| mark <= least * 0.97);
        let above = marks(most.log10().floor() as i32).into_iter().find(|&mark| mark >= most * 1.03);
        Self::Log { start: below.unwrap_or(least), end: above.unwrap_or(most) }
    }

    /// Makes a scale of exactly the sizes measured, with a margin if there is only one.
    pub(super) fn sizes(least: f64, most: f64) -> Self {
        if least < most {
            Self::Log { start: least, end: most }
        } else {
            Self::Log { start: least / 2.0, end: most * 2.0 }
        }
    }

    /// Returns where `value` lies: 0 at the start of the axis, 1 at its end.
    pub(super) fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear { end, .. } => value / end,
            Self::Log { start, end } => (value / start).ln() / (end / start).ln(),
        }
    }

    /// Returns the ticks of an axis of values.
    pub(super) fn ticks(self) -> Vec<Tick> {
        match self {
            Self::Linear { end, step } => {
                let last = (end / step + 1e-9) as u32;
                (0..=last).map(|n| Tick { value: f64::from(n) * step, labelled: true }).collect()
            }
            Self::Log { start, end } => {
                let decades = start.log10().floor() as i32..=end.log10().floor() as i32;
                let all_labelled = (end / start).log10() <= 2.5;
                decades
                    .flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| (decade, digit)))
                    .map(|(decade, digit)| Tick {
                        value: digit * 10f64.powi(decade),
                        labelled: digit == 1.0 || all_labelled,
                    })
                    .filter(|tick| (start * 0.999..=end * 1.001).contains(&tick.value))
                    .collect()
            }
        }
    }

    /// Returns the ticks of an axis of sizes: powers of two, labelled at even distances.
    pub(super) fn size_ticks(self) -> Vec<Tick> {
        let Self::Log { start, end } = self else { return Vec::new() };
        let exponents: Vec<i32> = (start.log2().ceil() as i32..=end.log2().floor() as i32).collect();
        // 1, 4, 16 … or 1, 32, 1K … or 1, 1K, 1M: distances at which the labels are familiar numbers.
        let labels = |distance: i32| exponents.iter().filter(|&exponent| exponent % distance == 0).count();
        let distance =
            [1, 2, 5].into_iter().find(|&distance| labels(distance) <= MOST_SIZE_LABELS).unwrap_or(10);
        exponents
            .iter()
            .map(|&exponent| Tick { value: 2f64.powi(exponent), labelled: exponent % distance == 0 })
            .collect()
    }
}

/// Returns 1, 2 and 5 times the powers of ten around a decade.
fn marks(decade: i32) -> Vec<f64> {
    (decade - 1..=decade + 1)
        .flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade)))
        .collect()
}

/// Returns the largest of 1, 2, 2.5 and 5 times a power of ten that gives enough steps up to `most`.
fn step(most: f64) -> f64 {
    let rough = most / FEWEST_STEPS;
    let power = 10f64.powf(rough.log10().floor());
    let digit = [5.0, 2.5, 2.0].into_iter().find(|digit| digit * power <= rough * 1.001).unwrap_or(1.0);
    digit * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<f64> {
        ticks.iter().filter(|tick| tick.labelled).map(|tick| tick.value).collect()
    }

    #[test]
    fn a_linear_axis_ends_on_a_round_number_above_the_data() {
        assert_eq!(Scale::linear(4310.0), Scale::Linear { end: 5000.0, step: 1000.0 });
        assert_eq!(labels(&Scale::linear(4310.0).ticks()), [0.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0]);
        assert_eq!(labels(&Scale::linear(7.5).ticks()).last(), Some(&9.0));
        assert_eq!(Scale::linear(0.0), Scale::linear(1.0));
    }

    #[test]
    fn a_logarithmic_axis_starts_and_ends_on_ticks_around_the_data() {
        assert_eq!(Scale::log(5.1, 812.0), Scale::Log { start: 2.0, end: 1000.0 });
        assert_eq!(labels(&Scale::log(5.1, 30.0).ticks()), [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(labels(&Scale::log(0.4, 3000.0).ticks()), [1.0, 10.0, 100.0, 1000.0]);
    }

    #[test]
    fn places_run_from_zero_to_one() {
        for scale in
            [Scale::linear(90.0), Scale::log(3.0, 700.0), Scale::sizes(8.0, 4096.0), Scale::sizes(64.0, 64.0)]
        {
            let places: Vec<f64> = scale.ticks().iter().map(|tick| scale.place(tick.value)).collect();
            assert!(
                places.is_sorted() && places.iter().all(|place| (-0.001..=1.001).contains(place)),
                "{places:?}"
            );
        }
    }

    #[test]
    fn sizes_are_labelled_at_familiar_distances() {
        let kib = 1024.0;
        let mib = kib * kib;
        let ticks = Scale::sizes(8.0, 4.0 * mib).size_ticks();
        assert_eq!(ticks.len(), 20);
        assert_eq!(
            labels(&ticks),
            [16.0, 64.0, 256.0, kib, 4.0 * kib, 16.0 * kib, 64.0 * kib, 256.0 * kib, mib, 4.0 * mib]
        );
        assert_eq!(labels(&Scale::sizes(1.0, kib * mib).size_ticks()).len(), 7);
        assert_eq!(labels(&Scale::sizes(8.0, 64.0).size_ticks()), [8.0, 16.0, 32.0, 64.0]);
        assert_eq!(labels(&Scale::sizes(3.0, 6.0).size_ticks()), [4.0]);
    }
}
