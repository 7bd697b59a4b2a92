//! Security groups: one group that admits itself must be on every interface that counts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::rules::{Right, Rules};
use super::{Finding, FindingCode, Job, Member, MemberName, Severity, finding, interface_noun};
use crate::admission::facts::{InterfaceFacts, Site};
use crate::admission::groups::Direction;
use crate::admission::names::{has_or_have, shortened};
use crate::admission::remedy;

pub(super) fn judge(job: &Job<'_>, rules: &Rules<'_>) -> Vec<Finding> {
    if job.site == Site::Host {
        return Vec::new();
    }
    let mut findings = Vec::new();
    findings.extend(unknown_groups(job));
    let held = Held::of(job);
    if held.interfaces == 0 {
        return findings;
    }
    if rules.are_known() {
        findings.extend(not_found(&held, rules));
    } else {
        findings.push(rules_unknown(job, &held));
    }
    let shared = held.shared();
    let blamed = match nearest_shared(&shared, rules) {
        _ if shared.is_empty() => {
            findings.push(nothing_shared(&held, rules));
            None
        }
        Some(nearest) => {
            findings.extend(missing_rules(&held, rules, nearest));
            Some(nearest)
        }
        None => None,
    };
    findings.extend(extra_groups(&held, rules, blamed, shared.iter().find(|group| rules.admits(group))));
    findings
}

/// Which interfaces have which groups. Interfaces whose groups are not known are left out.
struct Held<'m, 'a> {
    interfaces: usize,
    all: Vec<(&'m Member<'a>, &'a InterfaceFacts, &'a [String])>,
    by_group: BTreeMap<&'a str, Vec<&'m Member<'a>>>,
    counts: BTreeMap<&'a str, usize>,
}

impl<'m, 'a> Held<'m, 'a> {
    fn of(job: &'m Job<'a>) -> Self {
        let mut held =
            Self { interfaces: 0, all: Vec::new(), by_group: BTreeMap::new(), counts: BTreeMap::new() };
        for member in &job.members {
            for interface in &member.interfaces {
                let Some(groups) = &interface.security_groups else { continue };
                held.interfaces += 1;
                held.all.push((member, interface, groups));
                for group in groups.iter().map(String::as_str).collect::<BTreeSet<_>>() {
                    *held.counts.entry(group).or_default() += 1;
                    let holders = held.by_group.entry(group).or_default();
                    if holders.last().is_none_or(|last| !std::ptr::eq(*last, member)) {
                        holders.push(member);
                    }
                }
            }
        }
        held
    }

    /// The groups that are on all interfaces, in the order of their ids.
    fn shared(&self) -> Vec<&'a str> {
        self.counts.iter().filter(|(_, count)| **count == self.interfaces).map(|(group, _)| *group).collect()
    }

    fn holders(&self, group: &str) -> Vec<MemberName> {
        self.by_group.get(group).into_iter().flatten().map(|member| member.name()).collect()
    }

    fn groups(&self) -> Vec<String> {
        self.counts.keys().map(|group| (*group).to_owned()).collect()
    }
}

fn unknown_groups(job: &Job<'_>) -> Option<Finding> {
    let names =
        job.names(|member| member.interfaces.iter().any(|interface| interface.security_groups.is_none()));
    if names.is_empty() {
        return None;
    }
    let message = format!("the security groups of {} are not known", shortened(&names));
    let ids: Vec<&str> = names.iter().map(|name| name.instance_id.as_str()).collect();
    let text = [message, WHY_SHARED.into(), remedy::describe_interfaces(&ids)];
    Some(finding(FindingCode::IdentityUnknown, Severity::Error, names, Vec::new(), text))
}

const WHY_SHARED: &str = "EFA traffic passes only between interfaces that share a security group which lets in all \
                          traffic from itself and lets out all traffic to itself";

fn rules_unknown(job: &Job<'_>, held: &Held<'_, '_>) -> Finding {
    let groups = held.groups();
    let text = [
        "the rules of the job's security groups could not be determined".into(),
        WHY_SHARED.into(),
        format!(
            "{} > groups.json  # then judge with --security-groups groups.json",
            remedy::describe_groups(&groups)
        ),
    ];
    finding(FindingCode::RulesUnknown, Severity::Error, job.names(|_| true), groups, text)
}

fn not_found(held: &Held<'_, '_>, rules: &Rules<'_>) -> Vec<Finding> {
    let missing = held.counts.keys().filter(|group| rules.get(group).is_none());
    missing
        .map(|&group| {
            let names = held.holders(group);
            let message = format!(
                "the rules of {group}, which {} {}, are not among those that are known",
                shortened(&names),
                has_or_have(&names)
            );
            let why = "a group that is not found may belong to another account or region, or be gone".into();
            let groups = vec![group.to_owned()];
            let text = [message, why, remedy::describe_groups(&groups)];
            finding(FindingCode::SecurityGroupNotFound, Severity::Error, names, groups, text)
        })
        .collect()
}

/// No group is on every interface: the group to move the others into is one that admits itself, if there is one,
/// and is on most interfaces.
fn nothing_shared(held: &Held<'_, '_>, rules: &Rules<'_>) -> Finding {
    let best =
        held.counts.iter().min_by_key(|(group, count)| (!rules.admits(group), Reverse(**count), **group));
    let Some((&nearest, &count)) = best else {
        let names: Vec<MemberName> = held.all.iter().map(|(member, ..)| member.name()).collect();
        let text = [
            "none of the job's interfaces has a security group".into(),
            WHY_SHARED.into(),
            remedy::create_group(),
        ];
        return finding(FindingCode::NoSharedSecurityGroup, Severity::Error, names, Vec::new(), text);
    };
    let lacking: Vec<_> =
        held.all.iter().filter(|(_, _, groups)| !groups.iter().any(|group| group == nearest)).collect();
    let mut names: Vec<MemberName> = lacking.iter().map(|(member, ..)| member.name()).collect();
    names.dedup();
    let noun = lacking.first().map_or("interface", |(_, interface, _)| interface_noun(interface));
    let message = format!(
        "no security group is on every {noun} of the job: {nearest} is on {count} of {}, and {} {} one without it",
        held.interfaces,
        shortened(&names),
        has_or_have(&names)
    );
    let moves: BTreeSet<String> = lacking
        .iter()
        .map(|(member, interface, groups)| remedy::join_group(member.facts, interface, groups, nearest))
        .collect();
    let fix = moves.into_iter().collect::<Vec<_>>().join("\n");
    finding(
        FindingCode::NoSharedSecurityGroup,
        Severity::Error,
        names,
        held.groups(),
        [message, WHY_SHARED.into(), fix],
    )
}

/// The shared group to blame: none if one of them admits itself, or if one of them might; else the one with most
/// rules right, and of several the first.
fn nearest_shared<'a>(shared: &[&'a str], rules: &Rules<'_>) -> Option<&'a str> {
    let counts: Vec<(usize, &str)> =
        shared.iter().map(|&group| Some((rules.get(group)?.count(), group))).collect::<Option<_>>()?;
    counts
        .into_iter()
        .min_by_key(|&(count, group)| (Reverse(count), group))
        .and_then(|(count, group)| (count < 2).then_some(group))
}

fn missing_rules(held: &Held<'_, '_>, rules: &Rules<'_>, group: &str) -> Vec<Finding> {
    let Some(rights) = rules.get(group) else { return Vec::new() };
    let missing = |code, right: Right<'_>, direction| {
        let names = held.holders(group);
        let (does, goal) = match direction {
            Direction::Ingress => ("let in", "from"),
            Direction::Egress => ("let out", "to"),
        };
        let instead =
            right.open_to.map(|range| format!("; its rule for {range} does not count")).unwrap_or_default();
        let of_whom = match names.as_slice() {
            [one] => format!("the group of {one}"),
            several => format!("the group that {} share", shortened(several)),
        };
        let message = format!("{group}, {of_whom}, does not {does} all traffic {goal} itself{instead}");
        let why = match right.open_to {
            Some(_) => {
                "EFA addresses are neither IPv4 nor IPv6, so only a rule that names the group itself lets EFA \
                        traffic pass"
            }
            None => WHY_SHARED,
        };
        let text = [message, why.into(), remedy::authorize(group, direction)];
        finding(code, Severity::Error, names, vec![group.to_owned()], text)
    };
    let mut findings = Vec::new();
    if !rights.ingress.granted {
        findings.push(missing(FindingCode::MissingSelfIngress, rights.ingress, Direction::Ingress));
    }
    if !rights.egress.granted {
        findings.push(missing(FindingCode::MissingSelfEgress, rights.egress, Direction::Egress));
    }
    findings
}

/// Groups beside the one that counts. Rules of several groups add up, so they do no harm.
fn extra_groups(
    held: &Held<'_, '_>,
    rules: &Rules<'_>,
    blamed: Option<&str>,
    passing: Option<&&str>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for &group in held.counts.keys().filter(|group| Some(**group) != blamed) {
        let Some(rights) = rules.get(group).filter(|rights| !rights.is_complete()) else { continue };
        let names = held.holders(group);
        let message = format!(
            "{group}, which {} {}, does not let all traffic with itself in and out",
            shortened(&names),
            has_or_have(&names)
        );
        let why = match passing {
            Some(passing) => format!(
                "rules of several groups add up, so it does no harm while {passing} is on every interface, but \
                 it can't take that group's place"
            ),
            None => "only a group that admits itself can join the members".into(),
        };
        let mut fix = Vec::new();
        if !rights.ingress.granted {
            fix.push(remedy::authorize(group, Direction::Ingress));
        }
        if !rights.egress.granted {
            fix.push(remedy::authorize(group, Direction::Egress));
        }
        let text = [message, why, fix.join("\n")];
        let groups = vec![group.to_owned()];
        findings.push(finding(
            FindingCode::ExtraGroupWithoutSelfRule,
            Severity::Warning,
            names,
            groups,
            text,
        ));
    }
    findings
}
