//! Members that were admitted, and yet a message between them did not get through.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Finding, FindingCode, MemberName, Severity, finding, judged};
use crate::facts::{Facts, InterfaceFacts, Site, known};
use crate::groups::Direction;
use crate::policy::Policy;
use crate::report::Report;
use crate::{launch, remedy};

/// So many closed paths get a finding each; one more names the rest.
const PATHS_SHOWN: usize = 4;
/// So many of the rest are spelt out.
const REST_SHOWN: usize = 8;
/// So many interfaces of a member are named in a message; an instance may have 32.
const INTERFACES_SHOWN: usize = 2;

/// What a closed path between EFAs means; operations that fail for the same reason say it in the same words.
pub const CLOSED_EFA_PATH: &str = "an EFA delivers only between interfaces in one subnet that share a security \
                                          group with rules from and to itself, and a peer whose host is down looks the \
                                          same";

/// A way from one member to another that a message did not get through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClosedPath {
    /// The rank that sent.
    pub from: usize,
    /// The rank that should have received.
    pub to: usize,
    /// What was seen of it, as a clause: `nothing arrived within 10 s`.
    pub seen: String,
}

impl Report {
    /// Returns the verdict once the admitted members have tried to reach one another: each path that is closed is an error, and
    /// with one the job is no longer admitted. `members` are the facts that the report was made from; paths to or from
    /// anybody else are left out. A path that both its ends complain about may be named twice.
    pub fn with_closed_paths(mut self, members: &[Facts], closed: &[ClosedPath]) -> Self {
        let paths = merged(closed);
        let by_rank: BTreeMap<usize, &Facts> =
            members.iter().map(|facts| (facts.member.rank, facts)).collect();
        let ends = |path: &ClosedPath| Some((*by_rank.get(&path.from)?, *by_rank.get(&path.to)?));
        let known: Vec<_> = paths.iter().filter_map(|path| Some((path, ends(path)?))).collect();
        if known.is_empty() {
            return self;
        }
        let mut found = Vec::new();
        for &(path, (from, to)) in known.iter().take(PATHS_SHOWN) {
            let message = format!(
                "no message from {} reaches {}: {}",
                described(from, &self.policy),
                described(to, &self.policy),
                path.seen
            );
            let text = [message, why(&self.policy), fix(from, to, &self.policy)];
            found.push(closed_path(&[(from, to)], &self.policy, text));
        }
        if let Some((_, (from, to))) = known.get(PATHS_SHOWN) {
            let rest = &known[PATHS_SHOWN..];
            let ways = rest.iter().take(REST_SHOWN).map(|(path, _)| format!("{} to {}", path.from, path.to));
            let more = if rest.len() > REST_SHOWN { ", ..." } else { "" };
            let ways = ways.collect::<Vec<_>>().join(", ");
            let paths = if rest.len() == 1 { "path is" } else { "paths are" };
            let message = format!("{} more {paths} closed, from rank {ways}{more}", rest.len());
            let text = [message, why(&self.policy), fix(from, to, &self.policy)];
            let pairs: Vec<_> = rest.iter().map(|(_, ends)| *ends).collect();
            found.push(closed_path(&pairs, &self.policy, text));
        }
        // What an admitted job has besides are warnings, which come later.
        self.findings.splice(0..0, found);
        self.admission = None;
        self
    }
}

/// Returns each path once, in order, with what was seen at either end.
fn merged(closed: &[ClosedPath]) -> Vec<ClosedPath> {
    let ordered: BTreeSet<&ClosedPath> = closed.iter().collect();
    let mut paths: Vec<ClosedPath> = Vec::new();
    for path in ordered {
        match paths.last_mut() {
            Some(last) if (last.from, last.to) == (path.from, path.to) => {
                last.seen += &format!(", and {}", path.seen);
            }
            _ => paths.push(path.clone()),
        }
    }
    paths
}

fn closed_path(pairs: &[(&Facts, &Facts)], policy: &Policy, text: [String; 3]) -> Finding {
    let members: BTreeSet<MemberName> =
        pairs.iter().flat_map(|(from, to)| [MemberName::of(from), MemberName::of(to)]).collect();
    let groups: BTreeSet<String> = pairs
        .iter()
        .flat_map(|(from, to)| [from, to])
        .flat_map(|facts| judged(facts, policy))
        .flat_map(|interface| remedy::group_list(interface))
        .map(str::to_owned)
        .collect();
    finding(
        FindingCode::PathClosed,
        Severity::Error,
        members.into_iter().collect(),
        groups.into_iter().collect(),
        text,
    )
}

/// Returns a member with its host and its interfaces: `rank 1 (node-b, i-0b: eni-0b in subnet-1 with sg-1)`.
fn described(facts: &Facts, policy: &Policy) -> String {
    let interfaces = judged(facts, policy);
    let mut parts: Vec<String> = interfaces
        .iter()
        .take(INTERFACES_SHOWN)
        .map(|interface| {
            let id = known(&interface.interface_id).unwrap_or("an interface");
            let address = address(interface).map(|it| format!(" {it}")).unwrap_or_default();
            let groups = match remedy::group_list(interface) {
                none if none.is_empty() => String::new(),
                groups => format!(" with {}", groups.join(" and ")),
            };
            format!("{id}{address} in {}{groups}", interface.subnet_id)
        })
        .collect();
    let hidden = interfaces.len().saturating_sub(INTERFACES_SHOWN);
    if hidden > 0 {
        parts.push(format!("{hidden} more"));
    }
    let id = &facts.member.instance_id;
    let host = match known(&facts.member.host) {
        // Off EC2 the member is named after its host.
        Some(host) if facts.site == Site::Host => host.to_owned(),
        Some(host) => format!("{host}, {id}"),
        None => id.clone(),
    };
    format!("rank {} ({host}: {})", facts.member.rank, parts.join(", "))
}

fn address(interface: &InterfaceFacts) -> Option<String> {
    let v4 = interface.ipv4.first().map(ToString::to_string);
    v4.or_else(|| interface.ipv6.first().map(ToString::to_string))
}

fn why(policy: &Policy) -> String {
    match policy.efa() {
        true => CLOSED_EFA_PATH.into(),
        false => {
            "every rank must reach every other, and something between the two lets nothing through".into()
        }
    }
}

fn fix(from: &Facts, to: &Facts, policy: &Policy) -> String {
    let (ours, theirs) = (judged(from, policy), judged(to, policy));
    if from.site == Site::Host {
        return off_ec2(
            from.member.rank,
            ours.first().copied(),
            to.member.rank,
            theirs.first().copied(),
            policy,
        );
    }
    let beside = ours.first().copied();
    if let Some(beside) = beside.filter(|beside| theirs.iter().any(|it| it.subnet_id != beside.subnet_id))
        && policy.efa()
    {
        return launch::beside(from, beside, &[to], true);
    }
    let theirs: BTreeSet<&str> = theirs.iter().flat_map(|it| remedy::group_list(it)).collect();
    let shared = ours.iter().flat_map(|it| remedy::group_list(it)).find(|group| theirs.contains(group));
    let instances = [from.member.instance_id.as_str(), to.member.instance_id.as_str()];
    let status = format!("{}  # are both up?", remedy::describe_status(&instances));
    match shared {
        Some(group) => format!(
            "{}\n{}\n{status}",
            remedy::authorize(group, Direction::Ingress),
            remedy::authorize(group, Direction::Egress)
        ),
        None => format!("{}\n{status}", remedy::describe_interfaces(&instances)),
    }
}

/// Returns what to look at where there are no security groups.
fn off_ec2(
    from: usize,
    ours: Option<&InterfaceFacts>,
    to: usize,
    theirs: Option<&InterfaceFacts>,
    policy: &Policy,
) -> String {
    if policy.efa() {
        return "unset EFA_EMULATOR_PLAN  # off EC2 the device is an emulated one, which fails by its plan only".into();
    }
    match (ours.and_then(address), theirs.and_then(address)) {
        (Some(ours), Some(theirs)) if ours != theirs => format!(
            "sudo iptables -I INPUT -s {ours} -j ACCEPT  # on rank {to}'s host, if its firewall keeps rank {from} out\n\
             ip route get {ours}  # on rank {to}'s host: answers need a way back"
        ),
        _ => "df -h /dev/shm  # both ranks must see the same one, and it must not be full".into(),
    }
}
