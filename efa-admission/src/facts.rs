//! What is known about a member of the job before anything is opened.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize};

use super::failure::MetadataFailure;

/// Where a member's facts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Site {
    /// Instance metadata and the EC2 API.
    Ec2,
    /// A file that describes a job, perhaps one that is not launched yet.
    File,
    /// The host itself, off EC2.
    Host,
}

/// One member's facts with where they come from: what ranks tell each other at the rendezvous, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Where the facts come from. All members of a job have theirs from the same kind of place.
    pub site: Site,
    /// The member itself.
    pub member: MemberFacts,
    /// The state of the machine that the member runs on; `None` when a file describes the member.
    pub host: Option<HostFacts>,
    /// Why the instance's metadata did not tell who the member is; `None` when it did, and where there is none.
    #[serde(default)]
    pub failure: Option<MetadataFailure>,
    /// The address that the job reaches the member at, which says which interface tcp uses; `None` when it is not known.
    #[serde(default)]
    pub bound: Option<IpAddr>,
}

impl Facts {
    /// Returns the interface that tcp uses, if the facts tell: the one that has the address the job binds, else the
    /// primary one.
    pub(crate) fn bound_interface(&self) -> Option<&InterfaceFacts> {
        let all = &self.member.interfaces;
        let by_address = self.bound.and_then(|bound| all.iter().find(|interface| interface.has(bound)));
        by_address.or_else(|| {
            all.iter().find(|interface| interface.is_primary() && interface.kind != InterfaceKind::EfaOnly)
        })
    }
}

/// One member of the job, in the form that a members file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberFacts {
    /// Its rank in the job.
    pub rank: usize,
    /// The name of its host.
    #[serde(default)]
    pub host: Option<String>,
    /// Its EC2 instance; off EC2, a name that no other machine has.
    pub instance_id: String,
    /// Such as `hpc7a.96xlarge`.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// The zone's id, such as `use1-az4`. Zone *names* differ from account to account and are of no use here.
    #[serde(default)]
    pub availability_zone_id: Option<String>,
    /// Where it is placed; `None` when that is not known.
    #[serde(default)]
    pub placement: Option<PlacementFacts>,
    /// Its network interfaces.
    pub interfaces: Vec<InterfaceFacts>,
}

/// A member's placement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementFacts {
    /// The name of its placement group; `None` when it is in none.
    #[serde(default)]
    pub group: Option<String>,
    /// The group's strategy (`cluster`, `spread`, `partition`); `None` when that is not known.
    #[serde(default)]
    pub strategy: Option<String>,
    /// Its partition in a group of that strategy.
    #[serde(default)]
    pub partition: Option<u32>,
}

/// One network interface of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceFacts {
    /// Such as `eni-0a`; off EC2, the system's name for it.
    #[serde(default)]
    pub interface_id: Option<String>,
    /// Its hardware address.
    #[serde(default)]
    pub mac: Option<String>,
    /// What it can do.
    #[serde(default, deserialize_with = "null_as_default")]
    pub kind: InterfaceKind,
    /// The network card it is on, counted from 0.
    #[serde(default)]
    pub network_card: Option<u32>,
    /// Its device number on that card; 0 on card 0 is the primary interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_number: Option<u32>,
    /// Its subnet; off EC2, its network, such as `192.0.2.0/24`.
    pub subnet_id: String,
    /// Its VPC.
    #[serde(default)]
    pub vpc_id: Option<String>,
    /// The ids of the security groups on it; `None` when they are not known.
    #[serde(default)]
    pub security_groups: Option<Vec<String>>,
    /// Its addresses.
    #[serde(default, deserialize_with = "null_as_default")]
    pub ipv4: Vec<Ipv4Addr>,
    /// Its IPv6 addresses.
    #[serde(default, deserialize_with = "null_as_default")]
    pub ipv6: Vec<Ipv6Addr>,
}

impl InterfaceFacts {
    /// Returns `true` if the address is one of its own.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.ipv4.contains(&v4),
            IpAddr::V6(v6) => self.ipv6.contains(&v6),
        }
    }

    /// Returns `true` if it is known to be the instance's primary interface.
    pub(crate) fn is_primary(&self) -> bool {
        self.device_number == Some(0) && self.network_card.unwrap_or(0) == 0
    }
}

/// What an interface can do, in the words of EC2's `InterfaceType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceKind {
    /// An EFA together with an ordinary interface (ENA).
    Efa,
    /// An EFA without an IP address.
    EfaOnly,
    /// An ordinary interface.
    Interface,
    /// Nobody could tell; judged as an EFA, which is the stricter way.
    #[default]
    Unknown,
}

impl InterfaceKind {
    /// Returns `true` if the rules for EFA interfaces apply to it.
    pub fn counts_as_efa(self) -> bool {
        self != Self::Interface
    }
}

/// The state of the machine that a member runs on, as far as EFA depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// How many bytes the process may lock in memory, `u64::MAX` for no limit. `None` leaves the limit out of the
    /// judgement: right for an emulated device, which locks nothing.
    pub memlock_bytes: Option<u64>,
    /// How many EFA devices the process can see.
    pub efa_devices: usize,
    /// The providers that libfabric has something to offer for in this process; empty when nobody has asked it.
    #[serde(default)]
    pub providers: Vec<String>,
}

/// Reads `null` like a key that is absent.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Returns the value, unless it is absent or empty: an empty id in a reply of AWS or in a file tells nothing.
pub(super) fn known(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|text| !text.is_empty())
}
