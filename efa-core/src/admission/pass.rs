//! The pass that an endpoint asks for.

use std::fmt;

use sha2::{Digest, Sha256};

use super::facts::{Facts, Site};
use super::policy::Policy;

/// Shows that a job was judged and may open endpoints. Only [`Report::admit`](super::Report::admit) gives one, and
/// it holds for the membership that was judged: a job whose members or whose facts change needs a new one.
///
/// ```compile_fail
/// // There is no other way to get one.
/// let admission = efa_core::admission::Admission { members: 1 };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    members: usize,
    site: Site,
    policy: Policy,
    fingerprint: Fingerprint,
}

/// A SHA-256 digest of a membership and of the policy that it was judged by. It doesn't depend on the order of
/// members, interfaces, groups and addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Admission {
    /// For `evaluate` alone, once it has found no error.
    pub(super) fn new(facts: &[Facts], site: Site, policy: &Policy) -> Self {
        Self {
            members: facts.len(),
            site,
            policy: policy.clone(),
            fingerprint: Fingerprint::of(facts, policy),
        }
    }

    /// How many members the job has.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Where the facts came from.
    pub fn site(&self) -> Site {
        self.site
    }

    /// The policy that the job was judged by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether it covers the efa provider: only when the job was judged for it.
    pub fn permits_efa(&self) -> bool {
        self.policy.efa()
    }

    /// What it was given for; equal at all ranks of a job.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether it was given for exactly these members with exactly these facts, in whatever order.
    pub fn covers(&self, facts: &[Facts]) -> bool {
        facts.len() == self.members && Fingerprint::of(facts, &self.policy) == self.fingerprint
    }
}

impl Fingerprint {
    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(facts: &[Facts], policy: &Policy) -> Self {
        let mut ordered: Vec<&Facts> = facts.iter().collect();
        ordered.sort_by_key(|facts| facts.member.rank);
        let mut digest = Sha256::new();
        digest.update(format!("admission 1 {} {policy:?}\n", facts.len()));
        for facts in ordered {
            digest.update(serde_json::to_vec(&canonical(facts)).expect("facts are plain data"));
            digest.update(b"\n");
        }
        Self(digest.finalize().into())
    }
}

/// The facts with every list whose order means nothing in one order.
fn canonical(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    for interface in &mut facts.member.interfaces {
        interface.ipv4.sort_unstable();
        interface.ipv6.sort_unstable();
        if let Some(groups) = &mut interface.security_groups {
            groups.sort_unstable();
            groups.dedup();
        }
    }
    facts.member.interfaces.sort_by(|a, b| {
        let key = |facts: &super::InterfaceFacts| (facts.interface_id.clone(), facts.mac.clone());
        key(a).cmp(&key(b)).then_with(|| format!("{a:?}").cmp(&format!("{b:?}")))
    });
    facts
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}
