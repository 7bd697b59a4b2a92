//! Reads configurations of AWS ParallelCluster 3: each compute resource of a queue becomes a node. The file does not name
//! the interfaces. They are those that the tool attaches
//! (queues_stack.py and cluster_stack.py of 3.15, 2026).

use super::Plan;
use super::node::{self, Node, Spot, group_that_admits_itself, interface, note_spots, one_type};
use super::tree::{At, Reading};
use crate::facts::{InterfaceFacts, InterfaceKind, PlacementFacts};
use crate::types;

/// The group that ParallelCluster makes where a queue names none; it has both rules.
const MANAGED: &str = "ComputeSecurityGroup";

pub(super) fn read(root: &At<'_>) -> Reading<Plan> {
    let mut plan = Plan::new("an AWS ParallelCluster configuration");
    let Some(scheduling) = root.get("Scheduling")? else { return Ok(plan) };
    for queue in scheduling.list_of("SlurmQueues")? {
        queue_nodes(&queue, &mut plan)?;
    }
    if plan.nodes.is_empty() {
        return Err("at $.Scheduling: it has no SlurmQueues with ComputeResources".into());
    }
    plan.notes.push(
        "ParallelCluster chooses the interfaces: those were judged that version 3.15 makes for the type"
            .into(),
    );
    if plan.nodes.iter().flat_map(|it| &it.interfaces).any(in_managed_group) {
        plan.notes.push(format!("{MANAGED} is the group that ParallelCluster makes, with both rules"));
        plan.rules.push(group_that_admits_itself(MANAGED));
    }
    Ok(plan)
}

fn in_managed_group(interface: &InterfaceFacts) -> bool {
    interface.security_groups.iter().flatten().any(|group| group == MANAGED)
}

fn queue_nodes(queue: &At<'_>, plan: &mut Plan) -> Reading<()> {
    let name = queue.text_of("Name")?.unwrap_or_else(|| "queue".into());
    let networking = queue.get("Networking")?;
    let of = |key: &str| networking.as_ref().map_or(Ok(None), |it| it.texts_of(key));
    let mut groups = of("SecurityGroups")?.unwrap_or_else(|| vec![MANAGED.into()]);
    groups.extend(of("AdditionalSecurityGroups")?.unwrap_or_default());
    let spots: Vec<Spot> = of("SubnetIds")?.unwrap_or_default().into_iter().map(Spot::of).collect();
    // Every compute resource gets a copy of them.
    let shared = interface(InterfaceKind::Interface, 0, 0, Some(groups.clone()));
    Node { name: name.clone(), spots: spots.clone(), interfaces: vec![shared], ..Node::default() }
        .checked()?;
    let queue_placement = networking.as_ref().map(|it| it.get("PlacementGroup")).transpose()?.flatten();
    for resource in queue.list_of("ComputeResources")? {
        let full = format!("{name}/{}", resource.text_of("Name")?.unwrap_or_else(|| "resource".into()));
        let mut types: Vec<String> = resource.text_of("InstanceType")?.into_iter().collect();
        for instance in resource.list_of("Instances")? {
            types.extend(instance.text_of("InstanceType")?);
        }
        let first = types.first().cloned();
        let efa = resource.get("Efa")?.map_or(Ok(false), |efa| efa.flag_of("Enabled"))?;
        let own = resource.find(&["Networking", "PlacementGroup"])?;
        let node = Node {
            instance_type: one_type(&full, types, &mut plan.notes),
            placement: Some(placement(own.or_else(|| queue_placement.clone()))?),
            is_template: true,
            zone: None,
            spots: spots.clone(),
            interfaces: interfaces(first.as_deref(), efa, &groups),
            name: full,
        };
        if resource.get("LaunchTemplateOverrides")?.is_some() {
            plan.notes.push(format!("{} has LaunchTemplateOverrides, which were not judged", node.name));
        }
        note_spots(&node, &mut plan.notes);
        plan.push(node)?;
    }
    Ok(())
}

fn placement(group: Option<At<'_>>) -> Reading<PlacementFacts> {
    let Some(group) = group else { return Ok(PlacementFacts::default()) };
    let named = group.text_of("Name")?.or(group.text_of("Id")?);
    let managed = group.flag_of("Enabled")?.then(|| "managed".to_owned());
    let strategy = managed.as_ref().map(|_| "cluster".to_owned());
    Ok(PlacementFacts { strategy, group: named.or(managed), partition: None })
}

/// A plain primary interface and an `efa-only` one on each card, the first included where it takes an EFA and has two
/// slots; where it has one, the primary is `efa`.
fn interfaces(instance_type: Option<&str>, efa: bool, groups: &[String]) -> Vec<InterfaceFacts> {
    let groups = || Some(groups.to_vec());
    let cards = instance_type.and_then(types::find).map_or(&[][..], |it| &it.cards);
    let Some(first) = cards.first().filter(|_| efa) else {
        let kind = if efa { InterfaceKind::Efa } else { InterfaceKind::Interface };
        return vec![interface(kind, 0, 0, groups())];
    };
    let primary = if first.efa && first.slots < 2 { InterfaceKind::Efa } else { InterfaceKind::Interface };
    let mut all = vec![interface(primary, 0, 0, groups())];
    if first.efa && first.slots >= 2 {
        all.push(interface(InterfaceKind::EfaOnly, 0, 1, groups()));
    }
    for (card, number) in cards.iter().zip(0..).skip(1) {
        let device = u32::from(card.slots > 1);
        let kind = node::kind(Some("efa-only"));
        all.push(interface(kind, number, device, groups()));
    }
    all
}
