//! What all forms come to: instances and templates of them, their places and groups.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::tree::{At, Reading};
use crate::facts::{InterfaceFacts, InterfaceKind, MemberFacts, PlacementFacts};
use crate::groups::{GroupPair, GroupRules, Permission};
use crate::types;

/// Ids made of names are cut at this length.
const LONGEST_ID: usize = 200;
/// More than AWS allows of each: interfaces of an instance, groups of an interface, subnets of an Auto Scaling group.
const MOST_INTERFACES: usize = 256;
const MOST_GROUPS: usize = 64;
const MOST_SUBNETS: usize = 64;
/// Instance types that a note lists.
const MOST_SHOWN: usize = 6;

/// One instance, or instances that are all started from one description.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// What the file calls it.
    pub(super) name: String,
    /// Whether any number of instances is started from it.
    pub(super) is_template: bool,
    pub(super) instance_type: Option<String>,
    pub(super) placement: Option<PlacementFacts>,
    pub(super) zone: Option<String>,
    /// The subnets that it may be started in. Interfaces without a subnet of their own get each of them.
    pub(super) spots: Vec<Spot>,
    pub(super) interfaces: Vec<InterfaceFacts>,
}

/// A subnet that nodes may be started in, with its zone and VPC where the file tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) subnet: String,
    pub(super) vpc: Option<String>,
    pub(super) zone: Option<String>,
}

impl Spot {
    pub(super) fn of(subnet: impl Into<String>) -> Self {
        Self { subnet: subnet.into(), ..Self::default() }
    }
}

impl Node {
    /// Returns the node, or an error if it has more interfaces, subnets or security groups than can be judged.
    /// These limits bound the memory that copies of the node take.
    pub(super) fn checked(self) -> Reading<Self> {
        few(&self.interfaces, MOST_INTERFACES, "interfaces", &self.name)?;
        few(&self.spots, MOST_SUBNETS, "subnets", &self.name)?;
        for interface in &self.interfaces {
            few(
                interface.security_groups.as_deref().unwrap_or_default(),
                MOST_GROUPS,
                "security groups",
                &self.name,
            )?;
        }
        Ok(self)
    }

    /// A member for each subnet that it may be started in, ranks left at 0.
    pub(super) fn members(&self) -> Vec<MemberFacts> {
        let nowhere = [Spot::default()];
        let spots = if self.spots.is_empty() { &nowhere[..] } else { &self.spots };
        let member = |(number, spot): (usize, &Spot)| {
            let place = |interface: &InterfaceFacts| {
                let mut interface = interface.clone();
                if interface.subnet_id.is_empty() {
                    interface.subnet_id.clone_from(&spot.subnet);
                    interface.vpc_id = interface.vpc_id.or_else(|| spot.vpc.clone());
                }
                interface
            };
            let suffix = if spots.len() > 1 { format!(".{number}") } else { String::new() };
            MemberFacts {
                rank: 0,
                host: None,
                instance_id: format!("{}{suffix}", id(&self.name)),
                instance_type: self.instance_type.clone(),
                availability_zone_id: self.zone.clone().or_else(|| spot.zone.clone()),
                placement: self.placement.clone(),
                interfaces: self.interfaces.iter().map(place).collect(),
            }
        };
        spots.iter().enumerate().map(member).collect()
    }

    /// Returns whether `--only` chooses this node: `only` is its name, or the beginning of its name up to a `/`, `[` or `.`.
    pub(super) fn is_meant(&self, only: &str) -> bool {
        self.name.strip_prefix(only).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '[', '.']))
    }
}

fn few<T>(all: &[T], most: usize, noun: &str, name: &str) -> Reading<()> {
    match all.len() {
        count if count > most => Err(format!("{} has {count} {noun}, and {most} are the most", id(name))),
        _ => Ok(()),
    }
}

/// A name of the file in the letters of ids, which end up in commands. A name that loses more than the brackets and quotes
/// of its indices gets a hash, so that different names have different ids.
pub(super) fn id(name: &str) -> String {
    let fits = |it: char| it.is_ascii_alphanumeric() || "-_.:/".contains(it);
    if name.len() <= LONGEST_ID && name.matches('[').count() == name.matches(']').count() {
        let plain = name.replace("[\"", ".").replace("\"]", "").replace('[', ".").replace(']', "");
        if plain.chars().all(fits) {
            return plain;
        }
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let hash = format!("-{hash}");
    let kept = name.chars().filter(|it| !"\"']".contains(*it)).take(LONGEST_ID - hash.len());
    kept.map(|it| if fits(it) { it } else { '.' }).chain(hash.chars()).collect()
}

/// Makes an interface from what a file says of it.
pub(super) fn interface(
    kind: InterfaceKind,
    card: u32,
    device: u32,
    groups: Option<Vec<String>>,
) -> InterfaceFacts {
    InterfaceFacts {
        interface_id: None,
        mac: None,
        kind,
        network_card: Some(card),
        device_number: Some(device),
        subnet_id: String::new(),
        vpc_id: None,
        security_groups: groups,
        ipv4: Vec::new(),
        ipv6: Vec::new(),
    }
}

/// The port at a key; `None` without one, which is any port, and an error where it is no number.
pub(super) fn port(rule: &At<'_>, key: &str) -> Reading<Option<i64>> {
    let port = |text: String| text.parse().map_err(|_| rule.wrong(&format!("{key} is no number")));
    rule.scalar_of(key)?.map(port).transpose()
}

/// The kind that `InterfaceType` names; without it, an interface is plain.
pub(super) fn kind(interface_type: Option<&str>) -> InterfaceKind {
    match interface_type {
        Some("efa") => InterfaceKind::Efa,
        Some("efa-only") => InterfaceKind::EfaOnly,
        _ => InterfaceKind::Interface,
    }
}

/// The EFAs of a type, one on each card that takes one, as `efa` with the device number of the card. That is what eksctl
/// makes, and Karpenter for pods that ask for EFAs. One EFA for a type that the table does not have.
pub(super) fn efa_on_each_card(
    instance_type: Option<&str>,
    groups: Option<&[String]>,
) -> Vec<InterfaceFacts> {
    let groups = groups.map(<[String]>::to_vec);
    let cards = instance_type.and_then(types::find).map_or(1, |it| it.efas.max(1));
    (0..u32::try_from(cards).unwrap_or(1))
        .map(|card| interface(InterfaceKind::Efa, card, card, groups.clone()))
        .collect()
}

/// A group that a tool makes with both rules.
pub(super) fn group_that_admits_itself(name: &str) -> GroupRules {
    let itself = || Permission {
        ip_protocol: "-1".into(),
        user_id_group_pairs: vec![GroupPair { group_id: Some(name.into()), ..GroupPair::default() }],
        ..Permission::default()
    };
    GroupRules {
        group_id: name.into(),
        ip_permissions: vec![itself()],
        ip_permissions_egress: vec![itself()],
        ..GroupRules::default()
    }
}

/// The one type of a list; with several, none is judged by, and a note says so.
pub(super) fn one_type(name: &str, types: Vec<String>, notes: &mut Vec<String>) -> Option<String> {
    let all: BTreeSet<String> = types.into_iter().collect();
    if all.len() > 1 {
        let listed: Vec<&str> = all.iter().map(String::as_str).take(MOST_SHOWN).collect();
        let more = if all.len() > MOST_SHOWN { ", ..." } else { "" };
        notes.push(format!("{name} may be of the types {}{more}: no type was judged by", listed.join(", ")));
        return None;
    }
    all.into_iter().next()
}

/// Says that an instance may be started in any of several subnets.
pub(super) fn note_spots(node: &Node, notes: &mut Vec<String>) {
    if node.is_template && node.spots.len() > 1 {
        let count = node.spots.len();
        notes.push(format!(
            "{} may start its instances in {count} subnets: one was judged in each",
            node.name
        ));
    }
}
