//! Trying which ranks of a job reach each other, and how long a message takes.
//!
//! First every rank sends one message to every partner, at once, and notes what arrives: this finds closed paths by
//! direction. What could not be told is tried again. Then the pairs that are open both ways play ping-pong, one partner
//! after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use efa_core::{Endpoint, Error, Op};
use serde::{Deserialize, Serialize};

use super::matrix::{Matrix, Pair};

/// In jobs of up to so many ranks, each tries all others. Beyond, each has a partner for every bit of its rank, which
/// still joins all ranks, if by several steps; tcp would run out of descriptors otherwise.
const ALL_PAIRS_UP_TO: usize = 128;
/// How many messages go to and fro before and while the time is taken.
const WARMUP: usize = 4;
const ROUNDS: usize = 20;
/// More than any provider injects: of what is injected nobody learns whether it was delivered.
const LONGEST: usize = 16 << 10;
const REACH: u32 = 1;
const PING: u32 = 2;
const PONG: u32 = 3;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fate {
    /// It got through.
    Through,
    /// It did not, and this was seen.
    Closed(String),
    /// The endpoint was closed meanwhile, by a failure on another path, so nobody knows.
    Unknown,
}

/// What a rank saw of its messages to and from its partners.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Reached {
    to: BTreeMap<usize, Fate>,
    from: BTreeMap<usize, Fate>,
}

/// What is known of each path, from and to.
pub(super) type Known = BTreeMap<(usize, usize), Fate>;

/// What a rank measured: one way to a partner in microseconds.
pub(super) type Timed = BTreeMap<usize, f64>;

/// Sends a message to every partner with whom it is not known how things stand, and receives one from each.
pub(super) fn reach(endpoint: &Endpoint, known: &Known, limit: Duration) -> Reached {
    let me = endpoint.rank();
    let partners: Vec<usize> =
        partners(me, endpoint.size()).filter(|&rank| is_to_be_tried(known, me, rank)).collect();
    let receives: Vec<_> =
        partners.iter().map(|&rank| (rank, endpoint.recv(rank, REACH, vec![0u8; LONGEST]))).collect();
    let bytes = (endpoint.limits().inject_size + 1).min(LONGEST);
    let sends: Vec<_> =
        partners.iter().map(|&rank| (rank, endpoint.send(rank, REACH, vec![0u8; bytes]))).collect();
    let until = Instant::now() + limit;
    let within = |what: &str| format!("{what} within {} s", limit.as_secs_f64());
    Reached {
        from: receives
            .into_iter()
            .map(|(rank, it)| (rank, fate(it, until, &within("nothing arrived"))))
            .collect(),
        to: sends
            .into_iter()
            .map(|(rank, it)| (rank, fate(it, until, &within("it was not delivered"))))
            .collect(),
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The endpoints are good for more.
    GoOn,
    /// A path is closed, and that can bring down the endpoints at its ends.
    Open,
    /// It has, and with them what they were trying: that is worth another try on new ones.
    OpenAndTry,
}

/// Adds what all ranks saw to what is known.
pub(super) fn learn(known: &mut Known, reached: &[Reached]) -> Next {
    let mut next = Next::GoOn;
    for (from, row) in reached.iter().enumerate() {
        for (&to, sent) in &row.to {
            // A rank that does not exist is a mistake of the one that tells of it.
            let Some(other) = reached.get(to) else { continue };
            let arrived = other.from.get(&from).unwrap_or(&Fate::Unknown);
            let fate = together(sent, arrived);
            if fate != Fate::Through {
                next = Next::Open;
            }
            known.insert((from, to), fate);
        }
    }
    let retry = |(from, to): (usize, usize)| is_to_be_tried(known, from, to);
    if known.keys().copied().any(retry) { Next::OpenAndTry } else { next }
}

/// Measures the pairs that are open both ways. All ranks go through the partners in the same order, so that both of a
/// pair come to each other at the same time. A pair whose game breaks off has no time.
pub(super) fn time(endpoint: &Endpoint, known: &Known, limit: Duration) -> Timed {
    let me = endpoint.rank();
    let open = |from: usize, to: usize| known.get(&(from, to)) == Some(&Fate::Through);
    let until = Instant::now() + limit;
    let mut timed = Timed::new();
    for rank in partners(me, endpoint.size()).filter(|&rank| open(me, rank) && open(rank, me)) {
        for first in [me.min(rank), me.max(rank)] {
            if first == me {
                timed.extend(ping(endpoint, rank, until).map(|time| (rank, time)));
            } else {
                // Whoever measures notices if the game breaks off.
                let _ = pong(endpoint, rank, until);
            }
        }
    }
    timed
}

/// Returns all that was tried, in the order of the ranks.
pub(super) fn matrix(ranks: usize, known: &Known, timed: &[Timed]) -> Matrix {
    let pair = |(&(from, to), fate): (&(usize, usize), &Fate)| {
        let time_us = timed[from].get(&to).map(|time| (time * 100.0).round() / 100.0);
        let (open, seen) = match fate {
            Fate::Through => (Some(true), None),
            Fate::Closed(seen) => (Some(false), Some(seen.clone())),
            Fate::Unknown => (None, None),
        };
        Pair { from, to, open, time_us, seen }
    };
    Matrix { ranks, pairs: known.iter().map(pair).collect() }
}

/// Returns `true` if a pair should be tried: something about it is open, and it is not known to do harm.
fn is_to_be_tried(known: &Known, one: usize, other: usize) -> bool {
    let both = [known.get(&(one, other)), known.get(&(other, one))];
    !both.iter().any(|fate| matches!(fate, Some(Fate::Closed(_))))
        && both.iter().any(|fate| matches!(fate, None | Some(Fate::Unknown)))
}

/// Returns what the two ends of a path say, taken together. Who lost its endpoint did not hear or say anything.
fn together(sent: &Fate, arrived: &Fate) -> Fate {
    match (sent, arrived) {
        (Fate::Closed(sent), Fate::Closed(arrived)) if sent != arrived => {
            Fate::Closed(format!("{sent}, and {arrived}"))
        }
        (Fate::Unknown, Fate::Closed(_)) | (_, Fate::Unknown) => Fate::Unknown,
        (Fate::Closed(sent), _) => Fate::Closed(sent.clone()),
        (_, arrived) => arrived.clone(),
    }
}

/// Returns whom a rank tries, in an order that brings pairs together: in step `k` that is the rank whose number differs
/// in the bits of `k`.
fn partners(me: usize, size: usize) -> impl Iterator<Item = usize> {
    let all = size <= ALL_PAIRS_UP_TO;
    (1..size.next_power_of_two())
        .filter(move |step| all || step.is_power_of_two())
        .map(move |step| me ^ step)
        .filter(move |&rank| rank < size)
}

/// Returns half a round trip at its best, in microseconds.
fn ping(endpoint: &Endpoint, rank: usize, until: Instant) -> Option<f64> {
    let mut best = Duration::MAX;
    for round in 0..WARMUP + ROUNDS {
        let begun = Instant::now();
        let answer = endpoint.recv(rank, PONG, vec![0u64; 1]);
        pass(endpoint.send(rank, PING, vec![0u64]), until)?;
        pass(answer, until)?;
        if round >= WARMUP {
            best = best.min(begun.elapsed());
        }
    }
    Some(best.as_secs_f64() * 1e6 / 2.0)
}

fn pong(endpoint: &Endpoint, rank: usize, until: Instant) -> Option<()> {
    for _ in 0..WARMUP + ROUNDS {
        pass(endpoint.recv(rank, PING, vec![0u64; 1]), until)?;
        pass(endpoint.send(rank, PONG, vec![0u64]), until)?;
    }
    Some(())
}

fn pass<B: Send>(operation: Op<B>, until: Instant) -> Option<()> {
    (fate(operation, until, "") == Fate::Through).then_some(())
}

/// Waits for the operation, and tells what became of it; `late` says that nothing did.
fn fate<B: Send>(operation: Op<B>, until: Instant, late: &str) -> Fate {
    if !operation.wait_timeout(until.saturating_duration_since(Instant::now())) {
        operation.cancel();
        return Fate::Closed(late.to_owned());
    }
    match operation.wait().map_err(Error::from) {
        Ok(_) => Fate::Through,
        Err(Error::Closed(_)) => Fate::Unknown,
        Err(error) => Fate::Closed(cause(&error)),
    }
}

/// Returns the cause in few words: the finding adds whom it is about, and what it means.
fn cause(error: &Error) -> String {
    let why = &error.explanation().why;
    let why = why.split("; ").next().unwrap_or(why);
    match error {
        Error::PeerLost { peer, .. } => why.replace(&format!("{peer} is lost: "), ""),
        _ => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_meet_each_other_in_the_same_step() {
        for size in [2, 3, 4, 7, 16, 100, 128] {
            for me in 0..size {
                let mut all: Vec<usize> = partners(me, size).collect();
                assert!(all.iter().all(|&rank| partners(rank, size).any(|other| other == me)));
                all.sort_unstable();
                all.dedup();
                assert_eq!(all, (0..size).filter(|&rank| rank != me).collect::<Vec<_>>(), "{size}");
            }
        }
    }

    #[test]
    fn a_large_job_is_joined_by_few_pairs() {
        for size in [129, 1000, 1024, 5000] {
            assert!((0..size).all(|me| partners(me, size).count() <= 13));
            let (mut reached, mut edge) = (vec![false; size], vec![0]);
            reached[0] = true;
            while let Some(rank) = edge.pop() {
                for other in partners(rank, size) {
                    if !std::mem::replace(&mut reached[other], true) {
                        edge.push(other);
                    }
                }
            }
            assert!(reached.iter().all(|&reached| reached), "{size}");
        }
    }

    /// Returns what ranks saw when all reached all, but for `failures` of (from, to, sender's, receiver's).
    fn reached(size: usize, failures: &[(usize, usize, Fate, Fate)]) -> Vec<Reached> {
        let mut reached = vec![Reached::default(); size];
        for from in 0..size {
            for to in partners(from, size) {
                let failed = failures.iter().find(|it| (it.0, it.1) == (from, to));
                let (sent, arrived) =
                    failed.map_or((Fate::Through, Fate::Through), |it| (it.2.clone(), it.3.clone()));
                reached[from].to.insert(to, sent);
                reached[to].from.insert(from, arrived);
            }
        }
        reached
    }

    fn closed(why: &str) -> Fate {
        Fate::Closed(why.to_owned())
    }

    #[test]
    fn a_path_is_closed_when_either_end_says_so() {
        let failures = [
            (0, 1, closed("refused"), closed("nothing arrived")),
            (1, 2, Fate::Through, closed("nothing arrived")),
            (2, 1, closed("not delivered"), Fate::Through),
        ];
        let mut known = Known::new();
        assert_eq!(learn(&mut known, &reached(3, &failures)), Next::Open);
        let mut timed = vec![Timed::new(); 3];
        timed[0].insert(2, 12.345);
        let matrix = matrix(3, &known, &timed);
        let found: Vec<_> =
            matrix.pairs.iter().map(|it| (it.from, it.to, it.time_us, it.seen.as_deref())).collect();
        assert_eq!(
            found,
            [
                (0, 1, None, Some("refused, and nothing arrived")),
                (0, 2, Some(12.35), None),
                (1, 0, None, None),
                (1, 2, None, Some("nothing arrived")),
                (2, 0, None, None),
                (2, 1, None, Some("not delivered")),
            ]
        );
    }

    #[test]
    fn what_a_closed_path_took_down_with_it_is_tried_again_without_it() {
        let down = [
            (0, 1, closed("refused"), closed("nothing arrived")),
            (0, 2, Fate::Unknown, closed("nothing arrived")),
            (2, 0, closed("not delivered"), Fate::Unknown),
            (1, 0, Fate::Through, Fate::Unknown),
        ];
        let mut known = Known::new();
        assert_eq!(learn(&mut known, &reached(3, &down)), Next::OpenAndTry);
        assert!(is_to_be_tried(&known, 0, 2) && is_to_be_tried(&known, 2, 0));
        assert!(
            !is_to_be_tried(&known, 0, 1) && !is_to_be_tried(&known, 1, 0) && !is_to_be_tried(&known, 1, 2)
        );
        let mut again = vec![Reached::default(); 3];
        for (from, to) in [(0, 2), (2, 0)] {
            again[from].to.insert(to, Fate::Through);
            again[to].from.insert(from, Fate::Through);
        }
        assert_eq!(learn(&mut known, &again), Next::GoOn);
        assert_eq!((&known[&(0, 2)], &known[&(2, 0)]), (&Fate::Through, &Fate::Through));
        assert_eq!(
            (&known[&(0, 1)], &known[&(1, 0)]),
            (&closed("refused, and nothing arrived"), &Fate::Unknown)
        );
    }
}
