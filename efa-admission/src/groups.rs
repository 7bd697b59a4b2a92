//! Security groups and their rules, in the form in which the EC2 API and the AWS command line give them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::failure::ApiFailure;

/// What is known of the rules of the job's security groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroups(State);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Off EC2: there are no groups.
    None,
    /// There are groups, but nobody could tell their rules.
    Unknown(Option<ApiFailure>),
    /// The groups whose rules are known.
    Known(Vec<GroupRules>),
}

impl SecurityGroups {
    /// Returns the groups of a job off EC2, where security groups do not exist. A job on EC2 is not admitted on this: its rules
    /// count as unknown.
    pub fn none() -> Self {
        Self(State::None)
    }

    /// Returns the groups of a job on EC2 whose rules nobody could tell.
    pub fn unknown() -> Self {
        Self(State::Unknown(None))
    }

    /// Returns the groups of a job on EC2 whose rules the EC2 API did not tell.
    pub fn unknown_because(failure: ApiFailure) -> Self {
        Self(State::Unknown(Some(failure)))
    }

    /// Returns why the EC2 API did not tell the rules; `None` when it was not asked, or did.
    pub fn failure(&self) -> Option<&ApiFailure> {
        match &self.0 {
            State::Unknown(failure) => failure.as_ref(),
            State::None | State::Known(_) => None,
        }
    }

    /// Makes groups whose rules are known. A group that is listed twice has only the rights that both
    /// entries give it.
    pub fn known(groups: Vec<GroupRules>) -> Self {
        Self(State::Known(groups))
    }

    /// Returns whether the group lets in all traffic from itself, and lets out all traffic to itself; `None` when its
    /// rules are not known.
    pub fn admits_itself(&self, group: &str) -> Option<(bool, bool)> {
        let mut entries = self.groups()?.iter().filter(|it| it.group_id == group).peekable();
        entries.peek()?;
        let both = |(ingress, egress): (bool, bool), it: &GroupRules| {
            (ingress && it.allows_itself(Direction::Ingress), egress && it.allows_itself(Direction::Egress))
        };
        Some(entries.fold((true, true), both))
    }

    /// Returns the groups whose rules are known; `None` when no rules are.
    pub fn groups(&self) -> Option<&[GroupRules]> {
        match &self.0 {
            State::Known(groups) => Some(groups),
            State::None | State::Unknown(_) => None,
        }
    }
}

/// One security group with its rules. Keys that the judgement does not need are ignored: AWS adds new ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupRules {
    /// Such as `sg-0a`.
    pub group_id: String,
    /// The account that owns it.
    #[serde(default)]
    pub owner_id: Option<String>,
    /// What may come in.
    #[serde(default)]
    pub ip_permissions: Vec<Permission>,
    /// What may go out.
    #[serde(default)]
    pub ip_permissions_egress: Vec<Permission>,
}

/// One entry of a group's rules; AWS merges rules of the same protocol and ports into one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Permission {
    /// `-1` for all traffic, else `tcp`, `udp`, `icmp` or a number.
    pub ip_protocol: String,
    /// The first port of the entry; absent for all ports.
    #[serde(default)]
    pub from_port: Option<i64>,
    /// The last port of the entry; absent for all ports.
    #[serde(default)]
    pub to_port: Option<i64>,
    /// The groups that the entry is about.
    #[serde(default)]
    pub user_id_group_pairs: Vec<GroupPair>,
    /// The IPv4 networks that the entry is about.
    #[serde(default)]
    pub ip_ranges: Vec<IpRange>,
    /// The IPv6 networks that the entry is about.
    #[serde(default)]
    pub ipv6_ranges: Vec<Ipv6Range>,
    /// The prefix lists that the entry is about.
    #[serde(default)]
    pub prefix_list_ids: Vec<PrefixList>,
}

/// A group that a rule refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupPair {
    /// The group.
    #[serde(default)]
    pub group_id: Option<String>,
    /// The account that owns it.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The state of the VPC peering that the reference needs; absent for a group of the same VPC.
    #[serde(default)]
    pub peering_status: Option<String>,
}

/// An IPv4 network that a rule refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IpRange {
    /// Such as `0.0.0.0/0`.
    #[serde(default)]
    pub cidr_ip: Option<String>,
}

/// An IPv6 network that a rule refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipv6Range {
    /// Such as `::/0`.
    #[serde(default)]
    pub cidr_ipv6: Option<String>,
}

/// A prefix list that a rule refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PrefixList {
    /// Such as `pl-0a`.
    #[serde(default)]
    pub prefix_list_id: Option<String>,
}

/// The ports that Linux hands out by default: `net.ipv4.ip_local_port_range` in its `ip-sysctl` documentation.
const FIRST_EPHEMERAL: i64 = 32_768;
const LAST_EPHEMERAL: i64 = 60_999;

/// The other end of a tcp connection, as rules see it.
pub(super) struct Peer<'a> {
    pub(super) groups: &'a [String],
    pub(super) addresses: &'a [IpAddr],
}

/// A direction of traffic, as seen from the group's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl GroupRules {
    fn permissions(&self, direction: Direction) -> &[Permission] {
        match direction {
            Direction::Ingress => &self.ip_permissions,
            Direction::Egress => &self.ip_permissions_egress,
        }
    }

    /// Returns `true` if all traffic of the group's own interfaces may pass: some entry for all protocols has the group
    /// itself among its pairs. Every entry and every pair counts.
    pub(super) fn allows_itself(&self, direction: Direction) -> bool {
        self.permissions(direction)
            .iter()
            .filter(|permission| permission.is_all_traffic())
            .flat_map(|permission| &permission.user_id_group_pairs)
            .any(|pair| self.is_itself(pair))
    }

    /// Returns `true` if all traffic with interfaces of that group may pass.
    pub(super) fn allows_group(&self, direction: Direction, other: &str) -> bool {
        if other == self.group_id {
            return self.allows_itself(direction);
        }
        let entries = self.permissions(direction).iter().filter(|permission| permission.is_all_traffic());
        entries.flat_map(|permission| &permission.user_id_group_pairs).any(|pair| pair.is(other))
    }

    /// Returns `true` if tcp with that peer may pass: by one of its groups, by its address, or by a prefix list, whose
    /// entries are not known.
    pub(super) fn allows_tcp(&self, direction: Direction, peer: &Peer<'_>) -> bool {
        self.permissions(direction).iter().filter(|permission| permission.passes_tcp()).any(|permission| {
            let pairs = &permission.user_id_group_pairs;
            let v4 = permission.ip_ranges.iter().filter_map(|range| range.cidr_ip.as_deref());
            let v6 = permission.ipv6_ranges.iter().filter_map(|range| range.cidr_ipv6.as_deref());
            !permission.prefix_list_ids.is_empty()
                || pairs.iter().any(|pair| peer.groups.iter().any(|group| pair.is(group)))
                || v4.chain(v6).any(|range| covers(range, peer.addresses))
        })
    }

    /// Returns what lets all traffic pass by address instead, such as `0.0.0.0/0`: the usual misunderstanding, because
    /// EFA addresses are neither IPv4 nor IPv6. The first in the order of the alphabet, whatever the order of rules.
    pub(super) fn open_by_address(&self, direction: Direction) -> Option<&str> {
        let entries = self.permissions(direction).iter().filter(|permission| permission.is_all_traffic());
        entries.flat_map(Permission::address_ranges).min()
    }

    /// Returns `true` if a pair names this group: not one of another account, and not by a peering that is gone.
    fn is_itself(&self, pair: &GroupPair) -> bool {
        let other_owner = match (&pair.user_id, &self.owner_id) {
            (Some(user), Some(owner)) => user != owner,
            _ => false,
        };
        let peering_gone = pair.peering_status.as_deref().is_some_and(|status| status != "active");
        pair.group_id.as_deref() == Some(self.group_id.as_str()) && !other_owner && !peering_gone
    }
}

impl GroupPair {
    /// Returns `true` if it names that group, and does so still.
    fn is(&self, group: &str) -> bool {
        self.group_id.as_deref() == Some(group)
            && self.peering_status.as_deref().is_none_or(|status| status == "active")
    }
}

/// Returns `true` if the network holds one of the addresses. The network of all addresses does so even where none is
/// known.
fn covers(network: &str, addresses: &[IpAddr]) -> bool {
    let Some((base, bits)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    if bits == 0 && addresses.is_empty() {
        return true;
    }
    addresses.iter().any(|address| match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            bits <= 32 && (u32::from(base) ^ u32::from(*address)).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            bits <= 128 && (u128::from(base) ^ u128::from(*address)).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    })
}

impl Permission {
    fn is_all_traffic(&self) -> bool {
        self.ip_protocol == "-1"
    }

    /// Returns `true` if tcp to and from the ports that the system hands out may pass.
    fn passes_tcp(&self) -> bool {
        let (first, last) = (self.from_port.unwrap_or(0), self.to_port.unwrap_or(65_535));
        let all = first < 0 || last < 0;
        self.is_all_traffic()
            || matches!(self.ip_protocol.as_str(), "tcp" | "6")
                && (all || (first <= FIRST_EPHEMERAL && LAST_EPHEMERAL <= last))
    }

    fn address_ranges(&self) -> impl Iterator<Item = &str> {
        let v4 = self.ip_ranges.iter().filter_map(|range| range.cidr_ip.as_deref());
        let v6 = self.ipv6_ranges.iter().filter_map(|range| range.cidr_ipv6.as_deref());
        let lists = self.prefix_list_ids.iter().filter_map(|list| list.prefix_list_id.as_deref());
        v4.chain(v6).chain(lists)
    }
}
