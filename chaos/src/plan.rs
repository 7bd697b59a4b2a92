//! What happens in one round. Driver and ranks derive the same plan from the seed and the number of the round.

use std::fmt;
use std::time::Duration;

use crate::random::Random;

/// The most ranks of a job; the fewest are 2.
pub(crate) const MAX_RANKS: usize = 6;
/// How long an operation may take in rounds whose fault must not be noticed.
const PATIENT: Duration = Duration::from_secs(20);
/// How long an operation may take in rounds that end with an error.
const IMPATIENT: Duration = Duration::from_secs(4);

/// What carries the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Carrier {
    /// The tcp provider.
    Tcp,
    /// The shm provider with copies from process to process (cross-memory attach, CMA).
    Shm,
    /// The shm provider without CMA, as under Yama or seccomp.
    ShmWithoutCma,
    /// The efa provider over an emulated device.
    Efa,
}

impl Carrier {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Shm, Self::ShmWithoutCma, Self::Efa];

    /// Returns the provider's name.
    pub(crate) fn provider(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Shm | Self::ShmWithoutCma => "shm",
            Self::Efa => "efa",
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ShmWithoutCma => "shm-no-cma",
            other => other.provider(),
        })
    }
}

/// What the ranks are doing when the fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Joining the job.
    Start,
    /// Sending and receiving.
    Messages,
    /// Reading and writing remote memory.
    Remote,
    /// Calling collectives.
    Collectives,
    /// All of the above in turn.
    Mixed,
    /// Leaving the job.
    Leave,
}

impl Phase {
    /// Those in which the ranks work.
    pub(crate) const WORK: [Self; 4] = [Self::Messages, Self::Remote, Self::Collectives, Self::Mixed];
    pub(crate) const ALL: [Self; 6] =
        [Self::Start, Self::Messages, Self::Remote, Self::Collectives, Self::Mixed, Self::Leave];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Start => "start",
            Self::Messages => "messages",
            Self::Remote => "remote",
            Self::Collectives => "collectives",
            Self::Mixed => "mixed",
            Self::Leave => "leave",
        })
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Nothing.
    Nothing,
    /// SIGKILL of a rank other than 0.
    Kill,
    /// SIGKILL of rank 0, which holds the rendezvous.
    KillRoot,
    /// SIGKILL of a rank, while the others end by the launcher's SIGTERM as they do by default.
    KillAndTerminate,
    /// SIGSTOP and SIGCONT within the time that operations have.
    ShortPause,
    /// SIGSTOP and SIGCONT after the time that operations have.
    LongPause,
    /// A message, or a collective's part, that is longer than the buffer posted for it.
    ShortReceive,
    /// A region that its owner closes while others use it.
    ClosedRegion,
    /// Operations that are dropped or cancelled.
    DroppedOperations,
    /// Random bytes, half-open and silent connections on the ranks' listening ports.
    Garbage,
    /// A reset of one or all data connections of a rank; tcp only.
    DataReset,
    /// A reset of a rank's control connection.
    ControlReset,
    /// Hardly any file descriptors.
    FewDescriptors,
    /// A rank that computes for longer than operations may take.
    ShortTimeout,
    /// An endpoint that holds few operations at a time.
    ShallowQueue,
    /// A rank that exits without a goodbye while operations are outstanding.
    EarlyExit,
    /// A panic, inside of a scope or not.
    Panic,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 17] = [
        Self::Nothing,
        Self::Kill,
        Self::KillRoot,
        Self::KillAndTerminate,
        Self::ShortPause,
        Self::LongPause,
        Self::ShortReceive,
        Self::ClosedRegion,
        Self::DroppedOperations,
        Self::Garbage,
        Self::DataReset,
        Self::ControlReset,
        Self::FewDescriptors,
        Self::ShortTimeout,
        Self::ShallowQueue,
        Self::EarlyExit,
        Self::Panic,
    ];

    /// Returns `true` if every rank must end with success in spite of the fault.
    pub(crate) fn is_harmless(self) -> bool {
        use Fault::*;
        matches!(self, Nothing | ShortPause | DroppedOperations | Garbage | ShallowQueue)
    }

    /// Returns `true` if the driver sends SIGKILL.
    pub(crate) fn is_kill(self) -> bool {
        matches!(self, Self::Kill | Self::KillRoot | Self::KillAndTerminate)
    }

    /// Returns `true` if the driver brings the fault about, rather than a rank or its limits.
    pub(crate) fn is_from_outside(self) -> bool {
        use Fault::*;
        self.is_kill() || matches!(self, ShortPause | LongPause | Garbage | DataReset | ControlReset)
    }

    fn applies_to(self, carrier: Carrier) -> bool {
        self != Self::DataReset || carrier == Carrier::Tcp
    }

    /// Returns what the ranks may be doing meanwhile.
    fn phases(self) -> &'static [Phase] {
        match self {
            Self::Kill | Self::KillRoot | Self::KillAndTerminate | Self::ShortPause | Self::Garbage => {
                &Phase::ALL
            }
            Self::ShortReceive => &[Phase::Messages, Phase::Collectives],
            Self::ClosedRegion => &[Phase::Remote],
            Self::DroppedOperations => &[Phase::Messages, Phase::Mixed],
            Self::FewDescriptors => &[Phase::Start],
            _ => &Phase::WORK,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nothing => "nothing",
            Self::Kill => "kill",
            Self::KillRoot => "kill-root",
            Self::KillAndTerminate => "kill-and-terminate",
            Self::ShortPause => "short-pause",
            Self::LongPause => "long-pause",
            Self::ShortReceive => "short-receive",
            Self::ClosedRegion => "closed-region",
            Self::DroppedOperations => "dropped-operations",
            Self::Garbage => "garbage",
            Self::DataReset => "data-reset",
            Self::ControlReset => "control-reset",
            Self::FewDescriptors => "few-descriptors",
            Self::ShortTimeout => "short-timeout",
            Self::ShallowQueue => "shallow-queue",
            Self::EarlyExit => "early-exit",
            Self::Panic => "panic",
        })
    }
}

/// One round.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The seed of the run.
    pub(crate) seed: u64,
    /// The number of the round, from 0.
    pub(crate) round: u64,
    pub(crate) carrier: Carrier,
    pub(crate) phase: Phase,
    pub(crate) fault: Fault,
    /// How many ranks the job has.
    pub(crate) ranks: usize,
    /// The rank that the fault befalls.
    pub(crate) victim: usize,
    /// How many steps the workload has.
    pub(crate) steps: usize,
    /// The step at which the fault comes.
    pub(crate) at_step: usize,
    /// How long after the victim reached that step.
    pub(crate) after: Duration,
    /// For pauses: how long the victim stays stopped.
    pub(crate) pause: Duration,
    /// `EFA_TIMEOUT` of the ranks.
    pub(crate) timeout: Duration,
    /// How many operations an endpoint holds, where the fault is about that.
    pub(crate) depth: Option<usize>,
    /// How many descriptors a rank may have, where the fault is about that.
    pub(crate) descriptors: Option<usize>,
    /// Whether a rank that fails calls the job off; otherwise it drops its communicator.
    pub(crate) calls_off: bool,
}

impl Plan {
    /// Returns the plan of a round.
    pub(crate) fn new(seed: u64, round: u64) -> Self {
        let (carrier, fault) = combination(seed, round);
        let mut random = Random::new(&[seed, round]);
        let phase = random.pick(fault.phases());
        let ranks = random.between(2, MAX_RANKS);
        let victim = match fault {
            Fault::KillRoot => 0,
            Fault::Kill => random.between(1, ranks - 1),
            // Rank 0's own end of a control connection is reset as well as the others'.
            _ => random.below(ranks),
        };
        let steps = random.between(6, 24);
        let timeout = match fault {
            fault if fault.is_harmless() => PATIENT,
            Fault::ShortTimeout => Duration::from_millis(random.between(5, 400) as u64),
            Fault::LongPause => Duration::from_millis(random.between(500, 1500) as u64),
            _ => IMPATIENT,
        };
        let pause = match fault {
            Fault::LongPause => timeout + Duration::from_millis(random.between(300, 2500) as u64),
            _ => Duration::from_millis(random.between(1, 1500) as u64),
        };
        // Many short delays and few long ones, up to 33 ms.
        let longest = 1 << random.between(4, 15);
        Self {
            seed,
            round,
            carrier,
            phase,
            fault,
            ranks,
            victim,
            steps,
            at_step: random.below(steps),
            after: Duration::from_micros(random.below(longest) as u64),
            pause,
            timeout,
            depth: (fault == Fault::ShallowQueue).then(|| random.between(1, 4)),
            descriptors: (fault == Fault::FewDescriptors).then(|| random.between(6, 40)),
            calls_off: random.chance(30),
        }
    }

    /// Returns random numbers that belong to `topic` alone.
    pub(crate) fn random(&self, topic: u64) -> Random {
        Random::new(&[self.seed, self.round, topic])
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, round, carrier, phase, fault, ranks, victim, steps, at_step, .. } = self;
        write!(f, "seed {seed} round {round}: {carrier}, {phase}, {fault}, {ranks} ranks, victim {victim}")?;
        write!(f, ", step {at_step} of {steps} + {:?}", self.after)?;
        write!(f, ", timeout {:?}, pause {:?}", self.timeout, self.pause)
    }
}

/// Returns carrier and fault of a round. Each pair comes once before any comes again, in an order of the seed's.
fn combination(seed: u64, round: u64) -> (Carrier, Fault) {
    let mut pairs: Vec<(Carrier, Fault)> = Carrier::ALL
        .into_iter()
        .flat_map(|carrier| Fault::ALL.map(|fault| (carrier, fault)))
        .filter(|&(carrier, fault)| fault.applies_to(carrier))
        .collect();
    let (cycle, place) = (round / pairs.len() as u64, round % pairs.len() as u64);
    Random::new(&[seed, u64::MAX, cycle]).shuffle(&mut pairs);
    pairs[place as usize]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_round_has_the_same_plan_whenever_it_is_made() {
        for round in 0..100 {
            assert_eq!(format!("{:?}", Plan::new(5, round)), format!("{:?}", Plan::new(5, round)));
        }
        assert_ne!(format!("{:?}", Plan::new(5, 0)), format!("{:?}", Plan::new(6, 0)));
    }

    #[test]
    fn every_carrier_meets_every_fault_that_applies_to_it_in_one_cycle() {
        let pairs: BTreeSet<_> = (0..65).map(|round| combination(9, round)).collect();
        assert_eq!(pairs.len(), 65);
    }

    #[test]
    fn a_plan_names_ranks_and_steps_that_exist() {
        for round in 0..1000 {
            let plan = Plan::new(1, round);
            assert!((2..=MAX_RANKS).contains(&plan.ranks) && plan.victim < plan.ranks, "{plan}");
            assert!(plan.at_step < plan.steps, "{plan}");
            assert!(plan.fault.phases().contains(&plan.phase), "{plan}");
            assert!(plan.fault != Fault::LongPause || plan.pause > plan.timeout, "{plan}");
            assert!(plan.fault != Fault::ShortPause || plan.pause < plan.timeout / 2, "{plan}");
        }
    }
}
