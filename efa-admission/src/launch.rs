//! Commands that launch an instance anew or give it an EFA, with the interfaces that its type can have.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, InterfaceFacts, InterfaceKind, known};
use super::remedy::{ask_instance, group_list, quoted, stopped};
use super::types::{self, Card};

/// What a relaunch leaves behind.
const OLD_ONES: &str =
    "the old instances keep running, with what is on them: terminate them once the job has moved";

/// Launches instances like the strays beside the model member, whose subnets, groups and placement they get. One
/// command for each instance type.
pub(super) fn beside(model: &Facts, beside: &InterfaceFacts, strays: &[&Facts], efa: bool) -> String {
    let mut by_type: BTreeMap<Option<&str>, Vec<&Facts>> = BTreeMap::new();
    for stray in strays {
        by_type.entry(known(&stray.member.instance_type)).or_default().push(stray);
    }
    let commands = by_type.into_iter().map(|(instance_type, strays)| {
        let first = strays[0];
        let instances: BTreeSet<&str> =
            strays.iter().map(|facts| facts.member.instance_id.as_str()).collect();
        let cards = instance_type.and_then(types::find).map_or(&[][..], |it| &it.cards);
        let instance_type =
            instance_type.map_or_else(|| ask_instance(first, "InstanceType"), ToOwned::to_owned);
        let group = model.member.placement.as_ref().and_then(|placement| known(&placement.group));
        let placement =
            group.map(|group| format!(" --placement GroupName={}", quoted(group))).unwrap_or_default();
        format!(
            "aws ec2 run-instances --image-id {} --instance-type {instance_type} --count {}{placement} \
             --network-interfaces {}  # {OLD_ONES}",
            ask_instance(first, "ImageId"),
            instances.len(),
            interfaces(first, model, beside, cards, efa)
        )
    });
    commands.collect::<Vec<_>>().join("\n")
}

/// Returns the interfaces of an instance like the stray: as many of each kind, on the same network cards. Plain ones
/// get the subnet and groups of the model's plain interface, the others those of its EFA. The primary one comes first,
/// and is added where the facts leave it out.
fn interfaces(stray: &Facts, model: &Facts, beside: &InterfaceFacts, cards: &[Card], efa: bool) -> String {
    let plain = plain_interface(model).unwrap_or(beside);
    let mut all: Vec<&InterfaceFacts> = stray.member.interfaces.iter().collect();
    all.sort_by_key(|it| (it.network_card.unwrap_or(0), it.device_number, &it.interface_id, &it.mac));
    let mut parts = Vec::new();
    let mut used: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    let first_is_primary = all.first().is_some_and(|it| {
        it.network_card.unwrap_or(0) == 0
            && it.device_number.unwrap_or(0) == 0
            && it.kind != InterfaceKind::EfaOnly
    });
    if !first_is_primary {
        used.entry(0).or_default().insert(0);
        parts.push(specification(0, 0, "interface", plain));
    }
    for interface in all {
        let card = interface.network_card.unwrap_or(0);
        let taken = used.entry(card).or_default();
        let device = interface
            .device_number
            .filter(|device| !taken.contains(device))
            .or_else(|| (first_device(card, cards)..).find(|device| !taken.contains(device)))
            .unwrap_or(0);
        taken.insert(device);
        let (kind, place) = match interface.kind {
            InterfaceKind::EfaOnly => ("efa-only", beside),
            InterfaceKind::Efa => ("efa", beside),
            InterfaceKind::Unknown if efa => ("efa", beside),
            InterfaceKind::Unknown | InterfaceKind::Interface => ("interface", plain),
        };
        parts.push(specification(card, device, kind, place));
    }
    parts.join(" ")
}

fn plain_interface(model: &Facts) -> Option<&InterfaceFacts> {
    model.member.interfaces.iter().filter(|it| it.kind == InterfaceKind::Interface).min_by_key(|it| {
        (it.network_card.unwrap_or(0), it.device_number.unwrap_or(u32::MAX), it.interface_id.clone())
    })
}

/// Devices of the first card count from 0, which is the primary interface. Those of other cards count from 1 by custom,
/// and from 0 on a card with one slot.
fn first_device(card: u32, cards: &[Card]) -> u32 {
    let has_one_slot = cards.get(card as usize).is_some_and(|card| card.slots == 1);
    u32::from(card > 0 && !has_one_slot)
}

fn specification(card: u32, device: u32, kind: &str, place: &InterfaceFacts) -> String {
    let groups = match group_list(place) {
        groups if groups.is_empty() => String::new(),
        groups => format!(",Groups=[{}]", groups.join(",")),
    };
    format!(
        "'NetworkCardIndex={card},DeviceIndex={device},InterfaceType={kind},SubnetId={}{groups}'",
        place.subnet_id
    )
}

/// Gives each instance an EFA in the model's subnet and groups; that takes a stopped instance.
pub(super) fn attach_efa(lacking: &[&Facts], model: Option<&InterfaceFacts>) -> String {
    let subnet = model.map_or("SUBNET_ID", |model| model.subnet_id.as_str());
    let groups = match model.map(group_list).unwrap_or_default() {
        none if none.is_empty() => String::new(),
        groups => format!(" --groups {}", groups.join(" ")),
    };
    let mut seen = BTreeSet::new();
    let commands =
        lacking.iter().filter(|facts| seen.insert(facts.member.instance_id.as_str())).map(|facts| {
            let id = &facts.member.instance_id;
            let create = format!(
                "aws ec2 create-network-interface --interface-type efa --subnet-id {subnet}{groups} \
             --query NetworkInterface.NetworkInterfaceId --output text"
            );
            let cards =
                known(&facts.member.instance_type).and_then(types::find).map_or(&[][..], |it| &it.cards);
            let card =
                cards.iter().position(|card| card.efa).and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
            let on_card = |it: &&InterfaceFacts| it.network_card.unwrap_or(0) == card;
            let there: Vec<&InterfaceFacts> = facts.member.interfaces.iter().filter(on_card).collect();
            let next = there.iter().filter_map(|it| it.device_number).max().map_or(0, |last| last + 1);
            let count = u32::try_from(there.len()).unwrap_or(u32::MAX);
            let device = next.max(count).max(first_device(card, cards));
            stopped(
                id,
                &format!(
                    "aws ec2 attach-network-interface --instance-id {id} --network-card-index {card} \
                 --device-index {device} --network-interface-id \"$({create})\""
                ),
            )
        });
    commands.collect::<Vec<_>>().join("\n")
}
