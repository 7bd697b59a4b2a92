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
    let same = |a: &Call, b: &Call| {
        let a = a.at_rank(b.rank).with_buffer_mode(b.buffer_mode);
        match (b.collective, a.counts(), b.counts()) {
            // What ranks send and receive is their own; whether it fits shows when the messages meet.
            (Collective::AllToAll, Some(_), Some(counts)) => a.with_counts(counts.clone()) == *b,
            _ => a == *b,
        }
    };
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

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::super::schedule::{BufferId, ScheduleBuilder, Span};
    use super::*;

    /// Simulates an all-reduce of 10 elements at two ranks that do what `build` says, and returns the complaint.
    fn complaint(build: impl Fn(usize, &mut ScheduleBuilder)) -> String {
        let call = Call::new(Collective::AllReduce, 0, 2, 10);
        let schedule = |rank| {
            let mut builder = ScheduleBuilder::new(&call.at_rank(rank), Algorithm::Ring, 10);
            build(rank, &mut builder);
            builder.finish()
        };
        // Nothing is buffered: a send ends when its receive is there.
        let profile = Profile { eager_bytes: 0, ..Profile::named("tcp").unwrap() };
        let schedules = [schedule(0), schedule(1)];
        prove(&schedules, 4, &profile).map_or_else(|error| error.explanation().why.clone(), |_| String::new())
    }

    const INPUT: Span = Span::new(BufferId::Input, 0, 10);
    const OUTPUT: Span = Span::new(BufferId::Output, 0, 10);

    #[test]
    fn an_exchange_that_fits_is_accepted() {
        let why = complaint(|rank, builder| {
            builder.send(1 - rank, 0, INPUT, &[]);
            let received = builder.receive(1 - rank, 0, OUTPUT, &[]);
            builder.reduce(INPUT, OUTPUT, &[received]);
        });
        assert_eq!(why, "");
    }

    #[test]
    fn ranks_that_wait_for_each_other_are_found() {
        let why = complaint(|rank, builder| {
            let sent = builder.send(1 - rank, 0, INPUT, &[]);
            let received = builder.receive(1 - rank, 0, OUTPUT, &[sent]);
            builder.reduce(INPUT, OUTPUT, &[received]);
        });
        assert!(why.contains("rank 0 waits for ever in step 0"), "{why}");
    }

    #[test]
    fn messages_that_do_not_match_are_found() {
        let other_slot = complaint(|rank, builder| {
            builder.receive(1 - rank, 1, OUTPUT, &[]);
            builder.send(1 - rank, 0, INPUT, &[]);
        });
        assert!(other_slot.contains("waits for ever"), "{other_slot}");
        let other_length = complaint(|rank, builder| {
            builder.receive(1 - rank, 0, Span { len: 9, ..OUTPUT }, &[]);
            builder.send(1 - rank, 0, INPUT, &[]);
        });
        assert!(other_length.contains("sends 10 elements in slot 0"), "{other_length}");
        let empty = Span { len: 0, ..INPUT };
        let unreceived = complaint(|rank, builder| {
            builder.copy(INPUT, OUTPUT, &[]);
            if rank == 0 {
                builder.send(1, 3, empty, &[]);
            }
        });
        assert!(unreceived.contains("nobody receives") && unreceived.contains("slot 3"), "{unreceived}");
    }

    #[test]
    fn a_contribution_that_is_missing_or_counted_twice_is_found() {
        let missing = complaint(|_, builder| {
            builder.copy(INPUT, OUTPUT, &[]);
        });
        assert!(missing.contains("elements 0..10 of rank 0's output end with"), "{missing}");
        let twice = complaint(|rank, builder| {
            builder.send(1 - rank, 0, INPUT, &[]);
            let received = builder.receive(1 - rank, 0, OUTPUT, &[]);
            let reduced = builder.reduce(INPUT, OUTPUT, &[received]);
            let part = |span: Span| Span { start: 4, len: 1, ..span };
            builder.reduce(part(INPUT), part(OUTPUT), &[reduced]);
        });
        assert!(twice.contains("elements 4..5 of rank 0's output"), "{twice}");
        let nothing = complaint(|_, builder| {
            builder.copy(Span { len: 9, ..INPUT }, Span { len: 9, ..OUTPUT }, &[]);
        });
        assert!(nothing.contains("elements 0..9"), "{nothing}");
    }

    #[test]
    fn elements_out_of_place_or_never_written_are_found() {
        let shifted = complaint(|_, builder| {
            let copied = builder.copy(Span { len: 9, ..INPUT }, Span { start: 1, len: 9, ..OUTPUT }, &[]);
            builder.reduce(Span { len: 5, ..INPUT }, Span { start: 2, len: 5, ..OUTPUT }, &[copied]);
        });
        assert!(shifted.contains("different positions"), "{shifted}");
        let undefined = complaint(|_, builder| {
            builder.copy(Span::new(BufferId::Scratch, 0, 10), OUTPUT, &[]);
        });
        assert!(undefined.contains("never written"), "{undefined}");
    }

    #[test]
    fn a_barrier_that_somebody_can_leave_early_is_found() {
        let call = Call::new(Collective::Barrier, 0, 3, 0);
        // Each tells the next only: nobody hears of the one before the one before it.
        let schedule = |rank: usize| {
            let mut builder = ScheduleBuilder::new(&call.at_rank(rank), Algorithm::Dissemination, 0);
            let nothing = Span::new(BufferId::Output, 0, 0);
            builder.send((rank + 1) % 3, 0, nothing, &[]);
            builder.receive((rank + 2) % 3, 0, nothing, &[]);
            builder.finish()
        };
        let error = prove(&[0, 1, 2].map(schedule), 1, &Profile::named("tcp").unwrap()).unwrap_err();
        assert!(error.to_string().contains("heard"), "{error}");
    }
}
