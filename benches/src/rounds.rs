//! Rounds of measurements in turn, and what they come to.

use efa_core::Result;

use crate::case::{Better, Target};

/// Makes one measurement and gives its figure.
pub type Measurement<'a> = Box<dyn Fn() -> Result<f64> + 'a>;

/// Something that ours is compared with.
pub struct Contender<'a> {
    /// Its name.
    pub name: String,
    /// Measures it once.
    pub measure: Measurement<'a>,
    /// What the ratio to it is meant to be, where there is such an aim.
    pub target: Option<Target>,
}

/// A comparison of ours with one or more contenders.
pub struct Comparison<'a> {
    /// Its name, such as `latency tcp 64`.
    pub name: String,
    /// The unit of its figures.
    pub unit: &'static str,
    /// Which figures are the good ones.
    pub better: Better,
    /// Measures ours once.
    pub ours: Measurement<'a>,
    /// Whom it is compared with.
    pub contenders: Vec<Contender<'a>>,
}

/// What a comparison with one contender came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The comparison's name.
    pub case: String,
    /// The median of ours.
    pub ours: f64,
    /// The contender.
    pub peer: String,
    /// The median of theirs.
    pub theirs: f64,
    /// The unit of both.
    pub unit: &'static str,
    /// Median of ours by median of theirs.
    pub ratio: f64,
    /// The lower and upper quartile of the ratios within each round.
    pub spread: (f64, f64),
    /// Which figures are the good ones.
    pub better: Better,
    /// What the ratio is meant to be.
    pub target: Option<Target>,
}

impl Outcome {
    /// Returns `true` if the target is met, or if there is none.
    pub fn meets_target(&self) -> bool {
        self.target.is_none_or(|target| target.is_met_by(self.ours, self.ratio))
    }
}

impl Comparison<'_> {
    /// Measures ours and each contender in turn, `rounds` times over, so that whatever else the machine does falls on
    /// all of them alike.
    ///
    /// `progress` is told before each measurement: the round, counted from 1, and who is measured.
    ///
    /// # Errors
    /// The first measurement that fails ends the comparison.
    pub fn run(&self, rounds: usize, mut progress: impl FnMut(usize, &str)) -> Result<Vec<Outcome>> {
        let mut ours = Vec::new();
        let mut theirs = vec![Vec::new(); self.contenders.len()];
        for round in 1..=rounds {
            progress(round, "ours");
            ours.push((self.ours)()?);
            for (contender, figures) in self.contenders.iter().zip(&mut theirs) {
                progress(round, &contender.name);
                figures.push((contender.measure)()?);
            }
        }
        let outcomes = self.contenders.iter().zip(&theirs);
        Ok(outcomes.map(|(contender, theirs)| self.outcome(contender, &ours, theirs)).collect())
    }

    fn outcome(&self, contender: &Contender<'_>, ours: &[f64], theirs: &[f64]) -> Outcome {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let (ours, theirs) = (quantile(ours, 0.5), quantile(theirs, 0.5));
        Outcome {
            case: self.name.clone(),
            ours,
            peer: contender.name.clone(),
            theirs,
            unit: self.unit,
            ratio: ours / theirs,
            spread: (quantile(&ratios, 0.25), quantile(&ratios, 0.75)),
            better: self.better,
            target: contender.target,
        }
    }
}

/// Returns the value below which a share of the figures lies, between neighbours in proportion; 0.5 is the median.
fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use efa_core::Error;

    use super::*;

    #[test]
    fn a_quantile_lies_between_its_neighbours() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        assert_eq!(quantile(&[5.0], 0.25), 5.0);
    }

    #[test]
    fn the_programs_take_turns_and_medians_are_compared() {
        let turns = RefCell::new(Vec::new());
        let drift = Cell::new(0.0);
        let comparison = Comparison {
            name: "latency tcp 64".into(),
            unit: "us",
            better: Better::Lower,
            ours: Box::new(|| {
                drift.set(drift.get() + 1.0);
                Ok(2.0 * drift.get())
            }),
            contenders: vec![Contender {
                name: "peer".into(),
                measure: Box::new(|| Ok(drift.get())),
                target: Some(Target::AtMost(1.05)),
            }],
        };
        let outcomes =
            comparison.run(3, |round, who| turns.borrow_mut().push(format!("{who} {round}"))).unwrap();
        assert_eq!(turns.into_inner(), ["ours 1", "peer 1", "ours 2", "peer 2", "ours 3", "peer 3"]);
        assert_eq!((outcomes[0].ours, outcomes[0].theirs, outcomes[0].ratio), (4.0, 2.0, 2.0));
        assert_eq!(outcomes[0].spread, (2.0, 2.0));
    }

    #[test]
    fn a_measurement_that_fails_ends_the_comparison() {
        let comparison = Comparison {
            name: "latency tcp 64".into(),
            unit: "us",
            better: Better::Lower,
            ours: Box::new(|| Err(Error::setting("ours failed", "no reason", "none"))),
            contenders: Vec::new(),
        };
        assert!(comparison.run(3, |_, _| ()).is_err());
    }
}
