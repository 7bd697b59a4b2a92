//! Faults: which work request fails, waits or is overtaken.
//!
//! Each decision is a hash of the seed, the rank, the kind of fault and the work request's number in its process. It
//! depends on nothing else, so a program that posts the same work meets the same faults.

pub mod plan;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use plan::Plan;

use crate::status::Status;

/// How long an overtaken work request waits, in microseconds: long enough for a burst to pass, short enough to test with.
const OVERTAKEN_US: (u64, u64) = (20, 300);

/// The plan at work in one process.
#[derive(Debug)]
pub(crate) struct Faults {
    plan: Plan,
    rank: u32,
    active: bool,
    posted: AtomicU64,
}

/// What happens to one work request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Wait this long before anything else.
    pub(crate) hold: Duration,
    /// Then fail like this.
    pub(crate) fail: Option<Status>,
    /// Or find no receive this many times.
    pub(crate) not_ready: u32,
}

/// The facts about a work request that faults depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// The receiver's rank, where there is one.
    pub(crate) to: Option<u32>,
    /// Whether it needs a posted receive.
    pub(crate) takes_receive: bool,
    /// Whether it carries a remote key.
    pub(crate) has_key: bool,
}

/// Something that befalls the process, not one work request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The process ends as if killed.
    Kill,
    /// The device with this index goes away.
    DeviceGone(u32),
}

impl Faults {
    /// Takes from a plan what concerns one rank.
    pub(crate) fn new(plan: Plan, rank: u32) -> Self {
        let active = !plan.is_empty();
        Self { plan, rank, active, posted: AtomicU64::new(0) }
    }

    /// Returns `true` if there is anything to ask for: the normal path asks nothing more.
    pub(crate) fn active(&self) -> bool {
        self.active
    }

    /// Counts a work request; the first is 1.
    pub(crate) fn count(&self) -> u64 {
        self.posted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns what befalls the process at its `n`th work request.
    pub(crate) fn events(&self, n: u64) -> impl Iterator<Item = Event> + '_ {
        let kills = self.plan.kill.iter().filter(move |k| **k == (self.rank, n)).map(|_| Event::Kill);
        let gone = self
            .plan
            .device_gone
            .iter()
            .filter(move |(rank, _, at)| rank.is_none_or(|r| r == self.rank) && *at == n)
            .map(|(_, device, _)| Event::DeviceGone(*device));
        gone.chain(kills)
    }

    /// Returns what befalls the `n`th work request.
    pub(crate) fn verdict(&self, n: u64, subject: Subject) -> Verdict {
        let plan = &self.plan;
        let mut verdict = Verdict::default();
        if let Some(to) = subject.to {
            if plan.unreachable.iter().any(|pair| pair.covers(self.rank, to)) {
                return Verdict { fail: Some(Status::Unreachable), ..verdict };
            }
            if plan.unresponsive.iter().any(|pair| pair.covers(self.rank, to)) {
                return Verdict { hold: plan.timeout, fail: Some(Status::Unresponsive), ..verdict };
            }
        }
        if subject.has_key && self.hits(Kind::BadKey, n, plan.bad_key) {
            return Verdict { fail: Some(Status::RemoteBadAddress), ..verdict };
        }
        if subject.takes_receive && self.hits(Kind::NotReady, n, plan.not_ready.0) {
            verdict.not_ready = plan.not_ready.1;
        }
        if self.hits(Kind::Reorder, n, plan.reorder) {
            let span = OVERTAKEN_US.1 - OVERTAKEN_US.0;
            verdict.hold = Duration::from_micros(OVERTAKEN_US.0 + self.roll(Kind::Span, n) % span);
        }
        if self.hits(Kind::Delay, n, plan.delay.0) {
            verdict.hold += plan.delay.1;
        }
        verdict
    }

    fn hits(&self, kind: Kind, n: u64, share: f64) -> bool {
        // 53 bits are what a double holds exactly.
        share > 0.0 && ((self.roll(kind, n) >> 11) as f64) < share * (1u64 << 53) as f64
    }

    fn roll(&self, kind: Kind, n: u64) -> u64 {
        let mut hash = scramble(self.plan.seed);
        for part in [u64::from(self.rank), kind as u64, n] {
            hash = scramble(hash ^ part);
        }
        hash
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Reorder = 1,
    Span,
    Delay,
    NotReady,
    BadKey,
}

/// Mixes a value by the finishing step of the splitmix64 generator: every input bit reaches every output bit.
fn scramble(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Event, Faults, Plan, Subject};
    use crate::status::Status;

    const SEND: Subject = Subject { to: Some(1), takes_receive: true, has_key: false };
    const WRITE: Subject = Subject { to: Some(1), takes_receive: false, has_key: true };

    fn faults(text: &str, rank: u32) -> Faults {
        Faults::new(Plan::parse(text).unwrap(), rank)
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_seed_others() {
        let held = |seed: u32| -> Vec<Duration> {
            let faults = faults(&format!("seed={seed}; reorder=0.5"), 0);
            (1..200).map(|n| faults.verdict(n, SEND).hold).collect()
        };
        assert_eq!(held(1), held(1));
        assert_ne!(held(1), held(2));
    }

    #[test]
    fn the_share_is_kept() {
        let faults = faults("seed=5; rnr=0.25,2", 3);
        let hits = (1..=10_000).filter(|n| faults.verdict(*n, SEND).not_ready == 2).count();
        assert!((2300..2700).contains(&hits), "{hits} of 10000");
        assert!((1..=10_000).all(|n| faults.verdict(n, WRITE).not_ready == 0), "a write takes no receive");
    }

    #[test]
    fn pairs_fail_one_way_only() {
        let from = |rank| faults("unreachable=0>1; unresponsive=1>0; timeout=7", rank);
        assert_eq!(from(0).verdict(1, SEND).fail, Some(Status::Unreachable));
        let back = Subject { to: Some(0), ..SEND };
        let verdict = from(1).verdict(1, back);
        assert_eq!((verdict.fail, verdict.hold), (Some(Status::Unresponsive), Duration::from_millis(7)));
        assert_eq!(from(2).verdict(1, SEND).fail, None);
    }

    #[test]
    fn bad_keys_concern_reads_and_writes_only() {
        let faults = faults("badkey=1", 0);
        assert_eq!(faults.verdict(1, WRITE).fail, Some(Status::RemoteBadAddress));
        assert_eq!(faults.verdict(1, SEND).fail, None);
    }

    #[test]
    fn events_come_at_their_work_request_and_rank() {
        let events = |rank, n| {
            faults("kill=1@3; device-gone=0@2; device-gone=1/2@3", rank).events(n).collect::<Vec<_>>()
        };
        assert_eq!(events(1, 3), [Event::DeviceGone(2), Event::Kill]);
        assert_eq!(events(0, 3), []);
        assert_eq!(events(0, 2), [Event::DeviceGone(0)]);
    }
}
