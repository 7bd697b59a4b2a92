//! How messages name members: one by one for programs, shortened for people.

use std::fmt;

use serde::{Serialize, Serializer};

use super::facts::Facts;

/// So many runs of ranks are spelt out in a message before the rest is only counted.
const RUNS_SHOWN: usize = 4;
/// So many instances are spelt out in a message.
const INSTANCES_SHOWN: usize = 2;

/// A member as reports name it: `rank 1 (i-0b)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberName {
    /// Its rank.
    pub rank: usize,
    /// Its instance, off EC2 its machine; empty when that is not known.
    pub instance_id: String,
}

impl MemberName {
    /// Returns the name of the member that these facts are about.
    pub fn of(facts: &Facts) -> Self {
        Self { rank: facts.member.rank, instance_id: facts.member.instance_id.clone() }
    }

    /// Names members in a few words, however many they are: `ranks 0-2, 7 (i-0a, i-0b, ...)`. The members are in the
    /// order of their ranks.
    pub fn list(members: &[Self]) -> String {
        shortened(members)
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {}", self.rank)?;
        if self.instance_id.is_empty() { Ok(()) } else { write!(f, " ({})", self.instance_id) }
    }
}

impl Serialize for MemberName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Names the members in a few words however many they are: `ranks 0-2, 7 (i-0a, i-0b, ...)`. They are in the order
/// of their ranks.
pub(super) fn shortened(members: &[MemberName]) -> String {
    if let [one] = members {
        return one.to_string();
    }
    let mut text = String::from("ranks ");
    let runs = runs(members.iter().map(|member| member.rank));
    for (index, &(first, last)) in runs.iter().take(RUNS_SHOWN).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        text += &if first == last { format!("{comma}{first}") } else { format!("{comma}{first}-{last}") };
    }
    let hidden: usize = runs.iter().skip(RUNS_SHOWN).map(|(first, last)| last - first + 1).sum();
    if hidden > 0 {
        text += &format!(" and {hidden} more");
    }
    let mut instances: Vec<&str> = Vec::new();
    for member in members {
        if !member.instance_id.is_empty() && !instances.contains(&member.instance_id.as_str()) {
            instances.push(&member.instance_id);
        }
        if instances.len() > INSTANCES_SHOWN {
            instances[INSTANCES_SHOWN] = "...";
            break;
        }
    }
    if !instances.is_empty() {
        text += &format!(" ({})", instances.join(", "));
    }
    text
}

/// Returns the verb's ending and number for as many members: `rank 1 is`, `ranks 1-2 are`.
pub(super) fn is_or_are(members: &[MemberName]) -> &'static str {
    if members.len() == 1 { "is" } else { "are" }
}

/// Returns the same for `has` and `have`.
pub(super) fn has_or_have(members: &[MemberName]) -> &'static str {
    if members.len() == 1 { "has" } else { "have" }
}

/// Returns first and last of each run of consecutive ranks. A rank that comes twice stays within its run.
fn runs(ranks: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for rank in ranks {
        match runs.last_mut() {
            Some((_, last)) if rank == *last || rank.checked_sub(1) == Some(*last) => *last = rank,
            _ => runs.push((rank, rank)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(ranks: &[usize]) -> Vec<MemberName> {
        ranks.iter().map(|&rank| MemberName { rank, instance_id: format!("i-{rank}") }).collect()
    }

    #[test]
    fn one_member_is_named_in_full() {
        assert_eq!(shortened(&named(&[3])), "rank 3 (i-3)");
        assert_eq!(MemberName { rank: 3, instance_id: String::new() }.to_string(), "rank 3");
    }

    #[test]
    fn many_members_become_runs_and_a_count() {
        assert_eq!(shortened(&named(&[0, 1])), "ranks 0-1 (i-0, i-1)");
        assert_eq!(shortened(&named(&[0, 1, 2, 7])), "ranks 0-2, 7 (i-0, i-1, ...)");
        assert_eq!(shortened(&named(&[0, 2, 4, 6, 8, 9])), "ranks 0, 2, 4, 6 and 2 more (i-0, i-2, ...)");
        let ten_thousand: Vec<usize> = (0..10_000).collect();
        assert_eq!(shortened(&named(&ten_thousand)), "ranks 0-9999 (i-0, i-1, ...)");
    }

    #[test]
    fn ranks_of_one_instance_name_it_once() {
        let members: Vec<_> = (0..4).map(|rank| MemberName { rank, instance_id: "i-0a".into() }).collect();
        assert_eq!(shortened(&members), "ranks 0-3 (i-0a)");
    }
}
