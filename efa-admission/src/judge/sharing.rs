//! Security groups: one group that admits itself must be on every interface that counts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::rules::{Right, Rights, Rules};
use super::{Finding, FindingCode, Job, Member, MemberName, Severity, finding, interface_noun};
use crate::facts::{InterfaceFacts, Site};
use crate::groups::Direction;
use crate::names::{has_or_have, shortened};
use crate::remedy;

/// So many groups are named in a message.
const GROUPS_SHOWN: usize = 3;

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
        findings.push(rules_unknown(job, &held, rules));
    }
    let shared = held.shared();
    let mut blamed = None;
    if shared.is_empty() && admit_each_other(&held, rules) {
        findings.push(mutual(job, &held));
        return findings;
    }
    if shared.is_empty() {
        let nearest = held.nearest(rules);
        findings.push(nothing_shared(&held, rules, nearest));
        blamed = nearest;
    } else if let Some(nearest) = nearest_shared(&shared, rules) {
        findings.extend(missing_rules(&held, rules, nearest));
        blamed = Some(nearest);
    }
    findings.extend(extra_groups(&held, rules, blamed, shared.iter().find(|group| rules.admits(group))));
    findings
}

/// Which interfaces have which groups. Interfaces whose groups are not known are left out.
pub(super) struct Held<'m, 'a> {
    pub(super) interfaces: usize,
    pub(super) all: Vec<(&'m Member<'a>, &'a InterfaceFacts, &'a [String])>,
    by_group: BTreeMap<&'a str, Vec<&'m Member<'a>>>,
    counts: BTreeMap<&'a str, usize>,
}

impl<'m, 'a> Held<'m, 'a> {
    pub(super) fn of(job: &'m Job<'a>) -> Self {
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

    /// Returns the groups that are on all interfaces, in the order of their ids.
    fn shared(&self) -> Vec<&'a str> {
        self.counts.iter().filter(|(_, count)| **count == self.interfaces).map(|(group, _)| *group).collect()
    }

    /// Returns the group that comes nearest to joining all interfaces: with most rules right, then on most interfaces,
    /// then the first.
    fn nearest(&self, rules: &Rules<'_>) -> Option<&'a str> {
        let rights = |group: &str| rules.get(group).map_or(0, Rights::count);
        self.counts
            .iter()
            .min_by_key(|(group, count)| (Reverse(rights(group)), Reverse(**count), **group))
            .map(|(group, _)| *group)
    }

    /// Returns the members that have one of the groups.
    fn holders(&self, groups: &[&str]) -> Vec<MemberName> {
        let holders = groups.iter().filter_map(|group| self.by_group.get(group)).flatten();
        let mut names: Vec<MemberName> = holders.map(|member| member.name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn groups(&self) -> Vec<String> {
        self.counts.keys().map(|group| (*group).to_owned()).collect()
    }
}

pub(super) fn unknown_groups(job: &Job<'_>) -> Option<Finding> {
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

const WHY_NOT_BY_ADDRESS: &str = "EFA addresses are neither IPv4 nor IPv6, so only a rule that names the group itself \
                                  lets EFA traffic pass";

pub(super) fn rules_unknown(job: &Job<'_>, held: &Held<'_, '_>, rules: &Rules<'_>) -> Finding {
    let groups = held.groups();
    let cause = rules.failure.map(|failure| format!(": {}", failure.cause())).unwrap_or_default();
    let text = [
        format!("the rules of the job's security groups could not be determined{cause}"),
        WHY_SHARED.into(),
        remedy::know_rules(rules.failure, &groups),
    ];
    finding(FindingCode::RulesUnknown, Severity::Error, job.names(|_| true), groups, text)
}

pub(super) fn not_found(held: &Held<'_, '_>, rules: &Rules<'_>) -> Option<Finding> {
    let groups: Vec<&str> = held.counts.keys().copied().filter(|group| rules.get(group).is_none()).collect();
    if groups.is_empty() {
        return None;
    }
    let names = held.holders(&groups);
    let message = format!(
        "the rules of {}, which {} {}, are not among those that are known",
        listed(&groups),
        shortened(&names),
        has_or_have(&names)
    );
    let why = "a group that is not found may belong to another account or region, or be gone".into();
    let groups: Vec<String> = groups.into_iter().map(ToOwned::to_owned).collect();
    let text = [message, why, remedy::describe_groups(&groups)];
    Some(finding(FindingCode::SecurityGroupNotFound, Severity::Error, names, groups, text))
}

/// No group is on every interface: the remedy moves the others into the nearest one, and gives that one the rules
/// that it lacks.
fn nothing_shared(held: &Held<'_, '_>, rules: &Rules<'_>, nearest: Option<&str>) -> Finding {
    let Some(nearest) = nearest else {
        let mut names: Vec<MemberName> = held.all.iter().map(|(member, ..)| member.name()).collect();
        names.dedup();
        let message = "none of the job's interfaces has a security group".into();
        let text = [
            message,
            WHY_SHARED.into(),
            remedy::create_group(held.all.first().map(|(_, interface, _)| *interface)),
        ];
        return finding(FindingCode::NoSharedSecurityGroup, Severity::Error, names, Vec::new(), text);
    };
    let count = held.counts.get(nearest).copied().unwrap_or(0);
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
    let mut commands = missing_permissions(nearest, rules);
    commands.extend(moves);
    let fix = commands.join("\n");
    finding(
        FindingCode::NoSharedSecurityGroup,
        Severity::Error,
        names,
        held.groups(),
        [message, WHY_SHARED.into(), fix],
    )
}

/// So many different sets of groups are compared with one another; a job of that many is no deliberate layout.
const MOST_SETS: usize = 64;

/// Returns `true` if the groups of every interface let all traffic of every interface in and out, their own included.
fn admit_each_other(held: &Held<'_, '_>, rules: &Rules<'_>) -> bool {
    let mut sets: BTreeSet<Vec<&str>> = BTreeSet::new();
    for (_, _, groups) in &held.all {
        let set: BTreeSet<&str> = groups.iter().map(String::as_str).collect();
        sets.insert(set.into_iter().collect());
        if sets.len() > MOST_SETS {
            return false;
        }
    }
    let passes = |ours: &[&str], theirs: &[&str], direction| {
        ours.iter().any(|group| {
            theirs.iter().any(|other| rules.all_entries(group, |it| it.allows_group(direction, other)))
        })
    };
    sets.iter().all(|ours| {
        sets.iter()
            .all(|theirs| passes(ours, theirs, Direction::Egress) && passes(theirs, ours, Direction::Ingress))
    })
}

/// Tells that the groups let each other in, which AWS's guide for EFA does not provide for.
fn mutual(job: &Job<'_>, held: &Held<'_, '_>) -> Finding {
    let groups = held.groups();
    let listed = listed(&groups.iter().map(String::as_str).collect::<Vec<_>>());
    let message = format!(
        "no security group is on every EFA interface of the job, but {listed} let all traffic of one another in and out"
    );
    let why = "AWS's guide asks for one group that lets itself in and out, and documents EFA across groups only for FSx \
               for Lustre; the policy 'mutual-groups' accepts it, and the connectivity check has the last word";
    let severity = if job.policy.mutual_groups_pass() { Severity::Warning } else { Severity::Error };
    let nearest = groups.first().cloned().unwrap_or_default();
    let moves: BTreeSet<String> = held
        .all
        .iter()
        .filter(|(_, _, groups)| !groups.contains(&nearest))
        .map(|(member, interface, groups)| remedy::join_group(member.facts, interface, groups, &nearest))
        .collect();
    let fix = moves.into_iter().collect::<Vec<_>>().join("\n");
    let text = [message, why.into(), fix];
    finding(FindingCode::GroupsAdmitEachOther, severity, job.names(|_| true), groups, text)
}

/// Returns the shared group to blame: none if one of them admits itself, or if one of them might; else the one with
/// most rules right, and of several the first.
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
        let names = held.holders(&[group]);
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
        let why = if right.open_to.is_some() { WHY_NOT_BY_ADDRESS } else { WHY_SHARED };
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
) -> Option<Finding> {
    let lacking =
        |group: &str| rules.get(group).filter(|rights| !rights.is_complete() && Some(group) != blamed);
    let groups: Vec<&str> = held.counts.keys().copied().filter(|group| lacking(group).is_some()).collect();
    if groups.is_empty() {
        return None;
    }
    let names = held.holders(&groups);
    let do_or_does = if groups.len() == 1 { "does" } else { "do" };
    let message = format!(
        "{}, which {} {}, {do_or_does} not let all traffic of the group's own in and out",
        listed(&groups),
        shortened(&names),
        has_or_have(&names)
    );
    let why = match passing {
        Some(passing) => format!(
            "rules of several groups add up, so this does no harm while {passing} is on every interface, but nothing \
             else can take that group's place"
        ),
        None => "only a group that lets all its own traffic in and out can join the members".into(),
    };
    let fix: Vec<String> = groups.iter().flat_map(|group| missing_permissions(group, rules)).collect();
    let groups = groups.into_iter().map(ToOwned::to_owned).collect();
    let text = [message, why, fix.join("\n")];
    Some(finding(FindingCode::ExtraGroupWithoutSelfRule, Severity::Warning, names, groups, text))
}

/// Returns the commands that give the group the rules that it is known to lack.
fn missing_permissions(group: &str, rules: &Rules<'_>) -> Vec<String> {
    let Some(rights) = rules.get(group) else { return Vec::new() };
    let directions = [(rights.ingress, Direction::Ingress), (rights.egress, Direction::Egress)];
    let missing = directions.into_iter().filter(|(right, _)| !right.granted);
    missing.map(|(_, direction)| remedy::authorize(group, direction)).collect()
}

/// Returns a few of the groups, and how many more there are.
fn listed(groups: &[&str]) -> String {
    let shown = groups[..groups.len().min(GROUPS_SHOWN)].join(", ");
    match groups.len().saturating_sub(GROUPS_SHOWN) {
        0 => shown,
        hidden => format!("{shown} and {hidden} more"),
    }
}
