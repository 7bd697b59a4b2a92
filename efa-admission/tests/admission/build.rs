//! Jobs to judge, written as files and read back the way users' files are.

use std::io::Write;
use std::path::{Path, PathBuf};

use efa_admission::{
    Facts, FindingCode, HostFacts, InterfaceFacts, InterfaceKind, MemberFacts, Policy, Report,
    SecurityGroups, Severity, Site, evaluate, source,
};
use serde_json::{Value, json};

/// A file that is gone when the value is.
pub(crate) fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a scratch file");
    file.write_all(text.as_bytes()).expect("a scratch file that can be written");
    file
}

/// A fixture in the form in which `aws ec2 describe-security-groups` prints groups.
pub(crate) fn groups(name: &str) -> SecurityGroups {
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/admission/groups/{name}.json"));
    source::file::read_security_groups(&path).expect("a good fixture")
}

/// The members, written to a file and read back.
pub(crate) fn members(members: &[Value]) -> Vec<Facts> {
    let file = file(&Value::from(members).to_string());
    source::file::read_members(file.path()).expect("good members")
}

pub(crate) fn member(rank: usize, interfaces: &[Value]) -> Value {
    json!({
        "rank": rank, "host": format!("node-{rank}"), "instance_id": format!("i-{rank}"),
        "instance_type": "hpc7a.96xlarge", "availability_zone_id": "use1-az4",
        "placement": {"group": "pg-1", "strategy": "cluster", "partition": null},
        "interfaces": interfaces,
    })
}

/// An interface; its id follows from the member's rank and its own number.
pub(crate) fn interface(rank: usize, number: u32, kind: &str, subnet: &str, groups: &[&str]) -> Value {
    let address = format!("10.{number}.{}.{}", rank / 256, rank % 256);
    let addresses = if kind == "efa-only" { json!([]) } else { json!([address]) };
    json!({
        "interface_id": format!("eni-{rank}-{number}"), "mac": format!("02:00:00:00:{number:02x}:{rank:02x}"),
        "kind": kind, "network_card": number, "subnet_id": subnet, "vpc_id": "vpc-1",
        "security_groups": groups, "ipv4": addresses, "ipv6": [],
    })
}

/// So many members with one EFA interface each, all in one place and in one group.
pub(crate) fn uniform(count: usize) -> Vec<Value> {
    (0..count).map(|rank| member(rank, &[interface(rank, 0, "efa", "subnet-1", &["sg-1"])])).collect()
}

pub(crate) fn strict() -> Policy {
    Policy::strict().requires_efa(true)
}

pub(crate) fn same_zone() -> Policy {
    Policy::same_zone().requires_efa(true)
}

pub(crate) fn codes(report: &Report, severity: Severity) -> Vec<&'static str> {
    let findings = report.findings().iter().filter(|finding| finding.severity == severity);
    findings.map(|finding| finding.code.name()).collect()
}

pub(crate) fn fix_of(report: &Report, code: FindingCode) -> &str {
    let finding = report.findings().iter().find(|finding| finding.code == code);
    &finding.unwrap_or_else(|| panic!("no {} in\n{report}", code.name())).text.remedy
}

/// A member that was judged by its own host.
pub(crate) fn host_member(rank: usize, machine: &str, network: &str) -> Facts {
    let member = MemberFacts {
        rank,
        host: Some(machine.into()),
        instance_id: machine.into(),
        instance_type: None,
        availability_zone_id: None,
        placement: None,
        interfaces: vec![InterfaceFacts {
            interface_id: Some("eth0".into()),
            mac: None,
            kind: InterfaceKind::Interface,
            network_card: None,
            device_number: None,
            subnet_id: network.into(),
            vpc_id: None,
            security_groups: None,
            ipv4: Vec::new(),
            ipv6: Vec::new(),
        }],
    };
    let host = HostFacts { memlock_bytes: Some(u64::MAX), efa_devices: 0, providers: Vec::new() };
    Facts { site: Site::Host, member, host: Some(host), failure: None, bound: None }
}

pub(crate) fn judge(values: &[Value], rules: &str, policy: &Policy) -> Report {
    evaluate(&members(values), &groups(rules), policy)
}
