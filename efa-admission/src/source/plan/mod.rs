//! What people write down before a launch: Terraform, CloudFormation, ParallelCluster, Karpenter, eksctl. Recognised by
//! content, made into members and, where the file has them, the rules of groups.
//!
//! What a form can't tell is a note, never a guess.

mod cloudformation;
pub(super) mod json;
mod kubernetes;
mod node;
mod parallelcluster;
mod terraform;
pub(super) mod tree;
pub(super) mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::{InterfaceKind, MemberFacts};
use crate::groups::GroupRules;
use node::Node;
use tree::{At, Reading, Tree};

/// Interfaces that one file may describe.
const MOST_INTERFACES: usize = 400_000;
/// Notes that are shown; a file with thousands of nodes may be worth thousands.
const MOST_NOTES: usize = 20;

/// What a file describes.
pub(super) struct Plan {
    /// What it was taken for.
    pub(super) form: &'static str,
    nodes: Vec<Node>,
    /// How many interfaces they have together.
    interfaces: usize,
    pub(super) notes: Vec<String>,
    pub(super) rules: Vec<GroupRules>,
    /// Whether names stand for what is still to be created, so that no remedy can name it.
    pub(super) is_symbolic: bool,
    /// Names that stand for values which the file does not have, and which may be equal.
    opaque: BTreeSet<String>,
}

/// Members of a plan.
pub(super) struct Chosen {
    pub(super) members: Vec<MemberFacts>,
    /// Whether they are places that instances of one description may start in.
    pub(super) is_template: bool,
}

impl Plan {
    fn new(form: &'static str) -> Self {
        let (nodes, notes, rules) = (Vec::new(), Vec::new(), Vec::new());
        Self { form, nodes, interfaces: 0, notes, rules, is_symbolic: true, opaque: BTreeSet::new() }
    }

    /// Takes one more node, as long as all together stay within what is judged in seconds.
    fn push(&mut self, node: Node) -> Reading<()> {
        let node = node.checked()?;
        self.interfaces += node.interfaces.len() * node.spots.len().max(1);
        if self.interfaces > MOST_INTERFACES {
            return Err(format!("it describes more than {MOST_INTERFACES} interfaces"));
        }
        self.nodes.push(node);
        Ok(())
    }

    /// What documents describe, if they are of a known form.
    pub(super) fn of(documents: &[Tree]) -> Reading<Self> {
        let all: Vec<At<'_>> = documents.iter().filter(|it| **it != Tree::Null).map(At::root).collect();
        let objects = kubernetes::objects(&all)?;
        if objects.iter().any(kubernetes::is_class_or_pool) {
            return kubernetes::karpenter(&objects);
        }
        if let Some(cluster) =
            objects.iter().find(|it| kubernetes::is_kind(it, "eksctl.io/", "ClusterConfig"))
        {
            return kubernetes::eksctl(cluster);
        }
        let [root] = &all[..] else { return Err(NO_KNOWN_FORM.into()) };
        let has = |key| root.tree.get(key).is_some();
        if has("format_version") && (has("planned_values") || has("values") || has("terraform_version")) {
            return terraform::read(root);
        }
        if has("lineage") && has("terraform_version") {
            return Err("it is Terraform's own state file: give what 'terraform show -json' prints".into());
        }
        if has("Resources") {
            return cloudformation::read(root);
        }
        if has("Scheduling") {
            return parallelcluster::read(root);
        }
        Err(NO_KNOWN_FORM.into())
    }

    /// The members: of all instances, or of the description that `only` names.
    pub(super) fn choose(&mut self, only: Option<&str>) -> Result<Chosen, String> {
        let meant: Vec<&Node> = match only {
            Some(only) => self.nodes.iter().filter(|node| node.is_meant(only)).collect(),
            None => self.nodes.iter().collect(),
        };
        let names = || {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).take(12).collect();
            names.join(", ")
        };
        if let Some(only) = only.filter(|_| meant.is_empty()) {
            return Err(format!("nothing in it is called {only}: it describes {}", names()));
        }
        let is_template = meant.iter().any(|node| node.is_template);
        if only.is_none() && is_template && meant.len() > 1 {
            return Err(format!(
                "it describes several kinds of instances: choose with --only one of {}",
                names()
            ));
        }
        let mut members: Vec<MemberFacts> = meant.iter().flat_map(|node| node.members()).collect();
        members.iter_mut().zip(0..).for_each(|(member, rank)| member.rank = rank);
        self.leave_open(&mut members);
        self.shorten_notes();
        Ok(Chosen { members, is_template })
    }

    /// Leaves out repeated notes, and those beyond what anybody reads.
    fn shorten_notes(&mut self) {
        let mut seen = BTreeSet::new();
        self.notes.retain(|note| seen.insert(note.clone()));
        let more = self.notes.len().saturating_sub(MOST_NOTES);
        if more > 0 {
            self.notes.truncate(MOST_NOTES);
            self.notes.push(format!("and {more} further notes"));
        }
    }

    /// Two names whose values are not in the file may stand for one value: where the members have several of them, their
    /// place is not known.
    fn leave_open(&mut self, members: &mut [MemberFacts]) {
        let interfaces = || members.iter().flat_map(|it| &it.interfaces).filter(|it| it.kind.counts_as_efa());
        let subnets: BTreeSet<&str> = interfaces().map(|it| it.subnet_id.as_str()).collect();
        let vpcs: BTreeSet<&str> = interfaces().filter_map(|it| it.vpc_id.as_deref()).collect();
        let is_open =
            |values: &BTreeSet<&str>| values.len() > 1 && values.iter().any(|it| self.opaque.contains(*it));
        let (open_subnets, open_vpcs) = (is_open(&subnets), is_open(&vpcs));
        let mut held: BTreeMap<&String, usize> = BTreeMap::new();
        for group in interfaces().flat_map(|it| it.security_groups.iter().flatten().collect::<BTreeSet<_>>())
        {
            *held.entry(group).or_default() += 1;
        }
        let count = interfaces().count();
        let open_groups = held.len() > 1
            && held.keys().any(|it| self.opaque.contains(*it))
            && !held.values().any(|holders| *holders == count);
        let mut found: BTreeSet<String> = BTreeSet::new();
        for interface in members.iter_mut().flat_map(|it| &mut it.interfaces) {
            if open_subnets
                && interface.kind != InterfaceKind::Interface
                && self.opaque.contains(&interface.subnet_id)
            {
                found.insert(std::mem::take(&mut interface.subnet_id));
            }
            if open_vpcs && interface.vpc_id.as_ref().is_some_and(|it| self.opaque.contains(it)) {
                found.extend(interface.vpc_id.take());
            }
            let groups = interface.security_groups.iter().flatten();
            let unknown: Vec<String> = groups.filter(|it| self.opaque.contains(*it)).cloned().collect();
            if open_groups && !unknown.is_empty() {
                found.extend(unknown);
                interface.security_groups = None;
            }
        }
        if !found.is_empty() {
            let names: Vec<String> = found.into_iter().take(12).collect();
            self.notes.push(format!(
                "the file does not have the values of {}, which may be equal",
                names.join(", ")
            ));
        }
    }
}

pub(super) const NO_KNOWN_FORM: &str = "it is none of: a list of members; what 'aws ec2 describe-instances', \
     'describe-network-interfaces', 'describe-launch-template-versions' or 'terraform show -json' prints; a CloudFormation \
     template; a configuration of AWS ParallelCluster 3, Karpenter or eksctl";
