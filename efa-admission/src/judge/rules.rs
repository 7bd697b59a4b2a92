//! What the rules of each group come to.

use std::collections::BTreeMap;

use crate::failure::ApiFailure;
use crate::groups::{Direction, GroupRules, SecurityGroups};

/// The rights of every group whose rules are known; `None` when no rules are.
pub(super) struct Rules<'a> {
    rights: Option<BTreeMap<&'a str, Rights<'a>>>,
    /// The groups as they are listed; one that is listed twice has only what both entries give.
    groups: BTreeMap<&'a str, Vec<&'a GroupRules>>,
    /// Why they are not known, where the API was asked.
    pub(super) failure: Option<&'a ApiFailure>,
}

/// Whether a group lets through all traffic with itself.
#[derive(Clone, Copy)]
pub(super) struct Rights<'a> {
    pub(super) ingress: Right<'a>,
    pub(super) egress: Right<'a>,
}

/// One direction of it.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) granted: bool,
    /// Addresses that the group is open to instead, which is of no use to EFA.
    pub(super) open_to: Option<&'a str>,
}

impl<'a> Rules<'a> {
    pub(super) fn of(groups: &'a SecurityGroups) -> Self {
        let failure = groups.failure();
        let Some(groups) = groups.groups() else {
            return Self { rights: None, groups: BTreeMap::new(), failure };
        };
        let mut listed: BTreeMap<&str, Vec<&GroupRules>> = BTreeMap::new();
        let mut rights: BTreeMap<&str, Rights<'_>> = BTreeMap::new();
        for group in groups {
            listed.entry(&group.group_id).or_default().push(group);
            let right = |direction| Right {
                granted: group.allows_itself(direction),
                open_to: group.open_by_address(direction),
            };
            let this = Rights { ingress: right(Direction::Ingress), egress: right(Direction::Egress) };
            // Listed twice: the group has only what both entries give.
            rights
                .entry(&group.group_id)
                .and_modify(|before| {
                    before.ingress = before.ingress.and(this.ingress);
                    before.egress = before.egress.and(this.egress);
                })
                .or_insert(this);
        }
        Self { rights: Some(rights), groups: listed, failure }
    }

    pub(super) fn are_known(&self) -> bool {
        self.rights.is_some()
    }

    pub(super) fn get(&self, group: &str) -> Option<Rights<'a>> {
        self.rights.as_ref()?.get(group).copied()
    }

    /// Returns `true` if the group is known and each of its entries fulfils the condition.
    pub(super) fn all_entries(&self, group: &str, holds: impl Fn(&GroupRules) -> bool) -> bool {
        self.groups.get(group).is_some_and(|entries| entries.iter().all(|entry| holds(entry)))
    }

    /// Returns `true` if the group is known to let all traffic with itself in and out.
    pub(super) fn admits(&self, group: &str) -> bool {
        self.get(group).is_some_and(Rights::is_complete)
    }
}

impl Rights<'_> {
    pub(super) fn is_complete(self) -> bool {
        self.count() == 2
    }

    /// Returns how many of the two directions are right.
    pub(super) fn count(self) -> usize {
        usize::from(self.ingress.granted) + usize::from(self.egress.granted)
    }
}

impl Right<'_> {
    fn and(self, other: Self) -> Self {
        Self { granted: self.granted && other.granted, open_to: self.open_to.min(other.open_to) }
    }
}
