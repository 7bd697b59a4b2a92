//! Instance types and placement groups: nothing here keeps a job from running, but it may run slower.

use std::collections::BTreeMap;

use super::{Finding, FindingCode, Job, Member, MemberName, Severity, finding};
use crate::facts::{Site, known};
use crate::names::{is_or_are, shortened};
use crate::{remedy, types};

/// So many types or groups are named in a message.
const VALUES_SHOWN: usize = 4;

pub(super) fn judge(job: &Job<'_>) -> Vec<Finding> {
    if job.site == Site::Host || !job.has_several_machines() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    findings.extend(incompatible(job).or_else(|| types(job)));
    findings.extend(outside_cluster_group(job));
    findings.extend(groups(job));
    findings
}

/// The families whose EFAs reach only instances of the same type. AWS's guide to EFA, "EFA limitations" (2026): EFA
/// traffic between P4d, P4de or DL1 instances and other instance types is not supported.
const CLOSED_FAMILIES: [&str; 3] = ["p4d", "p4de", "dl1"];

fn is_closed(instance_type: &str) -> bool {
    let family = instance_type.split('.').next().unwrap_or_default();
    CLOSED_FAMILIES.contains(&family)
}

/// Finds P4d, P4de or DL1 mixed with other types: EFA between them does not work at all.
fn incompatible(job: &Job<'_>) -> Option<Finding> {
    if !job.policy.efa() {
        return None;
    }
    let types = Sorted::by(job, |member| known(&member.facts.member.instance_type));
    let (common, others) = types.split_for_efa()?;
    if !types.0.keys().any(|instance_type| is_closed(instance_type)) {
        return None;
    }
    let message = format!("the job has {} instance types: {}", types.0.len(), types.listed());
    let why =
        "EFA traffic between P4d, P4de or DL1 instances and other instance types is not supported".into();
    let fix = remedy::change_type(&others, common);
    Some(super::error(FindingCode::IncompatibleInstanceTypes, others, [message, why, fix]))
}

fn types(job: &Job<'_>) -> Option<Finding> {
    let types = Sorted::by(job, |member| known(&member.facts.member.instance_type));
    let (common, others) = match job.policy.tcp() {
        true => types.split()?,
        false => types.split_for_efa()?,
    };
    let message = format!("the job has {} instance types: {}", types.0.len(), types.listed());
    let why = "every step of a collective waits for the slowest member".into();
    let fix = remedy::describe_placement(
        &others,
        &format!("launch the next instances with --instance-type {common}"),
    );
    Some(warning(FindingCode::MixedInstanceTypes, others, message, why, fix))
}

fn outside_cluster_group(job: &Job<'_>) -> Option<Finding> {
    // A group whose strategy nobody could tell gets the benefit of the doubt: it is a warning at most.
    let names = job.names(|member| {
        member.facts.member.placement.as_ref().is_some_and(|placement| {
            known(&placement.group).is_none()
                || known(&placement.strategy).is_some_and(|strategy| strategy != "cluster")
        })
    });
    if names.is_empty() {
        return None;
    }
    let message = format!("{} {} in no cluster placement group", shortened(&names), is_or_are(&names));
    let why = "instances in one cluster placement group are close to each other, which helps latency".into();
    let fix = remedy::launch_in_placement_group(&names, cluster_groups(job).most_common());
    Some(warning(FindingCode::NotInClusterPlacementGroup, names, message, why, fix))
}

fn groups(job: &Job<'_>) -> Option<Finding> {
    let groups = Sorted::by(job, |member| known(&member.facts.member.placement.as_ref()?.group));
    let (common, others) = groups.split()?;
    let message = format!("the job has {} placement groups: {}", groups.0.len(), groups.listed());
    let why = "instances of different placement groups may be far from each other".into();
    let fix = remedy::launch_in_placement_group(&others, Some(common));
    Some(warning(FindingCode::DifferentPlacementGroups, others, message, why, fix))
}

/// Returns the cluster placement groups that members are in.
fn cluster_groups<'a>(job: &Job<'a>) -> Sorted<'a> {
    Sorted::by(job, |member| {
        let placement = member.facts.member.placement.as_ref()?;
        known(&placement.group).filter(|_| known(&placement.strategy) == Some("cluster"))
    })
}

fn warning(
    code: FindingCode,
    members: Vec<MemberName>,
    message: String,
    why: String,
    fix: String,
) -> Finding {
    finding(code, Severity::Warning, members, Vec::new(), [message, why, fix])
}

/// Members by a value that they have.
struct Sorted<'a>(BTreeMap<&'a str, Vec<MemberName>>);

impl<'a> Sorted<'a> {
    fn by(job: &Job<'a>, value: impl Fn(&Member<'a>) -> Option<&'a str>) -> Self {
        let mut sorted: BTreeMap<&str, Vec<MemberName>> = BTreeMap::new();
        for member in &job.members {
            if let Some(value) = value(member) {
                sorted.entry(value).or_default().push(member.name());
            }
        }
        Self(sorted)
    }

    /// Returns the value that most members have, and of several the first.
    fn most_common(&self) -> Option<&'a str> {
        self.0.iter().rev().max_by_key(|(_, names)| names.len()).map(|(value, _)| *value)
    }

    /// Returns the value that most members have, and the members that have another; `None` when they all agree.
    fn split(&self) -> Option<(&'a str, Vec<MemberName>)> {
        let common = self.most_common()?;
        let others = self.0.iter().filter(|(value, _)| **value != common);
        let mut others: Vec<MemberName> = others.flat_map(|(_, names)| names.iter().cloned()).collect();
        others.sort_unstable();
        (!others.is_empty()).then_some((common, others))
    }

    /// Returns the same for instance types of a job that may use efa: the value is of a type that has it, if there is
    /// one.
    fn split_for_efa(&self) -> Option<(&'a str, Vec<MemberName>)> {
        let of_efa = Self(
            self.0
                .iter()
                .filter(|(name, _)| !types::lacks_efa(name))
                .map(|(name, names)| (*name, names.clone()))
                .collect(),
        );
        let Some(common) = of_efa.most_common() else { return self.split() };
        let others = self.0.iter().filter(|(value, _)| **value != common);
        let mut others: Vec<MemberName> = others.flat_map(|(_, names)| names.iter().cloned()).collect();
        others.sort_unstable();
        (!others.is_empty()).then_some((common, others))
    }

    fn listed(&self) -> String {
        let mut parts: Vec<String> = self
            .0
            .iter()
            .take(VALUES_SHOWN)
            .map(|(value, names)| format!("{value} ({})", names.len()))
            .collect();
        let hidden = self.0.len().saturating_sub(VALUES_SHOWN);
        if hidden > 0 {
            parts.push(format!("{hidden} more"));
        }
        parts.join(", ")
    }
}
