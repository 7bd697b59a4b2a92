//! What the AWS command line prints of instances, interfaces, launch templates and rules, made into members and groups.
//!
//! What such a listing can't tell is a note, never a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use super::plan::NO_KNOWN_FORM;
use crate::facts::{InterfaceFacts, InterfaceKind, MemberFacts, PlacementFacts};
use crate::groups::{GroupPair, GroupRules, IpRange, Ipv6Range, Permission, PrefixList};

/// Any of the listings that members can be made of.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "what the AWS command line prints")]
pub(super) struct Listing {
    reservations: Option<Vec<Reservation>>,
    network_interfaces: Option<Vec<Interface>>,
    launch_template_versions: Option<Vec<TemplateVersion>>,
    next_token: Option<String>,
}

/// The rules of groups, by group or one by one.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an object with SecurityGroups or SecurityGroupRules")]
pub(super) struct RuleListing {
    security_groups: Option<Vec<GroupRules>>,
    security_group_rules: Option<Vec<Rule>>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reservation {
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    instance_id: String,
    instance_type: Option<String>,
    private_dns_name: Option<String>,
    placement: Option<Placement>,
    state: Option<State>,
    #[serde(default)]
    network_interfaces: Vec<Interface>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Placement {
    availability_zone_id: Option<String>,
    group_name: Option<String>,
    partition_number: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Interface {
    network_interface_id: Option<String>,
    mac_address: Option<String>,
    interface_type: Option<String>,
    subnet_id: Option<String>,
    vpc_id: Option<String>,
    availability_zone_id: Option<String>,
    groups: Option<Vec<Group>>,
    #[serde(default)]
    private_ip_addresses: Vec<Address>,
    #[serde(default)]
    ipv6_addresses: Vec<Address>,
    attachment: Option<Attachment>,
}

/// A group by its id: alone in a launch template, else in an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Group {
    Id(String),
    Named {
        #[serde(rename = "GroupId")]
        id: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Address {
    private_ip_address: Option<Ipv4Addr>,
    ipv6_address: Option<Ipv6Addr>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment {
    instance_id: Option<String>,
    device_index: Option<u32>,
    network_card_index: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TemplateVersion {
    launch_template_id: Option<String>,
    #[serde(default)]
    default_version: bool,
    launch_template_data: TemplateData,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TemplateData {
    instance_type: Option<String>,
    placement: Option<Placement>,
    #[serde(default)]
    network_interfaces: Vec<TemplateInterface>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TemplateInterface {
    device_index: Option<u32>,
    network_card_index: Option<u32>,
    interface_type: Option<String>,
    subnet_id: Option<String>,
    groups: Option<Vec<Group>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    group_id: String,
    group_owner_id: Option<String>,
    #[serde(default)]
    is_egress: bool,
    ip_protocol: String,
    from_port: Option<i64>,
    to_port: Option<i64>,
    cidr_ipv4: Option<String>,
    cidr_ipv6: Option<String>,
    prefix_list_id: Option<String>,
    referenced_group_info: Option<GroupPair>,
}

/// Why a listing is of no use.
const CUT_SHORT: &str =
    "it has a NextToken, so it is only a part: leave out --max-items, --page-size and --no-paginate";

impl Listing {
    /// Returns `true` if an object with these keys is a listing, or a part of one.
    pub(super) fn is_one(keys: &BTreeSet<String>) -> bool {
        ["Reservations", "NetworkInterfaces", "LaunchTemplateVersions", "NextToken"]
            .iter()
            .any(|it| keys.contains(*it))
    }

    /// Returns `true` if it describes what instances are started from, and none of them.
    pub(super) fn is_template(&self) -> bool {
        self.launch_template_versions.is_some()
            && self.reservations.is_none()
            && self.network_interfaces.is_none()
    }

    /// Returns what it is taken for.
    pub(super) fn form(&self) -> &'static str {
        match (&self.reservations, &self.network_interfaces) {
            (Some(_), _) => "what 'aws ec2 describe-instances' prints",
            (None, Some(_)) => "what 'aws ec2 describe-network-interfaces' prints",
            (None, None) => "what 'aws ec2 describe-launch-template-versions' prints",
        }
    }

    /// Returns the members in the order of the listing, and what it could not tell.
    pub(super) fn members(self) -> Result<(Vec<MemberFacts>, Vec<String>), String> {
        reject_part(self.next_token.as_deref())?;
        if let Some(reservations) = self.reservations {
            return Ok(of_instances(reservations));
        }
        if let Some(interfaces) = self.network_interfaces {
            return Ok(of_interfaces(interfaces));
        }
        if let Some(versions) = self.launch_template_versions {
            return of_template(versions);
        }
        Err(NO_KNOWN_FORM.into())
    }
}

impl RuleListing {
    pub(super) fn groups(self) -> Result<Vec<GroupRules>, String> {
        reject_part(self.next_token.as_deref())?;
        match (self.security_groups, self.security_group_rules) {
            (Some(groups), _) => Ok(groups),
            (None, Some(rules)) => Ok(by_group(rules)),
            (None, None) => Err("missing field `SecurityGroups`, and `SecurityGroupRules` as well".into()),
        }
    }
}

fn reject_part(token: Option<&str>) -> Result<(), String> {
    match token {
        Some(token) if !token.is_empty() => Err(CUT_SHORT.into()),
        _ => Ok(()),
    }
}

const NUMBERED: &str = "ranks are numbered in the order in which the file lists the instances";

fn of_instances(reservations: Vec<Reservation>) -> (Vec<MemberFacts>, Vec<String>) {
    let mut notes = vec![NUMBERED.to_owned()];
    let all: Vec<Instance> = reservations.into_iter().flat_map(|reservation| reservation.instances).collect();
    let is_up = |instance: &Instance| {
        let state = instance.state.as_ref().and_then(|state| state.name.as_deref());
        state.is_none_or(|state| matches!(state, "pending" | "running"))
    };
    let count = all.len();
    let up: Vec<Instance> = all.into_iter().filter(is_up).collect();
    if up.len() < count {
        notes.push(format!("{} of {count} instances are not running, and were left out", count - up.len()));
    }
    let members = up.into_iter().enumerate().map(|(rank, instance)| {
        let zone = instance.placement.as_ref().and_then(|placement| placement.availability_zone_id.clone());
        MemberFacts {
            rank,
            host: instance.private_dns_name.filter(|name| !name.is_empty()),
            instance_id: instance.instance_id,
            instance_type: instance.instance_type,
            availability_zone_id: zone,
            placement: instance.placement.map(placement),
            interfaces: instance.network_interfaces.into_iter().map(interface).collect(),
        }
    });
    let members: Vec<MemberFacts> = members.collect();
    note_zones(&members, &mut notes);
    (members, notes)
}

fn of_interfaces(interfaces: Vec<Interface>) -> (Vec<MemberFacts>, Vec<String>) {
    let mut notes = vec![
        NUMBERED.to_owned(),
        "the file does not tell instance types and placement groups, which were not judged".into(),
    ];
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut members: Vec<MemberFacts> = Vec::new();
    let mut loose = 0;
    for found in interfaces {
        let instance = found.attachment.as_ref().and_then(|attachment| attachment.instance_id.clone());
        let Some(instance_id) = instance else {
            loose += 1;
            continue;
        };
        let place = *places.entry(instance_id.clone()).or_insert_with(|| {
            members.push(MemberFacts {
                rank: members.len(),
                host: None,
                instance_id,
                instance_type: None,
                availability_zone_id: found.availability_zone_id.clone(),
                placement: None,
                interfaces: Vec::new(),
            });
            members.len() - 1
        });
        members[place].interfaces.push(interface(found));
    }
    if loose > 0 {
        notes.push(format!("{loose} interfaces are attached to no instance, and were left out"));
    }
    note_zones(&members, &mut notes);
    (members, notes)
}

fn of_template(versions: Vec<TemplateVersion>) -> Result<(Vec<MemberFacts>, Vec<String>), String> {
    let several = versions.len() > 1;
    let chosen = match versions.iter().position(|version| version.default_version) {
        Some(place) => place,
        None if several => {
            return Err(
                "it has several versions and none is the default one: ask for one with --versions".into()
            );
        }
        None => 0,
    };
    let Some(version) = versions.into_iter().nth(chosen) else {
        return Err("it has no version".into());
    };
    let mut notes = vec![
        "a launch template does not tell zone and VPC, which were not judged; --for N judges N instances of it".into(),
    ];
    if several {
        notes.push("of several versions the default one was judged".into());
    }
    let data = version.launch_template_data;
    let interfaces = data.network_interfaces.into_iter().map(|it| InterfaceFacts {
        interface_id: None,
        mac: None,
        kind: kind(Some(it.interface_type.as_deref().unwrap_or("interface"))),
        network_card: Some(it.network_card_index.unwrap_or(0)),
        device_number: it.device_index,
        subnet_id: it.subnet_id.unwrap_or_default(),
        vpc_id: None,
        security_groups: it.groups.map(ids),
        ipv4: Vec::new(),
        ipv6: Vec::new(),
    });
    let member = MemberFacts {
        rank: 0,
        host: None,
        instance_id: version.launch_template_id.unwrap_or_else(|| "template".into()),
        instance_type: data.instance_type,
        availability_zone_id: None,
        placement: data.placement.map(placement),
        interfaces: interfaces.collect(),
    };
    Ok((vec![member], notes))
}

fn note_zones(members: &[MemberFacts], notes: &mut Vec<String>) {
    if members.iter().any(|member| member.availability_zone_id.is_none()) {
        notes.push("the file does not tell the zone id of every instance".into());
    }
}

fn placement(found: Placement) -> PlacementFacts {
    let group = found.group_name.filter(|name| !name.is_empty());
    PlacementFacts { group, strategy: None, partition: found.partition_number }
}

fn ids(groups: Vec<Group>) -> Vec<String> {
    let id = |group| match group {
        Group::Id(id) | Group::Named { id } => id,
    };
    groups.into_iter().map(id).collect()
}

/// Kinds such as `trunk` and `branch` are plain to EFA.
fn kind(interface_type: Option<&str>) -> InterfaceKind {
    match interface_type {
        None | Some("") => InterfaceKind::Unknown,
        Some("efa") => InterfaceKind::Efa,
        Some("efa-only") => InterfaceKind::EfaOnly,
        Some(_) => InterfaceKind::Interface,
    }
}

fn interface(found: Interface) -> InterfaceFacts {
    let attachment = found.attachment.as_ref();
    InterfaceFacts {
        interface_id: found.network_interface_id,
        mac: found.mac_address,
        kind: kind(found.interface_type.as_deref()),
        network_card: attachment.map(|attachment| attachment.network_card_index.unwrap_or(0)),
        device_number: attachment.and_then(|attachment| attachment.device_index),
        subnet_id: found.subnet_id.unwrap_or_default(),
        vpc_id: found.vpc_id,
        security_groups: found.groups.map(ids),
        ipv4: found.private_ip_addresses.iter().filter_map(|address| address.private_ip_address).collect(),
        ipv6: found.ipv6_addresses.iter().filter_map(|address| address.ipv6_address).collect(),
    }
}

fn by_group(rules: Vec<Rule>) -> Vec<GroupRules> {
    let mut groups: BTreeMap<String, GroupRules> = BTreeMap::new();
    for rule in rules {
        let group = groups.entry(rule.group_id.clone()).or_insert_with(|| GroupRules {
            group_id: rule.group_id.clone(),
            owner_id: rule.group_owner_id.clone(),
            ..GroupRules::default()
        });
        let permission = Permission {
            ip_protocol: rule.ip_protocol,
            from_port: rule.from_port,
            to_port: rule.to_port,
            user_id_group_pairs: rule.referenced_group_info.into_iter().collect(),
            ip_ranges: rule.cidr_ipv4.map(|cidr| IpRange { cidr_ip: Some(cidr) }).into_iter().collect(),
            ipv6_ranges: rule.cidr_ipv6.map(|cidr| Ipv6Range { cidr_ipv6: Some(cidr) }).into_iter().collect(),
            prefix_list_ids: rule
                .prefix_list_id
                .map(|list| PrefixList { prefix_list_id: Some(list) })
                .into_iter()
                .collect(),
        };
        match rule.is_egress {
            true => group.ip_permissions_egress.push(permission),
            false => group.ip_permissions.push(permission),
        }
    }
    groups.into_values().collect()
}
