//! Interfaces whose kind nobody could tell: whether the verdict depends on it.
//!
//! A job is admitted only if it keeps the rules with every unknown interface counted as an EFA. If it breaks a rule
//! then, and keeps the rules under another reading, nothing is known to be broken: the verdict is undetermined.

use std::collections::BTreeMap;

use super::rules::Rules;
use super::{Finding, FindingCode, Job, error, in_order, is_broken};
use crate::facts::{Facts, InterfaceKind};
use crate::names::shortened;
use crate::remedy;

/// Returns the findings of the most favourable reading, with the doubt itself, if that reading breaks no rule. `strict`
/// are the findings with every unknown interface counted as an EFA.
pub(super) fn doubt(job: &Job<'_>, rules: &Rules<'_>, strict: &[Finding]) -> Option<Vec<Finding>> {
    let names = job.names(|member| {
        member.facts.member.interfaces.iter().any(|interface| interface.kind == InterfaceKind::Unknown)
    });
    if names.is_empty() {
        return None;
    }
    let facts = favourable(job, rules);
    let mut findings = Job::new(&facts, job.site, job.policy).judge(rules);
    if is_broken(&findings) {
        return None;
    }
    let broken = strict.iter().find(|finding| is_broken(std::slice::from_ref(finding)))?;
    let message = format!(
        "which interfaces of {} are EFAs is not known, and it decides: if all are, {}",
        shortened(&names),
        broken.text.what
    );
    let why = "instance metadata does not tell the kind of an interface that has an address, and only EFA interfaces \
               need the shared subnet and security group";
    let ids: Vec<&str> = names.iter().map(|name| name.instance_id.as_str()).collect();
    let fix = remedy::describe_kinds(&ids);
    findings.push(error(FindingCode::InterfaceKindUnknown, names, [message, why.into(), fix]));
    Some(findings)
}

/// Returns the facts with every unknown interface taken for a plain one, except that a member without any other EFA
/// keeps one.
fn favourable(job: &Job<'_>, rules: &Rules<'_>) -> Vec<Facts> {
    // The subnet and group that most of the unknown interfaces have, of groups that let themselves in and out.
    let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let candidates = |facts: &Facts| !facts.member.interfaces.iter().any(is_certain_efa);
    for member in &job.members {
        for interface in &member.facts.member.interfaces {
            for group in interface.security_groups.iter().flatten().filter(|group| rules.admits(group)) {
                *places.entry((&interface.subnet_id, group)).or_default() += 1;
            }
        }
    }
    let best = places.into_iter().rev().max_by_key(|(_, count)| *count).map(|(place, _)| place);
    let read = |facts: &Facts| {
        // Which one is kept must not depend on how they are listed.
        let ordered = in_order(facts.member.interfaces.iter().collect()).into_iter().cloned().collect();
        let mut facts = facts.clone();
        facts.member.interfaces = ordered;
        let keeps_one = candidates(&facts);
        let unknown =
            |interface: &&mut crate::facts::InterfaceFacts| interface.kind == InterfaceKind::Unknown;
        let fits = |interface: &crate::facts::InterfaceFacts| {
            best.is_some_and(|(subnet, group)| {
                interface.subnet_id == subnet
                    && interface.security_groups.iter().flatten().any(|it| it == group)
            })
        };
        let kept = keeps_one.then(|| {
            let all = &facts.member.interfaces;
            let is_unknown = |place: &usize| all[*place].kind == InterfaceKind::Unknown;
            let fitting = (0..all.len()).filter(is_unknown).find(|&place| fits(&all[place]));
            fitting.or_else(|| (0..all.len()).find(is_unknown))
        });
        if let Some(Some(place)) = kept {
            facts.member.interfaces[place].kind = InterfaceKind::Efa;
        }
        facts
            .member
            .interfaces
            .iter_mut()
            .filter(unknown)
            .for_each(|interface| interface.kind = InterfaceKind::Interface);
        facts
    };
    job.members.iter().map(|member| read(member.facts)).collect()
}

fn is_certain_efa(interface: &crate::facts::InterfaceFacts) -> bool {
    matches!(interface.kind, InterfaceKind::Efa | InterfaceKind::EfaOnly)
}
