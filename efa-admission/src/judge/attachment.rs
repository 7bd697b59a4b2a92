//! Interfaces that no instance of the type can have: what a file describes would not launch, or has a mistake.

use std::collections::BTreeMap;

use super::{Finding, FindingCode, Job, Member, MemberName, error};
use crate::facts::{InterfaceFacts, InterfaceKind, Site, known};
use crate::names::shortened;
use crate::{remedy, types};

/// AWS's guide to EFA and the reference of `RunInstances`: one EFA on a network card, no more than the type allows, only
/// on cards that take one, and no efa-only interface in the primary's place.
pub(super) fn judge(job: &Job<'_>) -> Vec<Finding> {
    if job.site == Site::Host || job.policy.tcp() {
        return Vec::new();
    }
    let mut by_fault: BTreeMap<String, Vec<MemberName>> = BTreeMap::new();
    for member in &job.members {
        for fault in faults(member) {
            by_fault.entry(fault).or_default().push(member.name());
        }
    }
    by_fault.into_iter().map(|(fault, names)| finding(&fault, names)).collect()
}

fn finding(fault: &str, names: Vec<MemberName>) -> Finding {
    let message = format!("{}: {fault}", shortened(&names));
    let why = format!("no instance can have such interfaces ({})", types::source());
    let ids: Vec<&str> = names.iter().map(|name| name.instance_id.as_str()).collect();
    let fix = remedy::describe_kinds(&ids);
    error(FindingCode::ImpossibleInterfaces, names, [message, why, fix])
}

fn faults(member: &Member<'_>) -> Vec<String> {
    let interfaces = &member.facts.member.interfaces;
    let efas: Vec<&InterfaceFacts> = interfaces
        .iter()
        .filter(|it| matches!(it.kind, InterfaceKind::Efa | InterfaceKind::EfaOnly))
        .collect();
    let mut faults = Vec::new();
    let mut on_card: BTreeMap<u32, usize> = BTreeMap::new();
    for card in efas.iter().filter_map(|it| it.network_card) {
        *on_card.entry(card).or_default() += 1;
    }
    if let Some((card, count)) = on_card.iter().find(|(_, count)| **count > 1) {
        faults.push(format!("network card {card} has {count} EFAs, and a card takes one"));
    }
    if efas.iter().any(|it| it.kind == InterfaceKind::EfaOnly && it.is_primary()) {
        faults.push("the primary interface is efa-only, and it must have an address".into());
    }
    let Some(name) = known(&member.facts.member.instance_type) else { return faults };
    let Some(it) = types::find(name) else { return faults };
    if it.efas == 0 && !efas.is_empty() {
        faults.push(format!("an EFA on a {name}, which has none"));
    } else if efas.len() > it.efas {
        faults.push(format!("{} EFAs on a {name}, which takes {}", efas.len(), it.efas));
    } else if !it.cards.is_empty() {
        let wrong = |card: &&u32| it.cards.get(**card as usize).is_none_or(|card| !card.efa);
        if let Some(card) = on_card.keys().find(wrong) {
            faults.push(format!("an EFA on network card {card} of a {name}, which takes none there"));
        }
    }
    faults
}
