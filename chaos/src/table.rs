//! The table at the end of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::plan::{Carrier, Fault, Phase, Plan};
use crate::verdict::{Verdict, Violation};

/// Counts by phase, fault and carrier.
#[derive(Debug, Default)]
pub(crate) struct Table(BTreeMap<(Phase, Fault, Carrier), Row>);

#[derive(Debug, Default)]
struct Row {
    rounds: usize,
    /// Of these, rounds that were over before the fault came.
    missed: usize,
    worst: Option<Duration>,
    announced: usize,
    /// Rounds with a violation of each kind.
    hangs: usize,
    crashes: usize,
    wrong: usize,
    leftovers: usize,
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.rounds += other.rounds;
        self.missed += other.missed;
        self.worst = self.worst.max(other.worst);
        self.announced += other.announced;
        self.hangs += other.hangs;
        self.crashes += other.crashes;
        self.wrong += other.wrong;
        self.leftovers += other.leftovers;
    }
}

impl Table {
    /// Adds a round.
    pub(crate) fn add(&mut self, plan: &Plan, verdict: &Verdict) {
        let has = |kind: Violation| usize::from(verdict.violations.iter().any(|(found, _)| *found == kind));
        let row = Row {
            rounds: 1,
            missed: usize::from(verdict.missed),
            worst: verdict.worst,
            announced: verdict.announced,
            hangs: has(Violation::Hang),
            crashes: has(Violation::Crash),
            wrong: has(Violation::Wrong),
            leftovers: has(Violation::Leftover),
        };
        self.0.entry((plan.phase, plan.fault, plan.carrier)).or_default().add(&row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:<19} {:<11} {:>6} {:>6} {:>11} {:>9} {:>5} {:>7} {:>5} {:>9}",
            "phase",
            "fault",
            "provider",
            "rounds",
            "missed",
            "worst (ms)",
            "announced",
            "hangs",
            "crashes",
            "wrong",
            "leftovers"
        )?;
        let line = |f: &mut fmt::Formatter<'_>, names: (&str, &str, &str), row: &Row| {
            let worst = row.worst.map_or("-".to_owned(), |worst| worst.as_millis().to_string());
            let (phase, fault, carrier) = names;
            write!(
                f,
                "{phase:<12} {fault:<19} {carrier:<11} {:>6} {:>6} {worst:>11} ",
                row.rounds, row.missed
            )?;
            write!(f, "{:>9} {:>5} {:>7} ", row.announced, row.hangs, row.crashes)?;
            writeln!(f, "{:>5} {:>9}", row.wrong, row.leftovers)
        };
        let mut total = Row::default();
        for ((phase, fault, carrier), row) in &self.0 {
            line(f, (&phase.to_string(), &fault.to_string(), &carrier.to_string()), row)?;
            total.add(row);
        }
        line(f, ("all", "", ""), &total)
    }
}
