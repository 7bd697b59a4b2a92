//! The plan of faults: its text and what it means.

use std::fmt;
use std::time::Duration;

/// How long a peer that doesn't answer is waited for unless the plan says otherwise. A real device waits minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);

/// What goes wrong, and how often. The crate's documentation has the text form.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Same seed, same faults.
    pub seed: u64,
    /// Share of the work requests that later ones overtake, 0 to 1.
    pub reorder: f64,
    /// Share of the work requests held back, and for how long.
    pub delay: (f64, Duration),
    /// Share of the sends that find no receive, and how many times in a row.
    pub not_ready: (f64, u32),
    /// Share of the reads and writes whose remote key is refused.
    pub bad_key: f64,
    /// Pairs without a way from one to the other.
    pub unreachable: Vec<Pair>,
    /// Pairs of which the second never answers the first.
    pub unresponsive: Vec<Pair>,
    /// How long until a peer that doesn't answer is given up.
    pub timeout: Duration,
    /// Which rank ends at which of its work requests.
    pub kill: Vec<(u32, u64)>,
    /// Which device goes away: of this rank or of all, its index, at which work request.
    pub device_gone: Vec<(Option<u32>, u32, u64)>,
}

/// Sender and receiver by rank; none stands for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Who sends.
    pub from: Option<u32>,
    /// Who should receive.
    pub to: Option<u32>,
}

impl Pair {
    /// Returns `true` if the pair covers a sender and a receiver.
    pub fn covers(&self, from: u32, to: u32) -> bool {
        self.from.is_none_or(|r| r == from) && self.to.is_none_or(|r| r == to)
    }
}

/// What is wrong with a plan's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// The item as written.
    pub item: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}': {}", self.item, self.problem)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 0,
            reorder: 0.0,
            delay: (0.0, Duration::ZERO),
            not_ready: (0.0, 0),
            bad_key: 0.0,
            unreachable: Vec::new(),
            unresponsive: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            kill: Vec::new(),
            device_gone: Vec::new(),
        }
    }
}

impl Plan {
    /// Reads a plan's text: items of the form `name=value` between semicolons or line ends; `#` starts a comment.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        for line in text.lines() {
            let line = line.split_once('#').map_or(line, |(before, _)| before);
            for item in line.split(';').map(str::trim).filter(|item| !item.is_empty()) {
                plan.apply(item).map_err(|problem| PlanError { item: item.to_owned(), problem })?;
            }
        }
        Ok(plan)
    }

    /// Returns `true` if anything can ever go wrong.
    pub fn is_empty(&self) -> bool {
        let never = Self { seed: self.seed, timeout: self.timeout, ..Self::default() };
        *self == never
    }

    fn apply(&mut self, item: &str) -> Result<(), String> {
        let (name, value) = item.split_once('=').ok_or("expected name=value")?;
        let value = value.trim();
        match name.trim() {
            "seed" => self.seed = number(value)?,
            "reorder" => self.reorder = share(value)?,
            "delay" => {
                let (share_text, us) =
                    pair(value, ',', "expected a share and microseconds, such as 0.1,500")?;
                self.delay = (share(share_text)?, Duration::from_micros(number(us)?));
            }
            "rnr" => {
                let (share_text, count) = pair(value, ',', "expected a share and a count, such as 0.1,3")?;
                self.not_ready = (share(share_text)?, number(count)?);
            }
            "badkey" => self.bad_key = share(value)?,
            "unreachable" => self.unreachable.push(ranks(value)?),
            "unresponsive" => self.unresponsive.push(ranks(value)?),
            "timeout" => self.timeout = Duration::from_millis(number(value)?),
            "kill" => {
                let (rank, at) = pair(value, '@', "expected a rank and a work request, such as 1@100")?;
                self.kill.push((number(rank)?, nth(at)?));
            }
            "device-gone" => {
                let (device, at) =
                    pair(value, '@', "expected a device and a work request, such as 0@100 or 1/0@100")?;
                let (rank, device) = match device.split_once('/') {
                    Some((rank, device)) => (Some(number(rank)?), number(device)?),
                    None => (None, number(device)?),
                };
                self.device_gone.push((rank, device, nth(at)?));
            }
            _ => {
                return Err(
                    "no such fault; there are seed, reorder, delay, rnr, badkey, unreachable, unresponsive, \
                            timeout, kill and device-gone"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("'{}' is not a whole number in range", text.trim()))
}

fn nth(text: &str) -> Result<u64, String> {
    match number(text)? {
        0 => Err("work requests are counted from 1".to_owned()),
        n => Ok(n),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(p) if (0.0..=1.0).contains(&p) => Ok(p),
        _ => Err(format!("'{}' is not a share between 0 and 1", text.trim())),
    }
}

fn pair<'a>(text: &'a str, between: char, expected: &str) -> Result<(&'a str, &'a str), String> {
    text.split_once(between).ok_or_else(|| expected.to_owned())
}

fn ranks(text: &str) -> Result<Pair, String> {
    let (from, to) = pair(text, '>', "expected two ranks, such as 0>1, or * for any")?;
    let rank = |text: &str| if text.trim() == "*" { Ok(None) } else { number(text).map(Some) };
    Ok(Pair { from: rank(from)?, to: rank(to)? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pair, Plan};

    #[test]
    fn every_item_is_read() {
        let plan = Plan::parse(
            "seed=7; reorder=0.25; delay=0.1,500 # slow\nrnr=0.5,3\nbadkey=1;unreachable=0>1;unresponsive=*>2\n\
             timeout=20; kill=1@100; device-gone=0@5; device-gone=3/1@9",
        )
        .unwrap();
        assert_eq!(plan.seed, 7);
        assert_eq!(plan.reorder, 0.25);
        assert_eq!(plan.delay, (0.1, Duration::from_micros(500)));
        assert_eq!(plan.not_ready, (0.5, 3));
        assert_eq!(plan.bad_key, 1.0);
        assert_eq!(plan.unreachable, [Pair { from: Some(0), to: Some(1) }]);
        assert_eq!(plan.unresponsive, [Pair { from: None, to: Some(2) }]);
        assert_eq!(plan.timeout, Duration::from_millis(20));
        assert_eq!(plan.kill, [(1, 100)]);
        assert_eq!(plan.device_gone, [(None, 0, 5), (Some(3), 1, 9)]);
    }

    #[test]
    fn an_empty_plan_breaks_nothing() {
        assert!(Plan::parse("").unwrap().is_empty());
        assert!(Plan::parse("seed=3; timeout=5 # nothing else").unwrap().is_empty());
        assert!(!Plan::parse("reorder=0.1").unwrap().is_empty());
    }

    #[test]
    fn a_wrong_item_is_named() {
        for wrong in [
            "reorder",
            "reorder=2",
            "reorder=-0.1",
            "reorder=NaN",
            "delay=0.1",
            "delay=0.1,x",
            "rnr=0.1,-1",
            "seed=",
            "unreachable=0-1",
            "unreachable=0>x",
            "kill=1",
            "kill=1@0",
            "device-gone=@1",
            "nonsense=1",
        ] {
            let error = Plan::parse(&format!("seed=1; {wrong}")).unwrap_err();
            assert_eq!(error.item, wrong);
            assert!(!error.problem.is_empty());
        }
    }

    #[test]
    fn fuzz_plans_of_faults_are_read_or_refused_with_the_item() {
        const ITEMS: [&str; 12] = [
            "seed=7",
            "reorder=0.25",
            "delay=0.1,500",
            "rnr=0.5,3",
            "badkey=1e-3",
            "unreachable=0>1",
            "unresponsive=*>3",
            "timeout=2000",
            "kill=1@100",
            "device-gone=0@100",
            "device-gone=2/0@1",
            "# a comment",
        ];
        efa_fuzz::rounds("plans of faults", 30_000, |random| {
            let text: Vec<String> = (0..random.below(6))
                .map(|_| {
                    let item = *random.pick(&ITEMS);
                    random.mutate_text(item)
                })
                .collect();
            let text = text.join(*random.pick(&[";", "\n", " ; "]));
            match Plan::parse(&text) {
                Ok(plan) => {
                    let shares = [plan.reorder, plan.delay.0, plan.not_ready.0, plan.bad_key];
                    assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{text}");
                    assert!(plan.kill.iter().all(|&(_, at)| at > 0), "{text}");
                    let _ = plan.is_empty();
                }
                Err(error) => {
                    assert!(text.contains(&error.item) && !error.problem.is_empty(), "{text}: {error}")
                }
            }
        });
    }

    #[test]
    fn a_star_covers_any_rank() {
        let any_to_two = Pair { from: None, to: Some(2) };
        assert!(any_to_two.covers(0, 2) && any_to_two.covers(9, 2));
        assert!(!any_to_two.covers(2, 0));
    }
}
