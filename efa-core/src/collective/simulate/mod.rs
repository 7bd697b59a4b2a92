//! Runs the schedules of all ranks at once, on paper.
//!
//! [`predict`] tells how long a collective takes on a machine described by a [`Profile`]. [`prove`] does so too and
//! follows, for every element, whose contributions it holds and how often: a collective that ends with the right
//! contributions in every element is right for all data. Both find schedules that don't fit together: a deadlock, a
//! message that nobody receives, a receive of another length.
//!
//! Nothing is random and no clock is read: the same schedules and profile give the same prediction.
//!
//! ```
//! use efa_core::collective::simulate::{self, Profile};
//! use efa_core::collective::{Call, Collective, Options};
//!
//! let call = Call::new(Collective::AllReduce, 0, 64, 1 << 20);
//! let schedules = simulate::schedules(&call, 4, &Options::default())?;
//! let prediction = simulate::prove(&schedules, 4, &Profile::named("efa-100g")?)?;
//! println!("{:?}, {} messages", prediction.time(), prediction.messages);
//! # Ok::<(), efa_core::Error>(())
//! ```

mod contents;
mod engine;
mod profile;

use std::time::Duration;

pub use profile::Profile;

use super::schedule::Schedule;
use super::select::{self, Options};
use super::{Call, Collective};
use crate::{Error, Result};
use contents::{Contents, Heard};

/// Steps of all ranks together that [`schedules`] makes at most: about two gigabytes of memory.
const MAX_STEPS: usize = 1 << 24;

/// What a simulation found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// When each rank was done, all having started at the same time.
    pub finish: Vec<Duration>,
    /// How many messages were sent.
    pub messages: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

impl Prediction {
    /// When the last rank was done.
    pub fn time(&self) -> Duration {
        self.finish.iter().copied().max().unwrap_or_default()
    }
}

/// The schedules of all ranks for `call`, whose own rank is of no meaning.
///
/// # Errors
/// [`Error::Misuse`] as [`select::plan`]; [`Error::Unsupported`] when they would take more memory than is sensible.
pub fn schedules(call: &Call, element_bytes: usize, options: &Options) -> Result<Vec<Schedule>> {
    let first = select::plan(&call.at_rank(0), element_bytes, options)?;
    if first.steps().len().saturating_mul(call.size) > MAX_STEPS {
        return Err(Error::unsupported(
            format!("cannot simulate {} by {} at {} ranks", call.collective, first.algorithm(), call.size),
            format!("that takes about {} steps at each rank, too many to keep", first.steps().len()),
            "take fewer ranks, fewer bytes or longer segments",
        ));
    }
    std::iter::once(Ok(first))
        .chain((1..call.size).map(|rank| select::plan(&call.at_rank(rank), element_bytes, options)))
        .collect()
}

/// Predicts how long the schedules take, one for each rank in order, with elements of `element_bytes`.
///
/// # Errors
/// [`Error::Misuse`] when the schedules don't fit together, [`Error::Setting`] for a profile that makes no sense.
pub fn predict(schedules: &[Schedule], element_bytes: usize, profile: &Profile) -> Result<Prediction> {
    check_group(schedules)?;
    engine::run(schedules, element_bytes, profile, &mut ())
}

/// Predicts how long the schedules take, and proves that they do what they are for.
///
/// # Errors
/// As [`predict`], and [`Error::Misuse`] naming a rank and the elements that end with the wrong contributions.
pub fn prove(schedules: &[Schedule], element_bytes: usize, profile: &Profile) -> Result<Prediction> {
    check_group(schedules)?;
    if schedules[0].collective() == Collective::Barrier {
        let mut heard = Heard::new(schedules);
        let prediction = engine::run(schedules, element_bytes, profile, &mut heard)?;
        heard.check()?;
        return Ok(prediction);
    }
    let mut contents = Contents::new(schedules);
    let prediction = engine::run(schedules, element_bytes, profile, &mut contents)?;
    contents.check(schedules)?;
    Ok(prediction)
}

/// Refuses anything but one schedule for each rank of one collective.
fn check_group(schedules: &[Schedule]) -> Result<()> {
    let same = |a: &Call, b: &Call| a.at_rank(b.rank).with_placement(b.placement) == *b;
    let fits = |(rank, schedule): (usize, &Schedule)| {
        schedule.rank() == rank
            && schedule.size() == schedules.len()
            && same(schedules[0].call(), schedule.call())
            && schedule.algorithm() == schedules[0].algorithm()
    };
    if schedules.is_empty() || !schedules.iter().enumerate().all(fits) {
        return Err(Error::misuse(
            format!("cannot simulate {} schedules together", schedules.len()),
            "they are not those of all ranks of one collective, in order",
            "make one for each rank from the same call and options",
        ));
    }
    Ok(())
}
