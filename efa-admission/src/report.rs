//! The verdict on a job, with a reason and a remedy for everything that is wrong.

use serde::{Serialize, Serializer};

use super::facts::Site;
use super::names::MemberName;
use super::pass::Admission;
use super::policy::Policy;
use efa_error::{Error, Explanation, Result};

/// The verdict on a job. It serialises as `efa doctor --json` prints it, and `Display` gives the table for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub(super) policy: Policy,
    /// The provider asked for, by name; `None` when only the policy tells.
    pub(super) provider: Option<String>,
    pub(super) site: Site,
    pub(super) members: usize,
    pub(super) findings: Vec<Finding>,
    pub(super) notes: Vec<String>,
    /// There exactly when no finding is an error.
    pub(super) admission: Option<Admission>,
    /// How a ring should go through the members; `None` where the network between them is not known.
    pub(super) ring_order: Option<Vec<usize>>,
}

/// One thing that is wrong, or could be better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which rule it is about.
    pub code: FindingCode,
    /// Whether it keeps the job from being admitted.
    pub severity: Severity,
    /// The members it is about, in the order of their ranks.
    pub members: Vec<MemberName>,
    /// The security groups it is about, in the order of their ids.
    pub security_groups: Vec<String>,
    /// What is wrong, why it matters, and the command that mends it; several commands stand on a line each. In JSON
    /// they are `message`, `why` and `fix`, next to the code.
    #[serde(flatten, serialize_with = "as_message")]
    pub text: Explanation,
}

/// Writes the sentences of a finding by the names that `efa doctor --json` has for them.
fn as_message<S: Serializer>(text: &Explanation, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Message<'a> {
        message: &'a str,
        why: &'a str,
        fix: &'a str,
    }
    Message { message: &text.what, why: &text.why, fix: &text.remedy }.serialize(serializer)
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The job is refused.
    Error,
    /// The job is admitted, but may run slower than it could, or the user should know.
    Warning,
}

/// The rule that a finding is about. Reports list findings in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingCode {
    /// Members are in different availability zones.
    DifferentZone,
    /// Members are in different VPCs.
    DifferentVpc,
    /// Members are in different subnets; off EC2, in different networks.
    DifferentSubnet,
    /// A member has no EFA interface.
    NoEfaInterface,
    /// No security group is on all interfaces that count.
    NoSharedSecurityGroup,
    /// The shared group does not let in all traffic from itself.
    MissingSelfIngress,
    /// The shared group does not let out all traffic to itself.
    MissingSelfEgress,
    /// The rules of a group are not among those that are known.
    SecurityGroupNotFound,
    /// No rules could be determined.
    RulesUnknown,
    /// Who or where a member is could not be determined.
    IdentityUnknown,
    /// The process may not lock the memory that EFA needs.
    MemlockLimit,
    /// The process sees no EFA device.
    NoEfaDevice,
    /// An instance type cannot have the interfaces that a member has.
    ImpossibleInterfaces,
    /// EFA traffic does not pass between these instance types.
    IncompatibleInstanceTypes,
    /// No security group is shared, but the groups let each other in and out.
    GroupsAdmitEachOther,
    /// The rules of a member do not let in tcp from another member.
    TcpIngressBlocked,
    /// The rules of a member do not let out tcp to another member.
    TcpEgressBlocked,
    /// Which interfaces are EFAs is not known, and the verdict depends on it.
    InterfaceKindUnknown,
    /// A message between two admitted members did not get through.
    PathClosed,
    /// A group beside the shared one does not admit itself.
    ExtraGroupWithoutSelfRule,
    /// Members are of different instance types.
    MixedInstanceTypes,
    /// A member is in no cluster placement group.
    NotInClusterPlacementGroup,
    /// Members are in different placement groups.
    DifferentPlacementGroups,
}

impl FindingCode {
    /// Returns its name in reports, such as `missing-self-egress`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DifferentZone => "different-zone",
            Self::DifferentVpc => "different-vpc",
            Self::DifferentSubnet => "different-subnet",
            Self::NoEfaInterface => "no-efa-interface",
            Self::NoSharedSecurityGroup => "no-shared-security-group",
            Self::MissingSelfIngress => "missing-self-ingress",
            Self::MissingSelfEgress => "missing-self-egress",
            Self::SecurityGroupNotFound => "security-group-not-found",
            Self::RulesUnknown => "rules-unknown",
            Self::IdentityUnknown => "identity-unknown",
            Self::MemlockLimit => "memlock-limit",
            Self::NoEfaDevice => "no-efa-device",
            Self::ImpossibleInterfaces => "impossible-interfaces",
            Self::IncompatibleInstanceTypes => "incompatible-instance-types",
            Self::GroupsAdmitEachOther => "groups-admit-each-other",
            Self::TcpIngressBlocked => "tcp-ingress-blocked",
            Self::TcpEgressBlocked => "tcp-egress-blocked",
            Self::InterfaceKindUnknown => "interface-kind-unknown",
            Self::PathClosed => "path-closed",
            Self::ExtraGroupWithoutSelfRule => "extra-group-without-self-rule",
            Self::MixedInstanceTypes => "mixed-instance-types",
            Self::NotInClusterPlacementGroup => "not-in-cluster-placement-group",
            Self::DifferentPlacementGroups => "different-placement-groups",
        }
    }

    /// Returns `true` if it says that something could not be determined, rather than that a rule is broken.
    pub fn is_undetermined(self) -> bool {
        matches!(
            self,
            Self::SecurityGroupNotFound
                | Self::RulesUnknown
                | Self::IdentityUnknown
                | Self::InterfaceKindUnknown
        )
    }
}

impl Serialize for FindingCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Report {
    /// Returns `true` if the job may open endpoints: no finding is an error.
    pub fn admitted(&self) -> bool {
        self.admission.is_some()
    }

    /// Returns the policy that the job was judged by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns where the facts came from.
    pub fn site(&self) -> Site {
        self.site
    }

    /// Returns how many members the job has.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Returns what was found: errors first, each kind in the order of [`FindingCode`].
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Names the provider that was asked for, or that a job has chosen, in the report.
    pub fn with_provider(mut self, provider: impl Into<String>) -> Self {
        self.provider = Some(provider.into());
        self
    }

    /// Returns the provider that the job was judged for; `auto` when none was asked for.
    pub fn provider(&self) -> &str {
        let by_policy = match (self.policy.efa(), self.policy.tcp()) {
            (true, _) => "efa",
            (_, true) => "tcp",
            _ => "auto",
        };
        self.provider.as_deref().unwrap_or(by_policy)
    }

    /// Adds what people should know beside the findings.
    pub fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Puts words in the place of commands that would name what does not exist yet: for a job that a plan describes.
    pub fn for_a_plan(mut self) -> Self {
        for finding in &mut self.findings {
            let has_ids = finding.security_groups.iter().all(|id| id.starts_with("sg-"));
            let about_groups = matches!(
                finding.code,
                FindingCode::MissingSelfIngress
                    | FindingCode::MissingSelfEgress
                    | FindingCode::SecurityGroupNotFound
            );
            if !(about_groups && has_ids) && finding.text.remedy.contains("aws ") {
                finding.text.remedy = in_a_plan(finding.code, &finding.security_groups.join(", "));
            }
        }
        self
    }

    /// Returns what people should know beside the findings.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the order of ranks in which a ring crosses the network's upper layers as rarely as possible; `None`
    /// where the network is not known, which leaves the ranks in the order of their numbers.
    pub fn ring_order(&self) -> Option<&[usize]> {
        self.ring_order.as_deref()
    }

    /// Returns the exit status of `efa doctor`: 0 admitted; 1 a rule is broken; 3 no rule is known to be broken, but
    /// something could not be determined.
    pub fn exit_status(&self) -> u8 {
        if self.admitted() {
            0
        } else if self.errors().any(|finding| !finding.code.is_undetermined()) {
            1
        } else {
            3
        }
    }

    /// Returns the pass for this membership.
    ///
    /// # Errors
    /// [`Error::Refused`] with the first error of the report.
    pub fn admit(&self) -> Result<Admission> {
        if let Some(admission) = &self.admission {
            return Ok(admission.clone());
        }
        let first = self.errors().next().expect("a report without an error holds an admission");
        let further = match self.errors().count() - 1 {
            0 => String::new(),
            1 => ", and 1 more finding, which 'efa doctor' shows".to_owned(),
            count => format!(", and {count} more findings, which 'efa doctor' shows"),
        };
        Err(Error::refused(
            self.exit_status() == 3,
            format!("admission refused the job [{}]", first.code.name()),
            format!("{}{further}", first.text.what),
            first.text.remedy.lines().next().unwrap_or_default(),
        ))
    }

    fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }
}

/// Returns what mends a plan.
fn in_a_plan(code: FindingCode, groups: &str) -> String {
    use FindingCode as Code;
    match code {
        Code::MissingSelfIngress => {
            format!(
                "in the file: give {groups} an inbound rule of protocol -1 whose source is {groups} itself"
            )
        }
        Code::MissingSelfEgress => {
            format!(
                "in the file: give {groups} an outbound rule of protocol -1 whose destination is {groups} itself"
            )
        }
        Code::NoSharedSecurityGroup | Code::GroupsAdmitEachOther | Code::ExtraGroupWithoutSelfRule => {
            "in the file: give every EFA interface one group that lets all traffic of itself in and out"
                .into()
        }
        Code::DifferentSubnet | Code::DifferentZone | Code::DifferentVpc => {
            "in the file: name one subnet for all instances of the job".into()
        }
        Code::NoEfaInterface | Code::InterfaceKindUnknown => {
            "in the file: name the interfaces with their InterfaceType, efa or efa-only".into()
        }
        Code::ImpossibleInterfaces | Code::IncompatibleInstanceTypes | Code::MixedInstanceTypes => {
            "in the file: name one instance type, and the interfaces that it takes".into()
        }
        Code::NotInClusterPlacementGroup | Code::DifferentPlacementGroups => {
            "in the file: name one placement group of the strategy cluster".into()
        }
        Code::SecurityGroupNotFound | Code::RulesUnknown => {
            "efa doctor --members FILE --security-groups GROUPS  # rules that the file does not have".into()
        }
        _ => "in the file: write down what the finding names, by its id".into(),
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            admitted: bool,
            policy: String,
            provider: &'a str,
            site: Site,
            members: usize,
            notes: &'a [String],
            findings: &'a [Finding],
        }
        let json = Json {
            admitted: self.admitted(),
            policy: self.policy.to_string(),
            provider: self.provider(),
            site: self.site,
            members: self.members,
            notes: &self.notes,
            findings: &self.findings,
        };
        json.serialize(serializer)
    }
}
