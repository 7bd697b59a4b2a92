//! Rules for tcp: each member's interface must let tcp in from and out to the interfaces of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::rules::Rules;
use super::sharing::{Held, not_found, rules_unknown, unknown_groups};
use super::{Finding, FindingCode, Job, MemberName, Severity, error, finding};
use crate::facts::InterfaceFacts;
use crate::groups::{Direction, Peer};
use crate::names::shortened;
use crate::remedy;

/// Judges the rules of a job that is known to use tcp. Members on one machine reach each other whatever the rules are.
pub(super) fn judge(job: &Job<'_>, rules: &Rules<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = unknown_groups(job).into_iter().collect();
    findings.extend(without_address(job));
    let held = Held::of(job);
    if held.interfaces == 0 {
        return findings;
    }
    if !rules.are_known() {
        findings.push(rules_unknown(job, &held, rules));
        return findings;
    }
    let ends = Ends::of(&held);
    let blocked: Vec<Finding> = [Direction::Ingress, Direction::Egress]
        .into_iter()
        .flat_map(|direction| ends.blocked(rules, direction))
        .collect();
    // Rules of several groups add up: one that is not known could let the traffic pass.
    match not_found(&held, rules) {
        Some(unknown) if !blocked.is_empty() => findings.push(unknown),
        _ => findings.extend(blocked),
    }
    findings
}

/// Members with no interface that tcp could use: an efa-only interface has no address.
fn without_address(job: &Job<'_>) -> Option<Finding> {
    let names = job.names(|member| member.interfaces.is_empty());
    if names.is_empty() {
        return None;
    }
    let message = format!("no interface of {} that tcp could use is known", shortened(&names));
    let why = "tcp was chosen, and an efa-only interface has no IP address".into();
    let ids: Vec<&str> = names.iter().map(|name| name.instance_id.as_str()).collect();
    let fix = remedy::describe_kinds(&ids);
    Some(error(FindingCode::IdentityUnknown, names, [message, why, fix]))
}

/// One interface that counts.
struct End<'a> {
    name: MemberName,
    groups: &'a [String],
    addresses: Vec<IpAddr>,
    interface: Option<&'a InterfaceFacts>,
}

/// The interfaces by the groups that they have.
struct Ends<'a> {
    all: Vec<End<'a>>,
    classes: BTreeMap<Vec<&'a str>, Vec<usize>>,
}

impl<'a> Ends<'a> {
    fn of(held: &Held<'_, 'a>) -> Self {
        let mut ends = Self { all: Vec::new(), classes: BTreeMap::new() };
        for &(member, interface, groups) in &held.all {
            let v4 = interface.ipv4.iter().copied().map(IpAddr::V4);
            let addresses = v4.chain(interface.ipv6.iter().copied().map(IpAddr::V6)).collect();
            let class: BTreeSet<&str> = groups.iter().map(String::as_str).collect();
            ends.classes.entry(class.into_iter().collect()).or_default().push(ends.all.len());
            ends.all.push(End { name: member.name(), groups, addresses, interface: Some(interface) });
        }
        ends
    }

    /// Returns a finding for every set of groups that keeps out, or in, what some other member sends.
    fn blocked(&self, rules: &Rules<'_>, direction: Direction) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (groups, holders) in &self.classes {
            let first = &self.all[holders[0]].name.instance_id;
            let alone = holders.iter().all(|&end| self.all[end].name.instance_id == *first);
            let is_other = |end: &&End<'_>| !(alone && end.name.instance_id == *first);
            let passes = |end: &End<'_>| {
                let peer = Peer { groups: end.groups, addresses: &end.addresses };
                groups.iter().any(|group| rules.all_entries(group, |it| it.allows_tcp(direction, &peer)))
            };
            let others: Vec<&End<'_>> = self.all.iter().filter(is_other).filter(|end| !passes(end)).collect();
            if !others.is_empty() {
                findings.push(self.finding(groups, holders, &others, direction));
            }
        }
        findings
    }

    fn finding(
        &self,
        groups: &[&str],
        holders: &[usize],
        others: &[&End<'_>],
        direction: Direction,
    ) -> Finding {
        let mut names: Vec<MemberName> = holders.iter().map(|&end| self.all[end].name.clone()).collect();
        names.dedup();
        let mut peers: Vec<MemberName> = others.iter().map(|end| end.name.clone()).collect();
        peers.dedup();
        let (code, verb, goal) = match direction {
            Direction::Ingress => (FindingCode::TcpIngressBlocked, "let in", "from"),
            Direction::Egress => (FindingCode::TcpEgressBlocked, "let out", "to"),
        };
        let whose = match groups {
            [] => format!("{} has no security group, so nothing can", shortened(&names)),
            several => {
                format!("the rules of {} of {} do not", several.join(" and "), shortened(&names))
            }
        };
        let message = format!("{whose} {verb} tcp {goal} {}", shortened(&peers));
        let why = "tcp was chosen, its connections are opened by either side, and their ports are those that the \
                   system hands out (32768 to 60999)";
        let other = others.iter().find_map(|end| end.groups.iter().min());
        let fix = match (groups.first(), other) {
            (Some(group), Some(other)) => remedy::authorize_tcp(group, other, direction),
            _ => remedy::create_group(self.all[holders[0]].interface),
        };
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        finding(code, Severity::Error, names, groups, [message, why.into(), fix])
    }
}
