//! Where most of the job is: the place that the others are compared with and should move to.

use std::collections::BTreeMap;

use super::{Job, Member};
use crate::facts::{Facts, InterfaceFacts, Site, known};

/// The zone, VPC and subnet that most members are in. The VPC is chosen among the members of the zone and the
/// subnet among the interfaces of both, so that the three go together.
pub(super) struct Home<'a> {
    pub(super) zone: Option<&'a str>,
    pub(super) vpc: Option<&'a str>,
    pub(super) subnet: Network<'a>,
    /// An interface there, with its member: the model for whoever has to move.
    pub(super) model: (&'a Facts, &'a InterfaceFacts),
}

/// A subnet, or off EC2 a network: one that ends at the machine's own borders is told apart by the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Network<'a> {
    pub(super) id: &'a str,
    machine: Option<&'a str>,
}

impl<'a> Network<'a> {
    pub(super) fn of(member: &Member<'a>, interface: &'a InterfaceFacts) -> Self {
        let facts = member.facts;
        let alone = facts.site == Site::Host && stays_on_one_machine(&interface.subnet_id);
        Self { id: &interface.subnet_id, machine: alone.then_some(facts.member.instance_id.as_str()) }
    }

    /// Returns `true` if nothing outside of one machine can be reached on it.
    pub(super) fn is_local(self) -> bool {
        self.machine.is_some()
    }
}

impl<'a> Home<'a> {
    pub(super) fn of(job: &Job<'a>) -> Option<Self> {
        let zone =
            most_frequent(job.members.iter().filter_map(|member| zone(member).map(|zone| (member, zone))));
        let here =
            |member: &Member<'a>| zone.is_none() || self::zone(member).is_none_or(|it| Some(it) == zone);
        let vpc = most_frequent(
            job.interfaces()
                .filter(|(member, _)| here(member))
                .filter_map(|(member, interface)| known(&interface.vpc_id).map(|vpc| (member, vpc))),
        );
        let near = |member: &Member<'a>, interface: &InterfaceFacts| {
            here(member) && (vpc.is_none() || known(&interface.vpc_id).is_none_or(|it| Some(it) == vpc))
        };
        let subnet = most_frequent(
            job.interfaces()
                .filter(|(member, interface)| near(member, interface))
                .map(|(member, interface)| (member, Network::of(member, interface))),
        )?;
        let (member, interface) = job.interfaces().find(|&(member, interface)| {
            near(member, interface) && Network::of(member, interface) == subnet
        })?;
        Some(Self { zone, vpc, subnet, model: (member.facts, interface) })
    }
}

/// Returns the id of the member's zone, where it is known.
pub(super) fn zone<'a>(member: &Member<'a>) -> Option<&'a str> {
    known(&member.facts.member.availability_zone_id)
}

/// Returns the value that most members have, and of several the least. Members come in the order of their ranks.
fn most_frequent<'m, 'a: 'm, T: Copy + Ord>(values: impl Iterator<Item = (&'m Member<'a>, T)>) -> Option<T> {
    let mut holders: BTreeMap<T, (usize, usize)> = BTreeMap::new();
    for (member, value) in values {
        let rank = member.facts.member.rank;
        let (count, last) = holders.entry(value).or_insert((0, usize::MAX));
        // A member with several interfaces in one place counts once.
        if *count == 0 || *last != rank {
            (*count, *last) = (*count + 1, rank);
        }
    }
    // `max_by_key` returns the last of several, hence the reversal.
    holders.into_iter().rev().max_by_key(|(_, (count, _))| *count).map(|(value, _)| value)
}

/// Returns `true` for loopback and link-local networks: their addresses mean something else on every machine or link.
fn stays_on_one_machine(network: &str) -> bool {
    let address = network.split('/').next().unwrap_or(network);
    match address.parse() {
        Ok(std::net::IpAddr::V4(v4)) => v4.is_loopback() || v4.is_link_local(),
        Ok(std::net::IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unicast_link_local(),
        Err(_) => false,
    }
}
