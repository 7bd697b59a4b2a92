//! Every rule, broken and kept.

use efa_core::Error;
use efa_core::admission::{Policy, SecurityGroups, Severity, evaluate};
use serde_json::{Value, json};

use crate::build::*;

/// A job and what must come of it.
struct Case {
    name: &'static str,
    members: Vec<Value>,
    groups: &'static str,
    policy: Policy,
    exit: u8,
    errors: &'static [&'static str],
    warnings: &'static [&'static str],
}

fn case(name: &'static str, members: Vec<Value>, groups: &'static str) -> Case {
    Case { name, members, groups, policy: strict(), exit: 0, errors: &[], warnings: &[] }
}

impl Case {
    fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    fn refused(self, errors: &'static [&'static str]) -> Self {
        Self { exit: 1, errors, ..self }
    }

    fn undetermined(self, errors: &'static [&'static str]) -> Self {
        Self { exit: 3, errors, ..self }
    }

    fn warned(self, warnings: &'static [&'static str]) -> Self {
        Self { warnings, ..self }
    }
}

/// The members with something changed in the last one.
fn last_changed(count: usize, change: impl Fn(&mut Value)) -> Vec<Value> {
    let mut members = uniform(count);
    change(members.last_mut().expect("at least one"));
    members
}

/// Two members whose interfaces are given by kind and groups, all in one subnet.
fn two_with(interfaces: &[(&str, &[&str])]) -> Vec<Value> {
    (0..2)
        .map(|rank| {
            let interfaces: Vec<Value> = (0..)
                .zip(interfaces)
                .map(|(number, (kind, groups))| interface(rank, number, kind, "subnet-1", groups))
                .collect();
            member(rank, &interfaces)
        })
        .collect()
}

fn one_group_each() -> Vec<Value> {
    vec![
        member(0, &[interface(0, 0, "efa", "subnet-1", &["sg-1"])]),
        member(1, &[interface(1, 0, "efa", "subnet-1", &["sg-2"])]),
    ]
}

fn rules_of_groups() -> Vec<Case> {
    vec![
        case("right group", uniform(3), "right"),
        case("one member", uniform(1), "right"),
        case("ingress only", uniform(3), "ingress-only").refused(&["missing-self-egress"]),
        case("egress only", uniform(3), "egress-only").refused(&["missing-self-ingress"]),
        case("0.0.0.0/0 and ::/0 both ways", uniform(3), "open-to-the-world")
            .refused(&["missing-self-ingress", "missing-self-egress"]),
        case("prefix lists both ways", uniform(3), "prefix-list")
            .refused(&["missing-self-ingress", "missing-self-egress"]),
        case("a VPC's default group", uniform(3), "vpc-default").refused(&["missing-self-egress"]),
        case("self pair second in the second entry", uniform(3), "self-second"),
        case("all of tcp is not all traffic", uniform(3), "tcp-only")
            .refused(&["missing-self-ingress", "missing-self-egress"]),
        case("two groups that refer to each other", one_group_each(), "mutual")
            .refused(&["no-shared-security-group"])
            .warned(&["extra-group-without-self-rule"]),
        case(
            "both of two groups that refer to each other",
            two_with(&[("efa", &["sg-1", "sg-2"])]),
            "mutual",
        )
        .refused(&["missing-self-ingress", "missing-self-egress"])
        .warned(&["extra-group-without-self-rule"]),
        case("a group that isn't in the file", two_with(&[("efa", &["sg-gone"])]), "right")
            .undetermined(&["security-group-not-found"]),
        case(
            "one group fine, the other not in the file",
            two_with(&[("efa", &["sg-1", "sg-gone"])]),
            "right",
        )
        .undetermined(&["security-group-not-found"]),
        case(
            "one group lacks a rule, the other may have it",
            two_with(&[("efa", &["sg-1", "sg-gone"])]),
            "vpc-default",
        )
        .undetermined(&["security-group-not-found"])
        .warned(&["extra-group-without-self-rule"]),
        case("a further group without the rule", two_with(&[("efa", &["sg-2", "sg-1"])]), "right-and-empty")
            .warned(&["extra-group-without-self-rule"]),
    ]
}

fn interfaces() -> Vec<Case> {
    let all = |kind: &'static str, count| vec![(kind, &["sg-1"] as &[&str]); count];
    vec![
        case(
            "shared group on the plain interface only",
            two_with(&[("interface", &["sg-1"]), ("efa", &["sg-2"])]),
            "right-and-empty",
        )
        .refused(&["missing-self-ingress", "missing-self-egress"]),
        case(
            "shared group on one of two EFA interfaces",
            two_with(&[("efa", &["sg-1"]), ("efa", &["sg-2"])]),
            "right-and-empty",
        )
        .refused(&["no-shared-security-group"])
        .warned(&["extra-group-without-self-rule"]),
        case(
            "a plain interface may have any groups",
            two_with(&[("interface", &["sg-2"]), ("efa", &["sg-1"])]),
            "right-and-empty",
        ),
        case(
            "efa-only interfaces",
            two_with(&[("interface", &["sg-2"]), ("efa-only", &["sg-1"])]),
            "right-and-empty",
        ),
        case(
            "an efa-only interface outside of the group",
            two_with(&[("efa", &["sg-1"]), ("efa-only", &[])]),
            "right",
        )
        .refused(&["no-shared-security-group"]),
        case("32 interfaces", two_with(&all("efa", 32)), "right"),
        case("unknown kinds in the group", two_with(&all("unknown", 2)), "right"),
        case(
            "unknown kinds count as EFA",
            two_with(&[("unknown", &["sg-1"]), ("unknown", &["sg-2"])]),
            "right-and-empty",
        )
        .refused(&["no-shared-security-group"])
        .warned(&["extra-group-without-self-rule"]),
        case("no EFA interface", two_with(&[("interface", &["sg-1"])]), "right")
            .refused(&["no-efa-interface"]),
        case("no interface at all", last_changed(2, |it| it["interfaces"] = json!([])), "right")
            .refused(&["no-efa-interface"]),
        case("no EFA interface and none asked for", two_with(&[("interface", &["sg-1"])]), "right")
            .policy(Policy::strict()),
        case(
            "no EFA interface, none asked for, no group",
            two_with(&[("interface", &["sg-2"])]),
            "right-and-empty",
        )
        .policy(Policy::strict())
        .refused(&["missing-self-ingress", "missing-self-egress"]),
        case(
            "no interface at all and no EFA asked for",
            last_changed(2, |it| it["interfaces"] = json!([])),
            "right",
        )
        .policy(Policy::strict())
        .undetermined(&["identity-unknown"]),
        case(
            "groups not known",
            last_changed(2, |it| it["interfaces"][0]["security_groups"] = json!(null)),
            "right",
        )
        .undetermined(&["identity-unknown"]),
        case("no group on any interface", two_with(&[("efa", &[])]), "right")
            .refused(&["no-shared-security-group"]),
    ]
}

fn places() -> Vec<Case> {
    let subnet = |it: &mut Value| it["interfaces"][0]["subnet_id"] = json!("subnet-2");
    let zone = |it: &mut Value| it["availability_zone_id"] = json!("use1-az6");
    let vpc = |it: &mut Value| it["interfaces"][0]["vpc_id"] = json!("vpc-2");
    let no_zone = |it: &mut Value| it["availability_zone_id"] = json!(null);
    let tcp = || Policy::strict().allow_tcp_across_subnets();
    vec![
        case("different subnet, strict", last_changed(3, subnet), "right").refused(&["different-subnet"]),
        case("different subnet, same zone", last_changed(3, subnet), "right")
            .policy(same_zone())
            .warned(&["different-subnet"]),
        case("different subnet, tcp chosen", last_changed(3, subnet), "right")
            .policy(tcp())
            .warned(&["different-subnet"]),
        case("different subnet, tcp chosen but efa asked for", last_changed(3, subnet), "right")
            .policy(tcp().requires_efa(true))
            .refused(&["different-subnet"]),
        case(
            "different subnet on one member's second EFA",
            last_changed(2, |it| {
                it["interfaces"] = json!([
                    interface(1, 0, "efa", "subnet-1", &["sg-1"]),
                    interface(1, 1, "efa-only", "subnet-2", &["sg-1"]),
                ]);
            }),
            "right",
        )
        .refused(&["different-subnet"]),
        case(
            "different subnet on a plain interface",
            last_changed(2, |it| {
                it["interfaces"] = json!([
                    interface(1, 0, "interface", "subnet-2", &[]),
                    interface(1, 1, "efa", "subnet-1", &["sg-1"]),
                ]);
            }),
            "right",
        ),
        case(
            "different zone",
            last_changed(3, |it| {
                zone(it);
                subnet(it)
            }),
            "right",
        )
        .refused(&["different-zone", "different-subnet"]),
        case(
            "different zone, same-zone policy",
            last_changed(3, |it| {
                zone(it);
                subnet(it)
            }),
            "right",
        )
        .policy(same_zone())
        .refused(&["different-zone"])
        .warned(&["different-subnet"]),
        case("different zone id under whatever name", last_changed(3, zone), "right")
            .refused(&["different-zone"]),
        case(
            "different VPC",
            last_changed(3, |it| {
                vpc(it);
                subnet(it)
            }),
            "right",
        )
        .refused(&["different-vpc", "different-subnet"]),
        case("zone not known, one subnet", last_changed(2, no_zone), "right"),
        case(
            "zone not known, two subnets, same-zone policy",
            last_changed(2, |it| {
                no_zone(it);
                subnet(it)
            }),
            "right",
        )
        .policy(same_zone())
        .undetermined(&["identity-unknown"])
        .warned(&["different-subnet"]),
        case(
            "zone not known, two subnets, strict",
            last_changed(2, |it| {
                no_zone(it);
                subnet(it)
            }),
            "right",
        )
        .refused(&["different-subnet"]),
        case("subnet not known", last_changed(2, |it| it["interfaces"][0]["subnet_id"] = json!("")), "right")
            .undetermined(&["identity-unknown"]),
        case("instance not known", last_changed(2, |it| it["instance_id"] = json!("")), "right")
            .undetermined(&["identity-unknown"]),
        case(
            "an id with a command in it",
            last_changed(2, |it| {
                it["interfaces"][0]["security_groups"] = json!(["sg-1; reboot"]);
            }),
            "right",
        )
        .undetermined(&["identity-unknown"]),
        case("nobody", Vec::new(), "right").undetermined(&["identity-unknown"]),
    ]
}

fn speed() -> Vec<Case> {
    vec![
        case("mixed types", last_changed(2, |it| it["instance_type"] = json!("c7gn.16xlarge")), "right")
            .warned(&["mixed-instance-types"]),
        case("no placement group", last_changed(2, |it| it["placement"] = json!({})), "right")
            .warned(&["not-in-cluster-placement-group"]),
        case(
            "a spread group",
            last_changed(2, |it| {
                it["placement"] = json!({"group": "pg-2", "strategy": "spread"});
            }),
            "right",
        )
        .warned(&["not-in-cluster-placement-group", "different-placement-groups"]),
        case(
            "another cluster group",
            last_changed(2, |it| it["placement"]["group"] = json!("pg-2")),
            "right",
        )
        .warned(&["different-placement-groups"]),
        case("placement not known", last_changed(2, |it| it["placement"] = json!(null)), "right"),
        case(
            "one instance needs no placement group",
            {
                let mut members = uniform(2);
                members.iter_mut().for_each(|it| {
                    it["placement"] = json!({});
                    it["instance_id"] = json!("i-0");
                });
                members
            },
            "right",
        ),
    ]
}

#[test]
fn every_case_gets_its_verdict() {
    for case in [rules_of_groups(), interfaces(), places(), speed()].into_iter().flatten() {
        let report = judge(&case.members, case.groups, &case.policy);
        let name = case.name;
        assert_eq!(codes(&report, Severity::Error), case.errors, "{name}\n{report}");
        assert_eq!(codes(&report, Severity::Warning), case.warnings, "{name}\n{report}");
        assert_eq!(report.exit_status(), case.exit, "{name}\n{report}");
        assert_eq!(report.admitted(), case.exit == 0, "{name}\n{report}");
        match report.admit() {
            Ok(admission) => assert_eq!(admission.members(), case.members.len(), "{name}"),
            Err(Error::Refused { undetermined, .. }) => assert_eq!(undetermined, case.exit == 3, "{name}"),
            Err(other) => panic!("{name}: {other}"),
        }
        for finding in report.findings() {
            assert!(
                !finding.message.is_empty() && !finding.why.is_empty() && !finding.fix.is_empty(),
                "{name}"
            );
        }
    }
}

#[test]
fn rules_that_nobody_could_tell_refuse_the_job() {
    for groups in [SecurityGroups::unknown(), SecurityGroups::none()] {
        let report = evaluate(&members(&uniform(2)), &groups, &strict());
        assert_eq!(codes(&report, Severity::Error), ["rules-unknown"]);
        assert_eq!(report.exit_status(), 3);
    }
    // What is broken for certain outweighs it.
    let report = evaluate(&members(&one_group_each()), &SecurityGroups::unknown(), &strict());
    assert_eq!(codes(&report, Severity::Error), ["no-shared-security-group", "rules-unknown"]);
    assert_eq!(report.exit_status(), 1);
}

#[test]
fn a_group_listed_twice_has_only_what_both_entries_give() {
    let mut both = groups("right").groups().expect("rules").to_vec();
    both.extend(groups("vpc-default").groups().expect("rules").to_vec());
    for order in [both.clone(), both.into_iter().rev().collect()] {
        let report = evaluate(&members(&uniform(2)), &SecurityGroups::known(order), &strict());
        assert_eq!(codes(&report, Severity::Error), ["missing-self-egress"]);
    }
}

#[test]
fn a_pair_of_another_account_or_a_dead_peering_is_not_the_group_itself() {
    for (key, value) in [("UserId", "444455556666"), ("PeeringStatus", "deleted")] {
        let mut rules = serde_json::to_value(groups("right").groups().expect("rules")).expect("plain data");
        rules[0]["IpPermissions"][0]["UserIdGroupPairs"][0][key] = json!(value);
        let file = file(&json!({"SecurityGroups": rules}).to_string());
        let rules = efa_core::admission::source::file::read_security_groups(file.path()).expect("good rules");
        let report = evaluate(&members(&uniform(2)), &rules, &strict());
        assert_eq!(codes(&report, Severity::Error), ["missing-self-ingress"], "{key}");
    }
}

#[test]
fn an_admission_covers_only_the_members_it_was_given_for() {
    let facts = members(&uniform(3));
    let admission = evaluate(&facts, &groups("right"), &strict()).admit().expect("an admitted job");
    assert!(admission.permits_efa());
    assert!(admission.covers(&facts));
    assert!(!admission.covers(&facts[..2]));
    assert!(!admission.covers(&members(&uniform(4))));
    let moved = members(&last_changed(3, |it| it["interfaces"][0]["interface_id"] = json!("eni-new")));
    assert!(!admission.covers(&moved));
    let for_tcp = evaluate(&facts, &groups("right"), &Policy::strict()).admit().expect("an admitted job");
    assert!(!for_tcp.permits_efa());
    assert_ne!(for_tcp.fingerprint(), admission.fingerprint());
}

#[test]
fn the_report_as_json_is_what_the_command_promises() {
    let report = judge(&uniform(2), "vpc-default", &same_zone());
    let fix = "aws ec2 authorize-security-group-egress --group-id sg-1 \
               --ip-permissions 'IpProtocol=-1,UserIdGroupPairs=[{GroupId=sg-1}]'";
    let expected = format!(
        "{{\"admitted\":false,\"policy\":\"same-zone\",\"site\":\"file\",\"members\":2,\"findings\":[{{\
         \"code\":\"missing-self-egress\",\"severity\":\"error\",\"members\":[\"rank 0 (i-0)\",\"rank 1 (i-1)\"],\
         \"security_groups\":[\"sg-1\"],\"message\":\"sg-1, the group that ranks 0-1 (i-0, i-1) share, does not let \
         out all traffic to itself; its rule for 0.0.0.0/0 does not count\",\"why\":\"EFA addresses are neither IPv4 \
         nor IPv6, so only a rule that names the group itself lets EFA traffic pass\",\"fix\":\"{fix}\"}}]}}"
    );
    assert_eq!(serde_json::to_string(&report).expect("plain data"), expected);
}
