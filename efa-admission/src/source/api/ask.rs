//! The questions, each in as few requests as the API allows.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::Filter;

use super::reply;
use crate::facts::{Facts, InterfaceKind, known};
use crate::failure::ApiFailure;
use crate::groups::SecurityGroups;

/// The most values that a filter takes. Filters are used rather than lists of ids, since one id that doesn't exist
/// fails a request for a list.
const FILTER_VALUES: usize = 200;
/// The most instances that may be named when asking for their topology, which has no filter for them.
const TOPOLOGY_INSTANCES: usize = 100;
/// The most items that a page has, where that can be said.
const PAGE: i32 = 1000;

/// What the questions are about.
pub(super) struct Names {
    pub(super) security_groups: Vec<String>,
    pub(super) interfaces: Vec<String>,
    /// Of interfaces whose ids are not known: metadata is read with few requests.
    pub(super) macs: Vec<String>,
    pub(super) placement_groups: Vec<String>,
    pub(super) instances: Vec<String>,
}

impl Names {
    pub(super) fn of(members: &[Facts]) -> Self {
        let members = || members.iter().map(|facts| &facts.member);
        let interfaces = || members().flat_map(|member| &member.interfaces);
        let placements = members().filter_map(|member| member.placement.as_ref());
        let unplaced = |strategy: &Option<String>| known(strategy).is_none();
        let unknown = || interfaces().filter(|it| it.kind == InterfaceKind::Unknown);
        let instances = sorted(members().map(|member| member.instance_id.as_str()));
        Self {
            security_groups: sorted(
                interfaces().flat_map(|it| it.security_groups.iter().flatten()).map(String::as_str),
            ),
            interfaces: sorted(unknown().filter_map(|it| known(&it.interface_id))),
            macs: sorted(
                unknown().filter(|it| known(&it.interface_id).is_none()).filter_map(|it| known(&it.mac)),
            ),
            placement_groups: sorted(
                placements.filter(|it| unplaced(&it.strategy)).filter_map(|it| known(&it.group)),
            ),
            // A single instance has no place relative to others.
            instances: if instances.len() > 1 { instances } else { Vec::new() },
        }
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: BTreeSet<&str> = names.filter(|name| !name.is_empty()).collect();
    names.into_iter().map(str::to_owned).collect()
}

fn filter(name: &str, values: &[String]) -> Filter {
    Filter::builder().name(name).set_values(Some(values.to_vec())).build()
}

/// The rules of those of the groups that exist.
pub(super) async fn rules(client: &Client, groups: &[String]) -> Result<SecurityGroups, ApiFailure> {
    let mut found = Vec::new();
    for groups in groups.chunks(FILTER_VALUES) {
        let request = client.describe_security_groups().filters(filter("group-id", groups)).max_results(PAGE);
        let mut items = request.into_paginator().items().send();
        while let Some(group) = items.next().await {
            let group = group.map_err(|error| reply::failure(&error))?;
            found.push(reply::group_rules(&group)?);
        }
    }
    Ok(SecurityGroups::known(found))
}

/// The kinds of those of the interfaces that exist, by id or by MAC address.
pub(super) async fn kinds(
    client: &Client,
    names: &Names,
) -> Result<BTreeMap<String, InterfaceKind>, ApiFailure> {
    let mut found = BTreeMap::new();
    let by_id = names.interfaces.chunks(FILTER_VALUES).map(|ids| ("network-interface-id", ids));
    let by_mac = names.macs.chunks(FILTER_VALUES).map(|macs| ("mac-address", macs));
    for (key, names) in by_id.chain(by_mac) {
        let request = client.describe_network_interfaces().filters(filter(key, names)).max_results(PAGE);
        let mut items = request.into_paginator().items().send();
        while let Some(interface) = items.next().await {
            let interface = interface.map_err(|error| reply::failure(&error))?;
            let name = match key {
                "mac-address" => interface.mac_address(),
                _ => interface.network_interface_id(),
            };
            let kind = reply::kind(interface.interface_type());
            if let Some(name) = name {
                // Interfaces of different VPCs may share a MAC address, which then tells nothing.
                let known = found.entry(name.to_owned()).or_insert(kind);
                if *known != kind {
                    *known = InterfaceKind::Unknown;
                }
            }
        }
    }
    Ok(found)
}

/// The strategies of those of the placement groups that exist.
pub(super) async fn strategies(
    client: &Client,
    groups: &[String],
) -> Result<BTreeMap<String, String>, ApiFailure> {
    let mut found = BTreeMap::new();
    for groups in groups.chunks(FILTER_VALUES) {
        let request = client.describe_placement_groups().filters(filter("group-name", groups));
        let answer = request.send().await.map_err(|error| reply::failure(&error))?;
        for group in answer.placement_groups() {
            if let (Some(name), Some(strategy)) = (group.group_name(), group.strategy()) {
                found.insert(name.to_owned(), strategy.as_str().to_owned());
            }
        }
    }
    Ok(found)
}

/// The network nodes above each of the instances, the top layer's first, for types that have a topology.
pub(super) async fn network_nodes(
    client: &Client,
    instances: &[String],
) -> Result<BTreeMap<String, Vec<String>>, ApiFailure> {
    let mut found = BTreeMap::new();
    for instances in instances.chunks(TOPOLOGY_INSTANCES) {
        let request = client.describe_instance_topology().set_instance_ids(Some(instances.to_vec()));
        let mut items = request.into_paginator().items().send();
        while let Some(instance) = items.next().await {
            let instance = instance.map_err(|error| reply::failure(&error))?;
            let nodes = instance.network_nodes();
            if let (Some(id), false) = (instance.instance_id(), nodes.is_empty()) {
                found.insert(id.to_owned(), nodes.to_vec());
            }
        }
    }
    Ok(found)
}
