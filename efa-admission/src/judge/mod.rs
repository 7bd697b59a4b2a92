//! The judgement: facts in, report out. One file per group of rules.

mod attachment;
mod home;
mod identity;
mod kinds;
mod location;
mod machine;
mod path;
mod placement;
mod rules;
mod sharing;
mod tcp;

use super::facts::{Facts, InterfaceFacts, InterfaceKind, Site, known};
use super::groups::SecurityGroups;
use super::names::MemberName;
use super::pass::Admission;
use super::policy::Policy;
use super::report::{Finding, FindingCode, Report, Severity};
use super::{remedy, types};
use efa_error::Explanation;
use home::Home;
pub use path::CLOSED_EFA_PATH;
pub use path::ClosedPath;
use rules::Rules;

/// Judges a job by the facts of all its members and the rules of their security groups.
///
/// It does no I/O, and its report doesn't depend on the order of members, interfaces, groups or rules. Whatever
/// could not be determined is an error too: unknown means refused.
pub fn evaluate(members: &[Facts], groups: &SecurityGroups, policy: &Policy) -> Report {
    let mut findings = identity::judge(members, policy);
    let site = members.iter().map(|facts| facts.site).min().unwrap_or(Site::Host);
    let mut notes = Vec::new();
    // Facts that contradict each other say nothing about subnets and groups.
    if findings.is_empty() {
        let job = Job::new(members, site, policy);
        let rules = Rules::of(groups);
        findings = job.judge(&rules);
        if is_broken(&findings)
            && let Some(undetermined) = kinds::doubt(&job, &rules, &findings)
        {
            findings = undetermined;
        }
        notes = job.notes();
    }
    sort(&mut findings);
    let refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    let admission = (!refused).then(|| Admission::new(members, site, policy));
    Report {
        policy: policy.clone(),
        provider: None,
        site,
        members: members.len(),
        findings,
        notes,
        admission,
        ring_order: None,
    }
}

/// Returns `true` if a rule is known to be broken.
fn is_broken(findings: &[Finding]) -> bool {
    findings.iter().any(|it| it.severity == Severity::Error && !it.code.is_undetermined())
}

/// Puts findings into the order that all members of a job see them in.
fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let key = |finding: &Finding| (finding.severity, finding.code);
        key(a)
            .cmp(&key(b))
            .then_with(|| a.security_groups.cmp(&b.security_groups))
            .then_with(|| a.members.cmp(&b.members))
            .then_with(|| a.text.what.cmp(&b.text.what))
    });
}

/// The members with what is looked at of each, in the order of their ranks.
struct Job<'a> {
    site: Site,
    policy: &'a Policy,
    members: Vec<Member<'a>>,
}

/// A member and those of its interfaces that the rules apply to.
struct Member<'a> {
    facts: &'a Facts,
    interfaces: Vec<&'a InterfaceFacts>,
}

impl<'a> Job<'a> {
    fn new(facts: &'a [Facts], site: Site, policy: &'a Policy) -> Self {
        let mut members: Vec<Member<'a>> =
            facts.iter().map(|facts| Member { facts, interfaces: judged(facts, policy) }).collect();
        members.sort_by_key(|member| member.facts.member.rank);
        Self { site, policy, members }
    }

    /// Returns the findings of the job under these rules.
    fn judge(&self, rules: &Rules<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        // Members of a job without EFA that share a machine talk over shared memory or loopback.
        let stays_inside = self.policy.tcp() && self.site != Site::Host && !self.has_several_machines();
        if !stays_inside {
            findings.extend(location::judge(self));
            findings.extend(match self.policy.tcp() && self.site != Site::Host {
                true => tcp::judge(self, rules),
                false => sharing::judge(self, rules),
            });
        }
        findings.extend(attachment::judge(self));
        findings.extend(machine::judge(self));
        findings.extend(placement::judge(self));
        findings
    }

    /// Returns every interface that counts, with its member.
    fn interfaces(&self) -> impl Iterator<Item = (&Member<'a>, &'a InterfaceFacts)> {
        self.members
            .iter()
            .flat_map(|member| member.interfaces.iter().map(move |&interface| (member, interface)))
    }

    /// Returns the names of the members that `wanted` picks.
    fn names(&self, wanted: impl Fn(&Member<'a>) -> bool) -> Vec<MemberName> {
        self.members.iter().filter(|member| wanted(member)).map(Member::name).collect()
    }

    /// Returns `true` if the job runs on more than one machine.
    fn has_several_machines(&self) -> bool {
        let mut ids = self.members.iter().map(|member| &member.facts.member.instance_id);
        let first = ids.next();
        ids.any(|id| Some(id) != first)
    }

    /// Returns where most of the job is.
    fn home(&self) -> Option<Home<'a>> {
        Home::of(self)
    }

    fn notes(&self) -> Vec<String> {
        if self.site == Site::Host {
            return vec!["off EC2 there are no security groups: only the network was judged".into()];
        }
        let mut notes = Vec::new();
        let unknown = self.interfaces().filter(|(_, it)| it.kind == InterfaceKind::Unknown).count();
        if unknown > 0 && !self.policy.tcp() {
            let (interfaces, each) = if unknown == 1 { ("interface", "it") } else { ("interfaces", "each") };
            notes.push(format!(
                "whether {unknown} {interfaces} with an address carry an EFA is not known: {each} was judged as one"
            ));
        }
        if self.policy.tcp()
            && self.has_several_machines()
            && self.members.iter().any(|member| member.facts.bound_interface().is_none())
        {
            notes.push(
                "which interface the job binds is not known: every interface with an address was judged"
                    .into(),
            );
        }
        if !self.policy.efa() {
            notes.push("efa was not asked for: the verdict holds for tcp and shm only".into());
            if self.has_several_machines() {
                notes.push(
                    "one tcp flow between instances carries 5 Gbit/s, 10 in a cluster placement group".into(),
                );
            }
        }
        notes
    }
}

impl Member<'_> {
    fn name(&self) -> MemberName {
        MemberName::of(self.facts)
    }
}

/// Returns the interfaces that the rules apply to: the EFA interfaces; all of them where there is no EFA and none is
/// asked for.
///
/// A job that is known to use tcp is judged by the interface that it binds; where that is not known, by all that have
/// an address.
fn judged<'a>(facts: &'a Facts, policy: &Policy) -> Vec<&'a InterfaceFacts> {
    let all = &facts.member.interfaces;
    if policy.tcp() && facts.site != Site::Host {
        if let Some(bound) = facts.bound_interface() {
            return vec![bound];
        }
        return in_order(all.iter().filter(|interface| interface.kind != InterfaceKind::EfaOnly).collect());
    }
    let without = known(&facts.member.instance_type).is_some_and(types::lacks_efa);
    let counts = |interface: &InterfaceFacts| match interface.kind {
        InterfaceKind::Unknown => !without,
        kind => kind.counts_as_efa(),
    };
    let has_efa = all.iter().any(counts);
    if facts.site == Site::Host || (!has_efa && !policy.efa()) {
        return in_order(all.iter().collect());
    }
    in_order(all.iter().filter(|interface| counts(interface)).collect())
}

/// Returns the interfaces in an order that doesn't depend on how they were listed.
fn in_order(mut interfaces: Vec<&InterfaceFacts>) -> Vec<&InterfaceFacts> {
    interfaces.sort_by_cached_key(|interface| {
        let place = (interface.network_card, &interface.interface_id, &interface.mac);
        (place, &interface.subnet_id, interface.kind, remedy::group_list(interface))
    });
    interfaces
}

/// Returns how a message speaks of the interfaces that were judged.
fn interface_noun(interface: &InterfaceFacts) -> &'static str {
    if interface.kind == InterfaceKind::Interface { "interface" } else { "EFA interface" }
}

/// Makes an error that is about no security group.
fn error(code: FindingCode, members: Vec<MemberName>, text: [String; 3]) -> Finding {
    finding(code, Severity::Error, members, Vec::new(), text)
}

/// Makes a finding from its parts; `text` is what, why and the remedy.
fn finding(
    code: FindingCode,
    severity: Severity,
    members: Vec<MemberName>,
    security_groups: Vec<String>,
    [what, why, remedy]: [String; 3],
) -> Finding {
    let text = Explanation { what, why, remedy };
    Finding { code, severity, members, security_groups, text }
}
