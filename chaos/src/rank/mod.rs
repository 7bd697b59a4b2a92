//! A rank: joins the job, does verified work, brings about those faults that come from inside, and reports.

mod collectives;
mod inside;
mod leftovers;
mod messages;
mod payload;
mod remote;

use std::path::Path;
use std::process::ExitCode;

use efa_core::{Communicator, Error, Init, OpError};

use crate::job::wait_for_driver;
use crate::plan::{Fault, Phase, Plan};
use crate::report::{Event, Writer};
use leftovers::Resources;
use payload::Payload;
use remote::Board;

/// Why a rank stops.
pub(crate) enum Stop {
    /// A call of the library failed.
    Failed(Error),
    /// Bytes or results are not what they must be.
    Wrong(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<B> From<OpError<B>> for Stop {
    fn from(failed: OpError<B>) -> Self {
        Self::Failed(failed.error)
    }
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Self::Wrong(what)
    }
}

/// What the parts of the workload share.
struct Rank<'a> {
    plan: &'a Plan,
    world: &'a Communicator,
    me: usize,
    report: &'a Writer,
    folder: &'a Path,
}

impl Rank<'_> {
    /// Returns the payload of a rank's message or region of that number.
    fn payload(&self, sender: usize, number: u64) -> Payload {
        Payload { job: self.plan.seed ^ self.plan.round << 32, sender, number }
    }

    /// Gives the driver the time to see how far its victim has come.
    fn let_driver_catch_up(&self) {
        if self.is_victim() && self.plan.fault.is_from_outside() {
            wait_for_driver(self.folder);
        }
    }

    fn is_victim(&self) -> bool {
        self.me == self.plan.victim
    }
}

/// Plays a rank of the job that `plan` describes.
pub(crate) fn main(plan: &Plan, folder: &Path) -> ExitCode {
    let rank = std::env::var("EFA_RANK").ok().and_then(|rank| rank.parse().ok()).unwrap_or(0);
    let report = match Writer::open(folder, rank) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("cannot open the report: {error}");
            return ExitCode::from(2);
        }
    };
    report.say(Event::Started, &std::process::id().to_string());
    // What libfabric opens once for the whole process is there before the count.
    if plan.fault != Fault::FewDescriptors {
        let _ = efa_core::fabric::offers();
    }
    let before = Resources::count();
    let succeeded = job(plan, &report, folder);
    report.say(Event::Left, &before.excess().unwrap_or_default());
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reports why the rank stops.
fn tell(report: &Writer, stop: &Stop) {
    match stop {
        Stop::Failed(error) => report.say(Event::Failed, &describe(error)),
        Stop::Wrong(what) => report.say(Event::Wrong, what),
    }
}

/// Returns the kind of an error, the rank that it names, and its text.
fn describe(error: &Error) -> String {
    let peer = error.peer().map_or("-".to_owned(), |peer| peer.rank.to_string());
    format!("{:?} {peer} {error}", error.kind())
}

/// Joins the job, works and leaves. Returns `true` if all of that succeeded.
fn job(plan: &Plan, report: &Writer, folder: &Path) -> bool {
    let world = match join(plan) {
        Ok(world) => world,
        Err(error) => {
            tell(report, &error.into());
            return false;
        }
    };
    report.say(Event::Joined, "");
    let rank = Rank { plan, world: &world, me: world.rank(), report, folder };
    if let Err(stop) = work(&rank) {
        // Told before the communicator is dropped, which may wait for others.
        tell(report, &stop);
        if let (Stop::Failed(error), true) = (&stop, plan.calls_off) {
            world.control().abort(&error.to_string());
        }
        return false;
    }
    report.say(Event::Leaving, "");
    if plan.phase == Phase::Leave {
        rank.let_driver_catch_up();
    }
    if let Err(error) = world.finish() {
        tell(report, &error.into());
        return false;
    }
    report.say(Event::Done, "");
    true
}

fn join(plan: &Plan) -> efa_core::Result<Communicator> {
    let mut init = Init::from_env()?;
    if let Some(depth) = plan.depth {
        init.endpoint.depth = depth;
    }
    init.join()
}

/// Returns the workload.
fn work(rank: &Rank) -> Result<(), Stop> {
    let plan = rank.plan;
    let uses_remote = matches!(plan.phase, Phase::Remote | Phase::Mixed);
    let mut board = if uses_remote { Some(Board::open(rank)?) } else { None };
    for step in 0..plan.steps {
        rank.report.say(Event::Step, &step.to_string());
        if step == plan.at_step {
            if Phase::WORK.contains(&plan.phase) {
                rank.let_driver_catch_up();
            }
            let goes_on = inside::bring_about(rank, step, board.as_mut())?;
            if !goes_on {
                return Ok(());
            }
        }
        let mut random = plan.random(step as u64);
        let phase = match plan.phase {
            Phase::Mixed => random.pick(&[Phase::Messages, Phase::Remote, Phase::Collectives]),
            Phase::Start | Phase::Leave => random.pick(&[Phase::Messages, Phase::Collectives]),
            phase => phase,
        };
        match (phase, &board) {
            (Phase::Remote, Some(board)) => board.step(rank, step, &mut random)?,
            (Phase::Messages, _) => messages::step(rank, step, &mut random)?,
            _ => collectives::step(rank, step, &mut random)?,
        }
    }
    Ok(())
}
