//! The pairs of a job as a matrix: time or failure.

use std::cmp::Reverse;

use efa_core::admission::ClosedPath;
use serde::{Serialize, Serializer};

use crate::terminal::paint;

/// Up to so many ranks every pair has its place in the table.
const SHOWN_UP_TO: usize = 16;
const WIDTH: usize = 9;
/// In larger jobs so many ranks with closed paths are named.
const RANKS_SHOWN: usize = 5;

/// What came of the pairs that were tried.
#[derive(Debug)]
pub(super) struct Matrix {
    /// How many ranks the job has.
    pub(super) ranks: usize,
    /// In the order of the ranks.
    pub(super) pairs: Vec<Pair>,
}

/// A way from one rank to another.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether a message got through; `None` where that could not be told.
    pub(super) open: Option<bool>,
    /// How long one takes; absent where the way back is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time_us: Option<f64>,
    /// What was seen of a way that is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seen: Option<String>,
}

impl Matrix {
    /// Returns the ways that are closed.
    pub(super) fn closed(&self) -> impl Iterator<Item = ClosedPath> {
        self.pairs.iter().filter_map(|pair| {
            let seen = pair.seen.clone()?;
            Some(ClosedPath { from: pair.from, to: pair.to, seen })
        })
    }

    /// Returns the matrix for people; `where_` says on which provider.
    pub(super) fn to_table(&self, where_: &str, coloured: bool) -> String {
        let (tried, all) = (self.pairs.len(), self.ranks * (self.ranks - 1));
        let closed = self.pairs.iter().filter(|pair| pair.open == Some(false)).count();
        let sample = if tried == all { String::new() } else { format!(" of {all}") };
        let verdict = match closed {
            0 if self.pairs.iter().any(|pair| pair.open.is_none()) => paint(coloured, "1;33", "some unknown"),
            0 => paint(coloured, "32", "all open"),
            closed => paint(coloured, "1;31", &format!("{closed} closed")),
        };
        let mut text = format!("pairs tried{where_}: {tried}{sample}, {verdict}{}\n", self.times());
        if self.ranks <= SHOWN_UP_TO {
            text += &self.grid(coloured);
        } else if closed > 0 {
            text += &self.most_closed();
        }
        text
    }

    /// Returns the ranks that most closed paths lead to or from: one host that is cut off closes many.
    fn most_closed(&self) -> String {
        let mut closed = vec![0; self.ranks];
        let mut tried = vec![0; self.ranks];
        for pair in &self.pairs {
            for rank in [pair.from, pair.to] {
                tried[rank] += 1;
                closed[rank] += usize::from(pair.open == Some(false));
            }
        }
        let mut ranks: Vec<usize> = (0..self.ranks).filter(|&rank| closed[rank] > 0).collect();
        ranks.sort_by_key(|&rank| (Reverse(closed[rank]), rank));
        let named = ranks.iter().take(RANKS_SHOWN);
        let named: Vec<_> =
            named.map(|&rank| format!("rank {rank} ({} of {})", closed[rank], tried[rank])).collect();
        format!("  most closed: {}\n", named.join(", "))
    }

    fn times(&self) -> String {
        let mut timed: Vec<_> = self.pairs.iter().filter_map(|pair| Some((pair.time_us?, pair))).collect();
        timed.sort_by(|a, b| a.0.total_cmp(&b.0));
        match (timed.get(timed.len() / 2), timed.last()) {
            (Some((median, _)), Some((longest, pair))) => format!(
                "; one way {median:.1} us at the median, {longest:.1} us at most (rank {} to {})",
                pair.from, pair.to
            ),
            _ => String::new(),
        }
    }

    fn grid(&self, coloured: bool) -> String {
        let mut text = format!("{:>WIDTH$}", "us, to:");
        text.extend((0..self.ranks).map(|to| format!("{to:>WIDTH$}")));
        text.push('\n');
        for from in 0..self.ranks {
            text += &format!("{:>WIDTH$}", format!("from {from}"));
            for to in 0..self.ranks {
                let pair = self.pairs.iter().find(|pair| (pair.from, pair.to) == (from, to));
                text += &match pair.map(|pair| (pair.open, pair.time_us)) {
                    None => format!("{:>WIDTH$}", "-"),
                    Some((None, _)) => format!("{:>WIDTH$}", "unknown"),
                    Some((Some(false), _)) => paint(coloured, "1;31", &format!("{:>WIDTH$}", "closed")),
                    Some((Some(true), None)) => format!("{:>WIDTH$}", "open"),
                    Some((Some(true), Some(time))) => format!("{time:>WIDTH$.1}"),
                };
            }
            text.push('\n');
        }
        text
    }
}

/// As JSON it is the list of its pairs.
impl Serialize for Matrix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pairs.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(from: usize, to: usize, time_us: Option<f64>, seen: Option<&str>) -> Pair {
        Pair { from, to, open: Some(seen.is_none()), time_us, seen: seen.map(str::to_owned) }
    }

    #[test]
    fn a_small_job_is_shown_pair_by_pair() {
        let pairs = vec![
            pair(0, 1, Some(12.0), None),
            pair(0, 2, Some(9.96), None),
            pair(1, 0, Some(11.0), None),
            pair(1, 2, None, Some("nothing arrived within 10 s")),
            pair(2, 0, Some(104.5), None),
            pair(2, 1, None, None),
        ];
        let matrix = Matrix { ranks: 3, pairs };
        assert_eq!(
            matrix.to_table(" on tcp", false),
            "pairs tried on tcp: 6, 1 closed; one way 12.0 us at the median, 104.5 us at most (rank 2 to 0)\n\
             \u{20} us, to:        0        1        2\n\
             \u{20}  from 0        -     12.0     10.0\n\
             \u{20}  from 1     11.0        -   closed\n\
             \u{20}  from 2    104.5     open        -\n"
        );
        let closed: Vec<_> = matrix.closed().collect();
        assert_eq!((closed.len(), closed[0].from, closed[0].to), (1, 1, 2));
    }

    #[test]
    fn a_large_job_is_summed_up() {
        let pairs = (0..1000).map(|from| pair(from, from ^ 1, Some(5.0), None)).collect();
        let table = Matrix { ranks: 1000, pairs }.to_table("", false);
        assert_eq!(
            table,
            "pairs tried: 1000 of 999000, all open; one way 5.0 us at the median, 5.0 us at most (rank 999 to 998)\n"
        );
    }

    #[test]
    fn a_rank_that_is_cut_off_stands_out_in_a_large_job() {
        let way = |from, to| pair(from, to, None, (from == 5 || to == 5).then_some("lost"));
        let pairs =
            (0..20).flat_map(|from| (0..20).filter(move |&to| to != from).map(move |to| way(from, to)));
        let table = Matrix { ranks: 20, pairs: pairs.collect() }.to_table("", false);
        assert_eq!(
            table,
            "pairs tried: 380, 38 closed\n\
             \u{20} most closed: rank 5 (38 of 38), rank 0 (2 of 38), rank 1 (2 of 38), rank 2 (2 of 38), rank 3 (2 of 38)\n"
        );
    }

    #[test]
    fn json_names_every_pair() {
        let pairs = vec![pair(0, 1, Some(12.5), None), pair(1, 0, None, Some("x"))];
        let json = serde_json::to_string(&Matrix { ranks: 2, pairs }).unwrap();
        assert_eq!(
            json,
            r#"[{"from":0,"to":1,"open":true,"time_us":12.5},{"from":1,"to":0,"open":false,"seen":"x"}]"#
        );
    }
}
