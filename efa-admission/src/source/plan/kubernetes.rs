//! Karpenter's node classes and pools, EKS Auto Mode's node classes, and eksctl's cluster configuration.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use super::node::{
    self, Node, Spot, efa_on_each_card, group_that_admits_itself, id, interface, note_spots, one_type,
};
use super::tree::{At, Reading, Tree};
use crate::facts::{InterfaceKind, PlacementFacts};
use crate::groups::GroupRules;
use crate::types;

/// The documents, with the items of lists in place of the lists.
pub(super) fn objects<'a>(documents: &[At<'a>]) -> Reading<Vec<At<'a>>> {
    let mut objects = Vec::new();
    for document in documents {
        match document.tree.get("items") {
            Some(Tree::List(_)) => objects.extend(document.list_of("items")?),
            _ => objects.push(document.clone()),
        }
    }
    Ok(objects)
}

/// Whether an object is of a kind that a node is made of.
pub(super) fn is_class_or_pool(object: &At<'_>) -> bool {
    is_class(object) || is_kind(object, "karpenter.sh/", "NodePool")
}

fn is_class(object: &At<'_>) -> bool {
    is_kind(object, "karpenter.k8s.aws/", "EC2NodeClass")
        || is_kind(object, "eks.amazonaws.com/", "NodeClass")
}

pub(super) fn is_kind(object: &At<'_>, api: &str, kind: &str) -> bool {
    let text = |key| match object.tree.get(key) {
        Some(Tree::Text(text)) => text.as_str(),
        _ => "",
    };
    text("apiVersion").starts_with(api) && text("kind") == kind
}

/// A node for each pool, and for each class that no pool uses.
pub(super) fn karpenter(objects: &[At<'_>]) -> Reading<Plan> {
    let mut plan = Plan::new("Karpenter's node classes and pools");
    let mut used = BTreeSet::new();
    let mut classes = BTreeMap::new();
    for class in objects.iter().filter(|it| is_class(it)) {
        classes.insert(object_name(class)?, class);
    }
    for pool in objects.iter().filter(|it| is_kind(it, "karpenter.sh/", "NodePool")) {
        let name = object_name(pool)?;
        let Some(spec) = pool.find(&["spec", "template", "spec"])? else {
            return Err(pool.wrong("it has no spec.template.spec"));
        };
        let wanted = spec.find(&["nodeClassRef"])?.map_or(Ok(None), |it| it.text_of("name"))?;
        let Some((class_name, class)) = wanted.as_ref().and_then(|wanted| classes.get_key_value(wanted))
        else {
            plan.notes
                .push(format!("the class of the pool {name} is not in the file, so the pool was left out"));
            continue;
        };
        used.insert(class_name);
        let node = of_class(&name, class, &spec, &mut plan.notes)?;
        plan.push(node)?;
    }
    for (name, class) in &classes {
        if !used.contains(name) {
            let node = of_class(name, class, &At::root(&Tree::Null), &mut plan.notes)?;
            plan.push(node)?;
        }
    }
    if plan.nodes.is_empty() {
        return Err(
            "it has no EC2NodeClass or NodeClass: put the class into the same file, after '---'".into()
        );
    }
    Ok(plan)
}

fn object_name(object: &At<'_>) -> Reading<String> {
    let name = object.get("metadata")?.map_or(Ok(None), |it| it.text_of("name"))?;
    Ok(name.unwrap_or_else(|| "unnamed".into()))
}

fn of_class(name: &str, class: &At<'_>, pool: &At<'_>, notes: &mut Vec<String>) -> Reading<Node> {
    let Some(spec) = class.get("spec")? else { return Err(class.wrong("it has no spec")) };
    let types = required(pool, "node.kubernetes.io/instance-type")?;
    let zones = required(pool, "topology.k8s.aws/zone-id")?;
    let instance_type = one_type(name, types, notes);
    let mut spots = Vec::new();
    let mut by_tag = false;
    for term in spec.list_of("subnetSelectorTerms")? {
        match term.text_of("id")? {
            Some(id) => spots.push(Spot::of(id)),
            None => by_tag = true,
        }
    }
    if by_tag {
        notes.push(format!(
            "{name} selects subnets by their tags, which the file does not resolve: name one by its id"
        ));
        spots.clear();
    }
    let mut groups = Vec::new();
    let mut further = false;
    for term in spec.list_of("securityGroupSelectorTerms")? {
        match term.text_of("id")? {
            Some(id) => groups.push(id),
            None => further = true,
        }
    }
    if further {
        notes.push(format!("{name} selects security groups by tag or name, which the file does not resolve"));
    }
    let groups = (!groups.is_empty()).then_some(groups);
    let placement = spec.get("placementGroupSelector")?;
    let placement =
        placement.map(|it| Ok::<_, String>(it.text_of("name")?.or(it.text_of("id")?))).transpose()?.flatten();
    let listed = spec.get("networkInterfaces")?.or(spec.find(&["advancedNetworking", "networkInterfaces"])?);
    let mut interfaces = Vec::new();
    if let Some(listed) = &listed {
        for it in listed.list()? {
            let (card, device) = (it.number_of("networkCardIndex")?, it.number_of("deviceIndex")?);
            let kind = node::kind(it.text_of("interfaceType")?.as_deref());
            interfaces.push(interface(kind, card.unwrap_or(0), device.unwrap_or(0), groups.clone()));
        }
    } else {
        notes.push(format!(
            "{name} names no networkInterfaces: its nodes have EFAs only for pods that ask for vpc.amazonaws.com/efa"
        ));
        let plain = instance_type.as_deref().is_some_and(types::lacks_efa);
        let kind = if plain { InterfaceKind::Interface } else { InterfaceKind::Unknown };
        interfaces.push(interface(kind, 0, 0, groups));
    }
    let node = Node {
        name: name.to_owned(),
        is_template: true,
        instance_type,
        placement: Some(PlacementFacts { group: placement, ..PlacementFacts::default() }),
        zone: if zones.len() == 1 { zones.into_iter().next() } else { None },
        spots,
        interfaces,
    };
    note_spots(&node, notes);
    Ok(node)
}

/// The values that a pool's requirement allows; none where it has no such requirement.
fn required(pool: &At<'_>, key: &str) -> Reading<Vec<String>> {
    if *pool.tree == Tree::Null {
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    for requirement in pool.list_of("requirements")? {
        let is_it = requirement.text_of("key")?.as_deref() == Some(key);
        if is_it && requirement.text_of("operator")?.as_deref() == Some("In") {
            values.extend(requirement.texts_of("values")?.unwrap_or_default());
        }
    }
    Ok(values)
}

/// A node for each group of an eksctl ClusterConfig. eksctl puts an EFA on each network card, and makes a group with both
/// rules (network_interfaces.go, vpc.go; 2026).
pub(super) fn eksctl(root: &At<'_>) -> Reading<Plan> {
    let mut plan = Plan::new("an eksctl ClusterConfig");
    let vpc = root.get("vpc")?;
    let vpc_id = vpc.as_ref().map_or(Ok(None), |it| it.text_of("id"))?;
    for key in ["managedNodeGroups", "nodeGroups"] {
        for group in root.list_of(key)? {
            let (node, rules) = node_group(&group, vpc.as_ref(), vpc_id.as_deref(), &mut plan.notes)?;
            note_spots(&node, &mut plan.notes);
            plan.push(node)?;
            plan.rules.extend(rules);
        }
    }
    if plan.nodes.is_empty() {
        return Err("it has no managedNodeGroups and no nodeGroups".into());
    }
    if !plan.rules.is_empty() {
        plan.notes.push("eksctl makes a group with both rules for each node group with efaEnabled".into());
    }
    Ok(plan)
}

fn node_group(
    group: &At<'_>,
    vpc: Option<&At<'_>>,
    vpc_id: Option<&str>,
    notes: &mut Vec<String>,
) -> Reading<(Node, Option<GroupRules>)> {
    let name = group.text_of("name")?.unwrap_or_else(|| "nodes".into());
    let mut types: Vec<String> = group.text_of("instanceType")?.into_iter().collect();
    types.extend(group.texts_of("instanceTypes")?.unwrap_or_default());
    types.retain(|it| it != "mixed");
    let distribution = group.get("instancesDistribution")?;
    types.extend(distribution.map_or(Ok(None), |it| it.texts_of("instanceTypes"))?.unwrap_or_default());
    let instance_type = one_type(&name, types, notes);
    let efa = group.flag_of("efaEnabled")?;
    let attached = group.get("securityGroups")?.map_or(Ok(None), |it| it.texts_of("attachIDs"))?;
    let mut groups = attached.unwrap_or_default();
    let made = efa.then(|| format!("{}-EFASG", id(&name)));
    groups.extend(made.clone());
    let groups = (!groups.is_empty()).then_some(groups);
    let interfaces = match efa {
        true => efa_on_each_card(instance_type.as_deref(), groups.as_deref()),
        false if group.get("launchTemplate")?.is_some() => {
            notes.push(format!(
                "{name} uses a launch template: judge that with describe-launch-template-versions"
            ));
            vec![interface(InterfaceKind::Unknown, 0, 0, groups)]
        }
        false => vec![interface(InterfaceKind::Interface, 0, 0, groups)],
    };
    let placement = group.get("placement")?.map_or(Ok(None), |it| it.text_of("groupName"))?;
    if efa && placement.is_none() {
        notes.push(format!("eksctl makes a cluster placement group for {name}"));
    }
    let placement = match placement {
        None if efa => {
            PlacementFacts { group: Some("eksctl".into()), strategy: Some("cluster".into()), partition: None }
        }
        group => PlacementFacts { group, ..PlacementFacts::default() },
    };
    let spots = subnets(group, vpc, vpc_id)?;
    if spots.is_empty() {
        notes.push(format!("eksctl chooses the subnet of {name}: the file names none by its id"));
    }
    let node = Node {
        name,
        is_template: true,
        instance_type,
        placement: Some(placement),
        zone: None,
        spots,
        interfaces,
    };
    Ok((node, made.as_deref().map(group_that_admits_itself)))
}

/// The subnets of a node group: by id, by a name among those of the VPC, or by zone where the VPC has one there.
fn subnets(group: &At<'_>, vpc: Option<&At<'_>>, vpc_id: Option<&str>) -> Reading<Vec<Spot>> {
    let class = if group.flag_of("privateNetworking")? { "private" } else { "public" };
    let named = |class: &str, name: &str| -> Reading<Option<String>> {
        let entry = vpc.map_or(Ok(None), |it| it.find(&["subnets", class, name]))?;
        entry.map_or(Ok(None), |it| it.text_of("id"))
    };
    let mut ids = Vec::new();
    for name in group.texts_of("subnets")?.unwrap_or_default() {
        let id = if name.starts_with("subnet-") {
            Some(name)
        } else {
            named("private", &name)?.or(named("public", &name)?)
        };
        match id {
            Some(id) => ids.push(id),
            None => return Ok(Vec::new()),
        }
    }
    if ids.is_empty() {
        for zone in group.texts_of("availabilityZones")?.unwrap_or_default() {
            match named(class, &zone)? {
                Some(id) => ids.push(id),
                None => return Ok(Vec::new()),
            }
        }
    }
    let spot = |subnet| Spot { subnet, vpc: vpc_id.map(str::to_owned), zone: None };
    Ok(ids.into_iter().map(spot).collect())
}
