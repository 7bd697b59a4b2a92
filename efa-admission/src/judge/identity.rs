//! Whether the facts say, without contradiction, who the members are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, FindingCode, MemberName, error};
use crate::facts::{Facts, InterfaceFacts, Site, known};
use crate::failure::MetadataFailure;
use crate::names::{has_or_have, is_or_are, shortened};
use crate::policy::Policy;
use crate::remedy;

/// Longer than any id that AWS gives out, and than a host name.
const LONGEST_ID: usize = 280;

pub(super) fn judge(members: &[Facts], policy: &Policy) -> Vec<Finding> {
    if members.is_empty() {
        return vec![unidentified(
            Vec::new(),
            "the job has no members".into(),
            "list every member of the job in the members file",
        )];
    }
    let mut findings = Vec::new();
    findings.extend(repeated_ranks(members));
    findings.extend(missing_ranks(members));
    findings.extend(wandering_interfaces(members));
    findings.extend(mixed_sites(members));
    findings.extend(malformed(members));
    findings.extend(unanswered(members));
    findings.extend(nameless(members));
    findings.extend(without_interface(members, policy));
    findings
}

fn unidentified(members: Vec<MemberName>, message: String, fix: &str) -> Finding {
    let why = "a job is admitted only when it is known who each member is and where its interfaces are";
    error(FindingCode::IdentityUnknown, members, [message, why.into(), fix.into()])
}

fn repeated_ranks(members: &[Facts]) -> Option<Finding> {
    let mut by_rank: BTreeMap<usize, Vec<MemberName>> = BTreeMap::new();
    for facts in members {
        by_rank.entry(facts.member.rank).or_default().push(plain_name(facts));
    }
    let mut twice: Vec<MemberName> =
        by_rank.into_values().filter(|names| names.len() > 1).flatten().collect();
    twice.sort_unstable();
    (!twice.is_empty()).then(|| {
        let message = format!("{} {} named more than once", shortened(&twice), is_or_are(&twice));
        unidentified(twice, message, "give every member a rank of its own")
    })
}

/// So many missing ranks are counted one by one.
const MISSING_SHOWN: usize = 4;

/// Ranks go from 0 to one less than there are members.
fn missing_ranks(members: &[Facts]) -> Option<Finding> {
    let ranks: BTreeSet<usize> = members.iter().map(|facts| facts.member.rank).collect();
    let beyond: Vec<usize> = ranks.range(members.len()..).copied().collect();
    if beyond.is_empty() {
        return None;
    }
    let missing: Vec<String> = (0..members.len())
        .filter(|rank| !ranks.contains(rank))
        .take(MISSING_SHOWN)
        .map(|rank| rank.to_string())
        .collect();
    let names = sorted_names(members, |facts| facts.member.rank >= members.len());
    let message = format!(
        "nothing is known of rank {}, and {} {} beyond the last of {} members",
        missing.join(", "),
        shortened(&names),
        is_or_are(&names),
        members.len()
    );
    Some(unidentified(names, message, "list every member of the job, with ranks from 0 on and no gap"))
}

/// Finds interfaces on several members: an interface is attached to one instance at a time.
fn wandering_interfaces(members: &[Facts]) -> Option<Finding> {
    let mut owners: BTreeMap<&str, &Facts> = BTreeMap::new();
    let mut at_fault: BTreeSet<MemberName> = BTreeSet::new();
    let mut which = BTreeSet::new();
    for facts in members.iter().filter(|facts| facts.site != Site::Host && is_well_formed(facts)) {
        for interface in &facts.member.interfaces {
            let Some(id) = known(&interface.interface_id) else { continue };
            let owner = owners.entry(id).or_insert(facts);
            if owner.member.instance_id != facts.member.instance_id {
                at_fault.extend([plain_name(owner), plain_name(facts)]);
                which.insert(id);
            }
        }
    }
    let (first, names) = (which.first()?, at_fault.into_iter().collect::<Vec<_>>());
    let others = match which.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message =
        format!("interface {first}{others} is said to be on several instances: {}", shortened(&names));
    Some(unidentified(names, message, "list each interface with the one instance that it is attached to"))
}

fn mixed_sites(members: &[Facts]) -> Option<Finding> {
    let first = members.iter().map(|facts| facts.site).min()?;
    let others = sorted_names(members, |facts| facts.site != first);
    (!others.is_empty()).then(|| {
        let message = format!(
            "the facts of {} come from another kind of place than those of the other members",
            shortened(&others)
        );
        unidentified(others, message, "start all ranks on EC2 instances, or all of them off EC2")
    })
}

/// Ids end up in commands that people paste into a shell, so nothing but the letters of ids may be in them.
fn malformed(members: &[Facts]) -> Option<Finding> {
    let bad = sorted_names(members, |facts| !is_well_formed(facts));
    (!bad.is_empty()).then(|| {
        let message = format!("the facts of {} hold an id that has characters no id has", shortened(&bad));
        unidentified(bad, message, "write ids as AWS prints them, such as i-0a, subnet-0a, sg-0a")
    })
}

/// Finds members whose metadata did not tell who they are: one finding for each cause.
fn unanswered(members: &[Facts]) -> Vec<Finding> {
    let mut by_cause: BTreeMap<&MetadataFailure, Vec<MemberName>> = BTreeMap::new();
    for facts in members.iter().filter(|facts| is_well_formed(facts)) {
        if let Some(failure) = &facts.failure {
            by_cause.entry(failure).or_default().push(plain_name(facts));
        }
    }
    let finding = |(failure, mut names): (&MetadataFailure, Vec<MemberName>)| {
        names.sort_unstable();
        let message = format!(
            "the instance metadata did not tell {} who {} {}: {}",
            shortened(&names),
            if names.len() == 1 { "it" } else { "they" },
            is_or_are(&names),
            failure.cause()
        );
        let fix = remedy::metadata(failure, &names);
        unidentified(names, message, &fix)
    };
    by_cause.into_iter().map(finding).collect()
}

fn nameless(members: &[Facts]) -> Option<Finding> {
    let bad = sorted_names(members, |facts| facts.failure.is_none() && facts.member.instance_id.is_empty());
    (!bad.is_empty()).then(|| {
        let message = format!("{} {} no instance id", shortened(&bad), has_or_have(&bad));
        unidentified(
            bad,
            message,
            "aws ec2 describe-instances --query 'Reservations[].Instances[].InstanceId'",
        )
    })
}

/// Finds members without an interface whose subnet is known. A member without any interface has no EFA, where efa is asked for.
fn without_interface(members: &[Facts], policy: &Policy) -> Option<Finding> {
    let bad = sorted_names(members, |facts| {
        let interfaces = &facts.member.interfaces;
        (interfaces.is_empty() && !policy.efa() && facts.failure.is_none())
            || interfaces.iter().any(|interface| interface.subnet_id.is_empty())
    });
    (!bad.is_empty()).then(|| {
        let message = format!("{} {} no interface whose subnet is known", shortened(&bad), has_or_have(&bad));
        let ids: Vec<&str> = bad.iter().map(|name| name.instance_id.as_str()).collect();
        let fix = remedy::describe_interfaces(&ids);
        unidentified(bad, message, &fix)
    })
}

fn sorted_names(members: &[Facts], wanted: impl Fn(&Facts) -> bool) -> Vec<MemberName> {
    let mut names: Vec<MemberName> = members.iter().filter(|facts| wanted(facts)).map(plain_name).collect();
    names.sort_unstable();
    names
}

/// Returns the member's name, without an instance id that must not be printed.
fn plain_name(facts: &Facts) -> MemberName {
    let mut name = MemberName::of(facts);
    if !is_id(&name.instance_id) {
        name.instance_id.clear();
    }
    name
}

fn is_well_formed(facts: &Facts) -> bool {
    let member = &facts.member;
    let ids =
        [Some(&member.instance_id), member.instance_type.as_ref(), member.availability_zone_id.as_ref()];
    let placement = member.placement.iter().flat_map(|placement| [&placement.group, &placement.strategy]);
    let free_text = placement.chain([&member.host]).flatten();
    ids.into_iter().flatten().all(|id| is_id(id))
        && facts.failure.as_ref().and_then(MetadataFailure::key).is_none_or(is_id)
        && free_text.into_iter().all(|text| text.len() <= LONGEST_ID && !text.chars().any(char::is_control))
        && member.interfaces.iter().all(is_well_formed_interface)
}

fn is_well_formed_interface(interface: &InterfaceFacts) -> bool {
    let ids = [
        Some(&interface.subnet_id),
        interface.interface_id.as_ref(),
        interface.mac.as_ref(),
        interface.vpc_id.as_ref(),
    ];
    ids.into_iter().flatten().chain(interface.security_groups.iter().flatten()).all(|id| is_id(id))
}

fn is_id(text: &str) -> bool {
    text.len() <= LONGEST_ID
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
}
