//! The pass that an endpoint asks for.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::facts::{Facts, HostFacts, InterfaceFacts, MemberFacts, PlacementFacts, Site};
use super::policy::Policy;

/// Shows that a job was judged and may open endpoints. Only [`Report::admit`](super::Report::admit) gives one, and
/// it holds for the membership that was judged: a job whose members or whose facts change needs a new one.
///
/// ```compile_fail
/// // There is no other way to get one.
/// let admission = efa_admission::Admission { members: 1 };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Who was judged: the rank and the digest of the facts of each, in the order of the ranks.
    members: Arc<[(usize, Fingerprint)]>,
    site: Site,
    policy: Policy,
    fingerprint: Fingerprint,
}

/// A SHA-256 digest of a member's facts, or of a membership and the policy that it was judged by. It doesn't depend on
/// the order of members, interfaces, groups and addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

impl Admission {
    /// Makes the pass. For `evaluate` alone, once it has found no error.
    pub(super) fn new(facts: &[Facts], site: Site, policy: &Policy) -> Self {
        let members = digests(facts);
        let fingerprint = Fingerprint::of_membership(&members, policy);
        Self { members: members.into(), site, policy: policy.clone(), fingerprint }
    }

    /// Returns how many members the job has.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Returns where the facts came from.
    pub fn site(&self) -> Site {
        self.site
    }

    /// Returns the policy that the job was judged by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns `true` if it covers the efa provider: only when the job was judged for it.
    pub fn permits_efa(&self) -> bool {
        self.policy.efa()
    }

    /// Returns what it was given for; equal at all ranks of a job.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns `true` if it was given for exactly these members with exactly these facts, in whatever order.
    pub fn covers(&self, facts: &[Facts]) -> bool {
        *self.members == *digests(facts)
    }

    /// Returns the digest of the facts that a member was judged by, if there is such a member.
    pub fn member(&self, rank: usize) -> Option<Fingerprint> {
        let place = self.members.binary_search_by_key(&rank, |member| member.0).ok()?;
        Some(self.members[place].1)
    }
}

impl Fingerprint {
    /// Returns the digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the fingerprint of one member's facts.
    pub fn of_member(facts: &Facts) -> Self {
        Self(Sha256::digest(encoded(facts)).into())
    }

    fn of_membership(members: &[(usize, Self)], policy: &Policy) -> Self {
        let mut digest = Sha256::new();
        digest.update(format!("admission of {} by {policy:?}\n", members.len()));
        for (_, member) in members {
            // The rank is among the facts.
            digest.update(member.0);
        }
        Self(digest.finalize().into())
    }
}

fn digests(facts: &[Facts]) -> Vec<(usize, Fingerprint)> {
    let mut members: Vec<_> =
        facts.iter().map(|facts| (facts.member.rank, Fingerprint::of_member(facts))).collect();
    members.sort_by_key(|member| member.0);
    members
}

/// Returns the facts as bytes, the same for the same facts and different for others: every text with its length before
/// it, every list in one order with its count before it. Every field is named, so that a new one can't be forgotten.
fn encoded(facts: &Facts) -> Vec<u8> {
    let Facts { site, member, host, failure, bound } = facts;
    let MemberFacts {
        rank,
        host: name,
        instance_id,
        instance_type,
        availability_zone_id,
        placement,
        interfaces,
    } = member;
    let mut bytes = vec![*site as u8];
    number(&mut bytes, Some(*rank as u64));
    text(&mut bytes, Some(instance_id));
    for field in [name, instance_type, availability_zone_id] {
        text(&mut bytes, field.as_ref());
    }
    bytes.push(u8::from(placement.is_some()));
    if let Some(PlacementFacts { group, strategy, partition }) = placement {
        text(&mut bytes, group.as_ref());
        text(&mut bytes, strategy.as_ref());
        number(&mut bytes, partition.map(u64::from));
    }
    bytes.push(u8::from(host.is_some()));
    if let Some(HostFacts { memlock_bytes, efa_devices, providers }) = host {
        number(&mut bytes, *memlock_bytes);
        number(&mut bytes, Some(*efa_devices as u64));
        list(&mut bytes, providers.iter().map(|provider| provider.as_bytes().to_vec()).collect());
    }
    text(&mut bytes, failure.as_ref().map(|failure| format!("{failure:?}")).as_ref());
    text(&mut bytes, bound.map(|address| address.to_string()).as_ref());
    list(&mut bytes, interfaces.iter().map(encoded_interface).collect());
    bytes
}

fn encoded_interface(interface: &InterfaceFacts) -> Vec<u8> {
    let InterfaceFacts {
        interface_id,
        mac,
        kind,
        network_card,
        device_number,
        subnet_id,
        vpc_id,
        security_groups,
        ipv4,
        ipv6,
    } = interface;
    let mut bytes = vec![*kind as u8];
    for field in [interface_id, mac, vpc_id] {
        text(&mut bytes, field.as_ref());
    }
    text(&mut bytes, Some(subnet_id));
    number(&mut bytes, network_card.map(u64::from));
    number(&mut bytes, device_number.map(u64::from));
    bytes.push(u8::from(security_groups.is_some()));
    list(&mut bytes, security_groups.iter().flatten().map(|group| group.as_bytes().to_vec()).collect());
    list(&mut bytes, ipv4.iter().map(|address| address.octets().to_vec()).collect());
    list(&mut bytes, ipv6.iter().map(|address| address.octets().to_vec()).collect());
    bytes
}

fn number(bytes: &mut Vec<u8>, value: Option<u64>) {
    bytes.push(u8::from(value.is_some()));
    bytes.extend_from_slice(&value.unwrap_or(0).to_le_bytes());
}

fn text(bytes: &mut Vec<u8>, value: Option<&String>) {
    number(bytes, value.map(|text| text.len() as u64));
    bytes.extend_from_slice(value.map_or(&[], |text| text.as_bytes()));
}

fn list(bytes: &mut Vec<u8>, mut items: Vec<Vec<u8>>) {
    items.sort_unstable();
    number(bytes, Some(items.len() as u64));
    for item in items {
        number(bytes, Some(item.len() as u64));
        bytes.extend_from_slice(&item);
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}
