//! What one member looks up for the whole job: the rules of its security groups, and what metadata doesn't tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::facts::{Facts, InterfaceKind, known};
use super::failure::ApiFailure;
use super::groups::SecurityGroups;
use super::judge::evaluate;
use super::policy::Policy;
use super::report::Report;
use crate::placement::{crossings, ring_order};

/// What rank 0 looked up and tells the others, as JSON. [`source::look_up`](super::source::look_up) gives one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    pub(super) rules: SecurityGroups,
    /// By the interface's id, or by its MAC address where the id is not known.
    pub(super) kinds: BTreeMap<String, InterfaceKind>,
    /// By placement group.
    pub(super) strategies: BTreeMap<String, String>,
    /// By instance.
    pub(super) network_nodes: BTreeMap<String, Vec<String>>,
    pub(super) gaps: Vec<(Question, ApiFailure)>,
}

/// What is asked of the EC2 API beside the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Question {
    Kinds,
    Strategies,
    Topology,
}

impl Lookup {
    /// Makes a lookup of these rules and nothing else.
    pub fn of(rules: SecurityGroups) -> Self {
        Self {
            rules,
            kinds: BTreeMap::new(),
            strategies: BTreeMap::new(),
            network_nodes: BTreeMap::new(),
            gaps: Vec::new(),
        }
    }

    /// Returns the rules of the job's security groups, or why they are not known.
    pub fn rules(&self) -> &SecurityGroups {
        &self.rules
    }

    /// Judges the job by the facts of its members with what was looked up added to them; see [`evaluate`].
    pub fn evaluate(&self, members: &[Facts], policy: &Policy) -> Report {
        let mut members = members.to_vec();
        self.complete(&mut members);
        let mut report = evaluate(&members, &self.rules, policy);
        report.notes.extend(self.notes());
        if let Some((order, note)) = self.ring_order(&members) {
            report.ring_order = Some(order);
            report.notes.extend(note);
        }
        report
    }

    /// Returns how a ring should go through these members, if the place of each is known, and what is won by it, if
    /// anything is.
    fn ring_order(&self, members: &[Facts]) -> Option<(Vec<usize>, Option<String>)> {
        let given: Vec<usize> = (0..members.len()).collect();
        if !members.iter().map(|facts| facts.member.rank).eq(given.iter().copied()) {
            return None;
        }
        let path = |facts: &Facts| {
            // Below the last node come the instances themselves.
            let mut path = self.network_nodes(facts)?.to_vec();
            path.push(facts.member.instance_id.clone());
            Some(path)
        };
        let paths: Vec<Option<Vec<String>>> = members.iter().map(path).collect();
        if !paths.iter().all(Option::is_some) {
            return None;
        }
        let order = ring_order(&paths);
        let (before, after) = (crossings(&given, &paths), crossings(&order, &paths));
        let won = before.iter().zip(&after).enumerate().find(|(_, (before, after))| after < before);
        let note = won.map(|(layer, (before, after))| {
            format!(
                "rings go through the ranks by their places in the network, and cross its layer {} from the top {after} \
                 times rather than {before}",
                layer + 1
            )
        });
        Some((order, note))
    }

    /// Adds what was looked up to the facts of the members; what they know already stays.
    pub fn complete<'a>(&self, members: impl IntoIterator<Item = &'a mut Facts>) {
        for facts in members {
            for interface in &mut facts.member.interfaces {
                let name = known(&interface.interface_id).or_else(|| known(&interface.mac));
                let found = name.and_then(|name| self.kinds.get(name));
                if let (InterfaceKind::Unknown, Some(kind)) = (interface.kind, found) {
                    interface.kind = *kind;
                }
            }
            if let Some(placement) = &mut facts.member.placement {
                let found = known(&placement.group).and_then(|group| self.strategies.get(group));
                if known(&placement.strategy).is_none() {
                    placement.strategy = found.cloned().or_else(|| placement.strategy.take());
                }
            }
        }
    }

    /// Returns the network nodes above the member's instance, that of the top layer first; `None` when they are not
    /// known.
    pub fn network_nodes(&self, member: &Facts) -> Option<&[String]> {
        self.network_nodes.get(&member.member.instance_id).map(Vec::as_slice)
    }

    /// Returns what could not be looked up beside the rules, and what follows; for people.
    pub fn notes(&self) -> Vec<String> {
        let note = |(question, failure): &(Question, ApiFailure)| {
            let (what, then) = match question {
                Question::Kinds => ("kinds of interfaces", "each is judged as an EFA"),
                Question::Strategies => {
                    ("strategies of placement groups", "each is taken for a cluster group")
                }
                Question::Topology => ("network layers above the instances", "rings keep the order of ranks"),
            };
            format!("the {what} are not known, so {then}: {}", failure.cause())
        };
        self.gaps.iter().map(note).collect()
    }
}
