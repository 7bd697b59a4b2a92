//! Zone, VPC and subnet: EFA traffic is not routed, so the members must be in one place.

use std::collections::BTreeMap;

use super::home::{Home, Network, zone};
use super::{Finding, FindingCode, Job, Member, MemberName, Severity, error, finding};
use crate::facts::{Site, known};
use crate::names::{is_or_are, shortened};
use crate::{launch, remedy};

/// So many of the places where strays are get named in a message.
const PLACES_SHOWN: usize = 3;

pub(super) fn judge(job: &Job<'_>) -> Vec<Finding> {
    let Some(home) = job.home() else { return Vec::new() };
    let mut findings = Vec::new();
    findings.extend(zones(job, &home));
    findings.extend(vpcs(job, &home));
    findings.extend(subnets(job, &home));
    findings
}

fn zones(job: &Job<'_>, home: &Home<'_>) -> Option<Finding> {
    let home_zone = home.zone?;
    let strays = Strays::collect(
        job.members.iter().filter_map(|member| zone(member).map(|zone| (member, zone))),
        &home_zone,
    )?;
    let message = strays.message("is in", "are in", "zone", home_zone, |zone| zone);
    let why = "EFA traffic can't cross availability zones".into();
    Some(error(
        FindingCode::DifferentZone,
        strays.names(),
        [message, why, relocate(job, home, &strays.members)],
    ))
}

fn vpcs(job: &Job<'_>, home: &Home<'_>) -> Option<Finding> {
    let home_vpc = home.vpc?;
    let strays = Strays::collect(
        job.interfaces().filter_map(|(member, interface)| known(&interface.vpc_id).map(|vpc| (member, vpc))),
        &home_vpc,
    )?;
    let message = strays.message("has an interface in", "have an interface in", "VPC", home_vpc, |vpc| vpc);
    let why = "EFA traffic can't cross VPCs, and a security group is of no use outside its VPC".into();
    Some(error(
        FindingCode::DifferentVpc,
        strays.names(),
        [message, why, relocate(job, home, &strays.members)],
    ))
}

fn subnets(job: &Job<'_>, home: &Home<'_>) -> Vec<Finding> {
    let networks = job.interfaces().map(|(member, interface)| (member, Network::of(member, interface)));
    let Some(strays) = Strays::collect(networks, &home.subnet) else { return Vec::new() };
    let noun = if job.site == Site::Host { "network" } else { "subnet" };
    let mut message =
        strays.message("has an interface in", "have an interface in", noun, home.subnet.id, |network| {
            network.id
        });
    let (severity, why) = if home.subnet.is_local() || strays.places.keys().any(|network| network.is_local())
    {
        message = format!(
            "{} {} reached over {}, which does not leave a machine, from another machine",
            shortened(&strays.names()),
            is_or_are(&strays.names()),
            home.subnet.id
        );
        (Severity::Error, "members on different machines need a network that joins them")
    } else if job.policy.tcp_may_cross_subnets() {
        (Severity::Warning, if job.site == Site::Host { TCP_ROUTED } else { TCP_COST })
    } else if job.policy.subnets_may_differ() && job.site != Site::Host {
        (
            Severity::Warning,
            "AWS lets EFA traffic cross subnets of one zone and VPC since 2024; one subnet is safer",
        )
    } else {
        (Severity::Error, "EFA traffic is not routed, so the strict policy wants the whole job in one subnet")
    };
    let fix = match severity {
        Severity::Warning if job.site != Site::Host => {
            let better = format!("launch the next instances in {}", home.subnet.id);
            remedy::describe_placement(&strays.names(), &better)
        }
        _ => relocate(job, home, &strays.members),
    };
    let mut findings = Vec::new();
    if severity == Severity::Warning && job.site != Site::Host {
        findings.extend(unknown_places(job, home));
    }
    let text = [message, why.into(), fix];
    findings.push(finding(FindingCode::DifferentSubnet, severity, strays.names(), Vec::new(), text));
    findings
}

const TCP_COST: &str = "tcp across subnets was chosen in place of EFA: every message goes through the kernel, and one \
                        flow carries 5 Gbit/s, 10 in a cluster placement group";

const TCP_ROUTED: &str = "tcp across networks was chosen: every message goes through the kernel and a router";

/// Finds members whose zone or VPC is not known: different subnets need both to be known, one subnet is in one of each.
fn unknown_places(job: &Job<'_>, home: &Home<'_>) -> Option<Finding> {
    let names = job.names(|member| {
        zone(member).is_none() || member.interfaces.iter().any(|interface| known(&interface.vpc_id).is_none())
    });
    if names.is_empty() {
        return None;
    }
    let message = format!(
        "the zone id or the VPC of {} is not known, and not all members are in subnet {}",
        shortened(&names),
        home.subnet.id
    );
    let why = "subnets may differ only within one zone and one VPC".into();
    let ids: Vec<&str> = names.iter().map(|name| name.instance_id.as_str()).collect();
    let fix = remedy::describe_interfaces(&ids);
    Some(error(FindingCode::IdentityUnknown, names, [message, why, fix]))
}

/// Returns the commands that launch members anew where the others are: an interface can't change its subnet.
fn relocate(job: &Job<'_>, home: &Home<'_>, strays: &[&Member<'_>]) -> String {
    match job.site {
        Site::Host if home.subnet.is_local() => {
            "start every rank with an address of a network that joins all the machines".into()
        }
        Site::Host => format!("start every rank with an address in {}", home.subnet.id),
        Site::Ec2 | Site::File => {
            let facts: Vec<_> = strays.iter().map(|member| member.facts).collect();
            launch::beside(home.model.0, home.model.1, &facts, job.policy.efa())
        }
    }
}

/// The members that are not where the others are.
struct Strays<'m, 'a, T> {
    members: Vec<&'m Member<'a>>,
    places: BTreeMap<T, Vec<MemberName>>,
    total: usize,
}

impl<'m, 'a, T: Copy + Ord> Strays<'m, 'a, T> {
    /// Returns `None` when everybody is at home.
    fn collect(values: impl Iterator<Item = (&'m Member<'a>, T)>, home: &T) -> Option<Self> {
        let mut strays = Self { members: Vec::new(), places: BTreeMap::new(), total: 0 };
        let mut last = None;
        for (member, value) in values {
            let rank = member.facts.member.rank;
            strays.total += usize::from(last.replace(rank) != Some(rank));
            if value == *home {
                continue;
            }
            if strays.members.last().is_none_or(|last| last.facts.member.rank != rank) {
                strays.members.push(member);
            }
            let names = strays.places.entry(value).or_default();
            if names.last().is_none_or(|last| last.rank != rank) {
                names.push(member.name());
            }
        }
        (!strays.members.is_empty()).then_some(strays)
    }

    fn names(&self) -> Vec<MemberName> {
        self.members.iter().map(|member| member.name()).collect()
    }

    /// Returns `rank 1 (i-0b) is in zone use1-az6; the job's zone is use1-az4`, for several places at once.
    fn message(&self, one: &str, many: &str, noun: &str, home: &str, place: impl Fn(&T) -> &str) -> String {
        let mut parts: Vec<String> = Vec::new();
        for (value, names) in self.places.iter().take(PLACES_SHOWN) {
            let verb = if names.len() == 1 { one } else { many };
            parts.push(format!("{} {verb} {noun} {}", shortened(names), place(value)));
        }
        let hidden = self.places.len().saturating_sub(PLACES_SHOWN);
        if hidden > 0 {
            parts.push(format!("others {many} {hidden} more {noun}s"));
        }
        let rest = self.total - self.members.len();
        match rest {
            0 => format!("{}; the job's {noun} would be {home}", parts.join(", ")),
            1 => format!("{}; the other member is in {home}", parts.join(", ")),
            _ => format!("{}; the other {rest} members are in {home}", parts.join(", ")),
        }
    }
}
