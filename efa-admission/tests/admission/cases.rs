//! Every rule, broken and kept.

use efa_admission::Policy;
use serde_json::{Value, json};

use crate::build::*;

/// A job and what must come of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) members: Vec<Value>,
    pub(crate) groups: &'static str,
    pub(crate) policy: Policy,
    pub(crate) exit: u8,
    pub(crate) errors: &'static [&'static str],
    pub(crate) warnings: &'static [&'static str],
}

pub(crate) fn every_case() -> Vec<Case> {
    [rules_of_groups(), interfaces(), places(), speed(), split(), tcp()].into_iter().flatten().collect()
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
pub(crate) fn last_changed(count: usize, change: impl Fn(&mut Value)) -> Vec<Value> {
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

fn of_type(name: &str, mut members: Vec<Value>) -> Vec<Value> {
    members.iter_mut().for_each(|it| it["instance_type"] = json!(name));
    members
}

pub(crate) fn one_group_each() -> Vec<Value> {
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
        case("32 interfaces", of_type("p5.48xlarge", two_with(&all("efa", 32))), "right"),
        case("32 EFAs where two fit", two_with(&all("efa", 32)), "right").refused(&["impossible-interfaces"]),
        case("an EFA on a type that has none", of_type("t3.micro", uniform(2)), "right")
            .refused(&["impossible-interfaces"]),
        case("a type that the table does not have", of_type("p99.huge", two_with(&all("efa", 40))), "right"),
        case(
            "two EFAs on one card",
            last_changed(2, |it| {
                it["interfaces"] = json!([
                    interface(1, 0, "efa", "subnet-1", &["sg-1"]),
                    interface(1, 1, "efa-only", "subnet-1", &["sg-1"]),
                ]);
                it["interfaces"][1]["network_card"] = json!(0);
            }),
            "right",
        )
        .refused(&["impossible-interfaces"]),
        case(
            "an efa-only interface as the primary one",
            last_changed(2, |it| {
                it["interfaces"][0]["kind"] = json!("efa-only");
                it["interfaces"][0]["device_number"] = json!(0);
            }),
            "right",
        )
        .refused(&["impossible-interfaces"]),
        case("an EFA on card 0 of a p6-b300", of_type("p6-b300.48xlarge", uniform(2)), "right")
            .refused(&["impossible-interfaces"]),
        case(
            "unknown kinds on a type without EFA are plain",
            of_type("t3.micro", two_with(&[("unknown", &["sg-1"])])),
            "right",
        )
        .refused(&["no-efa-interface"]),
        case("unknown kinds in the group", two_with(&all("unknown", 2)), "right"),
        case(
            "unknown kinds count as EFA",
            two_with(&[("unknown", &["sg-1"]), ("unknown", &["sg-2"])]),
            "right-and-empty",
        )
        .undetermined(&["interface-kind-unknown"]),
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

/// AWS's recommended layout: the primary interface is plain and has a subnet and a group of its own.
fn split_layout(primary: &str, groups: &[&str]) -> Vec<Value> {
    (0..2)
        .map(|rank| {
            let mut interfaces = vec![interface(rank, 0, primary, "subnet-nodes", groups)];
            interfaces.extend((1..4).map(|card| interface(rank, card, "efa-only", "subnet-1", &["sg-1"])));
            member(rank, &interfaces)
        })
        .map(|mut member| {
            member["instance_type"] = json!("p5.48xlarge");
            member
        })
        .collect()
}

fn split() -> Vec<Case> {
    let alike = |kind: &str| {
        let mut members = uniform(2);
        members.iter_mut().for_each(|it| it["instance_type"] = json!(kind));
        members
    };
    let mixed = |one: &str, other: &str| {
        let mut members = uniform(2);
        members[0]["instance_type"] = json!(one);
        members[1]["instance_type"] = json!(other);
        members
    };
    let mutual = Policy::strict().allow_mutual_groups().requires_efa(true);
    vec![
        case(
            "split groups, the primary interface plain",
            split_layout("interface", &["sg-2"]),
            "right-and-empty",
        ),
        case(
            "split groups, the primary of unknown kind",
            split_layout("unknown", &["sg-2"]),
            "right-and-empty",
        )
        .undetermined(&["interface-kind-unknown"]),
        case("split groups, the primary an EFA", split_layout("efa", &["sg-2"]), "right-and-empty")
            .refused(&["different-subnet", "no-shared-security-group"])
            .warned(&["extra-group-without-self-rule"]),
        case(
            "split groups, unknown kind, and the EFAs break a rule as well",
            split_layout("unknown", &["sg-2"]),
            "vpc-default",
        )
        .refused(&["different-subnet", "no-shared-security-group", "security-group-not-found"]),
        case("groups that admit themselves and each other", one_group_each(), "admit-each-other")
            .refused(&["groups-admit-each-other"]),
        case("groups that admit each other, accepted", one_group_each(), "admit-each-other")
            .policy(mutual.clone())
            .warned(&["groups-admit-each-other"]),
        case("groups that admit only each other, accepted", one_group_each(), "mutual")
            .policy(mutual)
            .refused(&["no-shared-security-group"])
            .warned(&["extra-group-without-self-rule"]),
        case("two P4d", alike("p4d.24xlarge"), "right"),
        case("P4d and P5", mixed("p4d.24xlarge", "p5.48xlarge"), "right")
            .refused(&["incompatible-instance-types"]),
        case("P4d and P4de", mixed("p4d.24xlarge", "p4de.24xlarge"), "right")
            .refused(&["incompatible-instance-types"]),
        case("DL1 and P5, over tcp", mixed("dl1.24xlarge", "p5.48xlarge"), "right")
            .policy(Policy::strict().uses_tcp(true))
            .warned(&["mixed-instance-types"]),
    ]
}

fn tcp() -> Vec<Case> {
    let tcp = || Policy::strict().uses_tcp(true);
    let one_each = |groups: [&str; 2]| {
        (0..2).map(|rank| member(rank, &[interface(rank, 0, "efa", "subnet-1", &[groups[rank]])])).collect()
    };
    let primary = |groups: &[&str]| {
        let mut members = split_layout("interface", groups);
        for member in &mut members {
            member["interfaces"][0]["device_number"] = json!(0);
        }
        members
    };
    let one_machine = || {
        let mut members = uniform(2);
        members.iter_mut().for_each(|it| it["instance_id"] = json!("i-0"));
        members
    };
    vec![
        case("tcp by the group itself", uniform(2), "right").policy(tcp()),
        case("tcp by addresses", one_each(["sg-1", "sg-1"]), "tcp-by-address").policy(tcp()),
        case("tcp by prefix list", one_each(["sg-4", "sg-4"]), "tcp-by-address").policy(tcp()),
        case("0.0.0.0/0 is enough for tcp", uniform(2), "open-to-the-world").policy(tcp()),
        case("tcp from other addresses", one_each(["sg-1", "sg-2"]), "tcp-by-address")
            .policy(tcp())
            .refused(&["tcp-ingress-blocked"]),
        case("tcp on other ports", one_each(["sg-3", "sg-3"]), "tcp-by-address")
            .policy(tcp())
            .refused(&["tcp-ingress-blocked"]),
        case("tcp out of a group without rules", primary(&["sg-2"]), "right-and-empty")
            .policy(tcp())
            .refused(&["tcp-ingress-blocked", "tcp-egress-blocked"]),
        case("tcp on the primary interface, the EFAs in no good group", primary(&["sg-1"]), "right")
            .policy(tcp()),
        case("tcp, and a group that isn't in the file", one_each(["sg-gone", "sg-1"]), "right")
            .policy(tcp())
            .undetermined(&["security-group-not-found"]),
        case("tcp with efa-only interfaces alone", two_with(&[("efa-only", &["sg-1"])]), "right")
            .policy(tcp())
            .undetermined(&["identity-unknown"]),
        case("tcp on one machine", one_machine(), "ingress-only").policy(tcp()),
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
