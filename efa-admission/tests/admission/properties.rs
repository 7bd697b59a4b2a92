//! Nothing is admitted by mistake: against a second opinion, and by breaking jobs that were admitted.

use efa_admission::{
    Facts, GroupPair, GroupRules, InterfaceFacts, InterfaceKind, IpRange, MemberFacts, MetadataFailure,
    Permission, Policy, PrefixList, SecurityGroups, Site, evaluate,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Failing cases are printed in full, so no file has to remember their seeds.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Jobs of few members over few ids, so that they are right about as often as wrong.
pub(crate) fn any_job() -> impl Strategy<Value = (Vec<Facts>, Vec<GroupRules>)> {
    let members = prop::collection::vec(any_member(), 1..5).prop_map(|mut members| {
        for (rank, facts) in members.iter_mut().enumerate() {
            facts.member.rank = rank;
            facts.member.instance_id = format!("i-{rank}");
            for (number, interface) in facts.member.interfaces.iter_mut().enumerate() {
                interface.interface_id = Some(format!("eni-{rank}-{number}"));
            }
        }
        members
    });
    let groups = (any_group("sg-1"), any_group("sg-2"), prop::option::weighted(0.7, any_group("sg-3")))
        .prop_map(|(one, two, three)| [one, two].into_iter().chain(three).collect());
    (members, groups)
}

pub(crate) fn any_policy() -> impl Strategy<Value = Policy> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(same_zone, efa, tcp)| {
        let policy = if same_zone { Policy::same_zone() } else { Policy::strict() }.requires_efa(efa);
        if tcp { policy.allow_tcp_across_subnets() } else { policy }
    })
}

fn any_member() -> impl Strategy<Value = Facts> {
    let zone = prop::option::weighted(0.8, select(vec!["use1-az4", "use1-az4", "use1-az4", "use1-az6"]));
    (zone, prop::collection::vec(any_interface(), 0..4)).prop_map(|(zone, interfaces)| Facts {
        site: Site::File,
        member: MemberFacts {
            rank: 0,
            host: None,
            instance_id: String::new(),
            instance_type: None,
            availability_zone_id: zone.map(str::to_owned),
            placement: None,
            interfaces,
        },
        host: None,
        failure: None,
        bound: None,
    })
}

fn any_interface() -> impl Strategy<Value = InterfaceFacts> {
    let kind = select(vec![
        InterfaceKind::Efa,
        InterfaceKind::Efa,
        InterfaceKind::EfaOnly,
        InterfaceKind::Interface,
        InterfaceKind::Unknown,
    ]);
    let subnet = select(vec!["subnet-1", "subnet-1", "subnet-1", "subnet-1", "subnet-2"]);
    let vpc = prop::option::weighted(0.9, select(vec!["vpc-1", "vpc-1", "vpc-1", "vpc-1", "vpc-1", "vpc-2"]));
    let groups = prop::option::weighted(
        0.95,
        select(vec![
            vec!["sg-1"],
            vec!["sg-1"],
            vec!["sg-1", "sg-2"],
            vec!["sg-3", "sg-1"],
            vec!["sg-2"],
            vec![],
        ]),
    );
    (kind, subnet, vpc, groups).prop_map(|(kind, subnet, vpc, groups)| InterfaceFacts {
        interface_id: None,
        mac: None,
        kind,
        network_card: None,
        device_number: None,
        subnet_id: subnet.into(),
        vpc_id: vpc.map(str::to_owned),
        security_groups: groups.map(|groups| groups.into_iter().map(str::to_owned).collect()),
        ipv4: Vec::new(),
        ipv6: Vec::new(),
    })
}

fn any_group(id: &'static str) -> impl Strategy<Value = GroupRules> {
    (any_rules(id), any_rules(id)).prop_map(move |(ingress, egress)| GroupRules {
        group_id: id.into(),
        owner_id: Some("111122223333".into()),
        ip_permissions: ingress,
        ip_permissions_egress: egress,
    })
}

/// Entries of which one lets the group through more often than not, at any place and in any pair.
fn any_rules(id: &'static str) -> impl Strategy<Value = Vec<Permission>> {
    let pair = |id: &str| GroupPair { group_id: Some(id.into()), ..GroupPair::default() };
    let noise = (
        select(vec!["-1", "tcp", "udp", "6"]),
        prop::collection::vec(select(vec!["sg-1", "sg-2", "sg-8"]), 0..3),
        prop::option::of(select(vec!["0.0.0.0/0", "10.0.0.0/8"])),
    )
        .prop_map(move |(protocol, pairs, range)| Permission {
            ip_protocol: protocol.into(),
            user_id_group_pairs: pairs.into_iter().map(pair).collect(),
            ip_ranges: range.into_iter().map(|it| IpRange { cidr_ip: Some(it.into()) }).collect(),
            ..Permission::default()
        });
    let entries = prop::collection::vec(noise, 0..3);
    (entries, any::<Index>(), prop::bool::weighted(0.8)).prop_map(move |(mut entries, place, right)| {
        if right {
            let place = place.index(entries.len() + 1);
            let itself = Permission {
                ip_protocol: "-1".into(),
                user_id_group_pairs: vec![pair("sg-9"), pair(id)],
                ..Permission::default()
            };
            entries.insert(place, itself);
        }
        entries
    })
}

/// The rules as a second person would write them down: slowly, and one after the other.
fn second_opinion(members: &[Facts], groups: &[GroupRules], efa: bool, subnets_may_differ: bool) -> bool {
    let of_member = |facts: &Facts| -> Vec<InterfaceFacts> {
        let all = facts.member.interfaces.clone();
        let efas: Vec<_> = all.iter().filter(|it| it.kind != InterfaceKind::Interface).cloned().collect();
        if efas.is_empty() && !efa { all } else { efas }
    };
    let interfaces: Vec<InterfaceFacts> = members.iter().flat_map(of_member).collect();
    let every_member_has_one = members.iter().all(|facts| !of_member(facts).is_empty());
    let one_value = |mut values: Vec<&str>| {
        values.sort_unstable();
        values.dedup();
        values.len() <= 1
    };
    let zones: Vec<Option<&str>> =
        members.iter().map(|facts| facts.member.availability_zone_id.as_deref()).collect();
    let vpcs: Vec<Option<&str>> = interfaces.iter().map(|it| it.vpc_id.as_deref()).collect();
    let one_subnet = one_value(interfaces.iter().map(|it| it.subnet_id.as_str()).collect());
    let one_zone_and_vpc = one_value(zones.iter().copied().flatten().collect())
        && one_value(vpcs.iter().copied().flatten().collect());
    let zones_and_vpcs_known = zones.iter().all(Option::is_some) && vpcs.iter().all(Option::is_some);
    let place_is_right = one_zone_and_vpc && (one_subnet || (subnets_may_differ && zones_and_vpcs_known));
    let allows = |entries: &[Permission], id: &str| {
        entries.iter().any(|entry| {
            entry.ip_protocol == "-1"
                && entry.user_id_group_pairs.iter().any(|pair| pair.group_id.as_deref() == Some(id))
        })
    };
    let joins = |group: &GroupRules| {
        let on_all = interfaces
            .iter()
            .all(|it| it.security_groups.as_ref().is_some_and(|groups| groups.contains(&group.group_id)));
        on_all
            && allows(&group.ip_permissions, &group.group_id)
            && allows(&group.ip_permissions_egress, &group.group_id)
    };
    let all_found = interfaces
        .iter()
        .flat_map(|it| it.security_groups.iter().flatten())
        .all(|id| groups.iter().any(|group| group.group_id == *id));
    every_member_has_one && place_is_right && all_found && groups.iter().any(joins)
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn the_verdict_is_that_of_a_second_opinion(
        (members, groups) in any_job(), same_zone: bool, efa: bool, tcp: bool,
    ) {
        let policy = if same_zone { Policy::same_zone() } else { Policy::strict() }.requires_efa(efa);
        let policy = if tcp { policy.allow_tcp_across_subnets() } else { policy };
        let expected = second_opinion(&members, &groups, efa, same_zone || (tcp && !efa));
        let report = evaluate(&members, &SecurityGroups::known(groups), &policy);
        prop_assert_eq!(report.admitted(), expected, "{}", report);
        prop_assert_eq!(report.exit_status() == 0, expected);
        prop_assert_eq!(report.admit().is_ok(), expected);
    }
}

#[test]
fn the_second_opinion_is_asked_about_good_and_bad_jobs() {
    let mut runner = TestRunner::deterministic();
    let jobs = (0..1000).map(|_| any_job().new_tree(&mut runner).expect("a job").current());
    let policy = Policy::strict();
    let admitted = jobs
        .filter(|(members, groups)| {
            evaluate(members, &SecurityGroups::known(groups.clone()), &policy).admitted()
        })
        .count();
    assert!((50..950).contains(&admitted), "{admitted} of 1000");
}

/// Ways to break a job of several members that share `sg-1`, have an EFA each, and nothing to spare.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    DropIngress,
    DropEgress,
    SwapPair,
    NarrowProtocol,
    AddressInsteadOfGroup,
    ForgetGroup,
    LeaveGroup,
    ForgetGroupsOfInterface,
    OtherZone,
    OtherVpc,
    OtherSubnet,
    ForgetSubnet,
    ForgetInstance,
    FailMetadata,
    DetachInterface,
    PlainInterface,
    RepeatRank,
    OtherSite,
    NobodyLeft,
    PrefixListInsteadOfGroup,
    RankGap,
    InterfaceOfAnother,
    TypeWithoutEfa,
    TwoEfasOnOneCard,
}

const MUTATIONS: [Mutation; 24] = [
    Mutation::DropIngress,
    Mutation::DropEgress,
    Mutation::SwapPair,
    Mutation::NarrowProtocol,
    Mutation::AddressInsteadOfGroup,
    Mutation::ForgetGroup,
    Mutation::LeaveGroup,
    Mutation::ForgetGroupsOfInterface,
    Mutation::OtherZone,
    Mutation::OtherVpc,
    Mutation::OtherSubnet,
    Mutation::ForgetSubnet,
    Mutation::ForgetInstance,
    Mutation::FailMetadata,
    Mutation::DetachInterface,
    Mutation::PlainInterface,
    Mutation::RepeatRank,
    Mutation::OtherSite,
    Mutation::NobodyLeft,
    Mutation::PrefixListInsteadOfGroup,
    Mutation::RankGap,
    Mutation::InterfaceOfAnother,
    Mutation::TypeWithoutEfa,
    Mutation::TwoEfasOnOneCard,
];

impl Mutation {
    fn apply(self, members: &mut Vec<Facts>, groups: &mut Vec<GroupRules>, victim: Index) {
        let count = members.len();
        let facts = &mut members[victim.index(count)];
        let member = &mut facts.member;
        let shared = groups.iter_mut().find(|group| group.group_id == "sg-1").expect("the shared group");
        match self {
            Self::DropIngress => shared.ip_permissions.retain(|entry| entry.ip_protocol != "-1"),
            Self::DropEgress => shared.ip_permissions_egress.retain(|entry| entry.ip_protocol != "-1"),
            Self::SwapPair => all_pairs(shared).for_each(|pair| pair.group_id = Some("sg-9".into())),
            Self::NarrowProtocol => {
                shared.ip_permissions_egress.iter_mut().for_each(|entry| entry.ip_protocol = "tcp".into());
            }
            Self::AddressInsteadOfGroup => {
                for entry in &mut shared.ip_permissions {
                    entry.user_id_group_pairs.clear();
                    entry.ip_ranges.push(IpRange { cidr_ip: Some("0.0.0.0/0".into()) });
                }
            }
            Self::ForgetGroup => groups.retain(|group| group.group_id != "sg-1"),
            Self::LeaveGroup => member.interfaces[0].security_groups = Some(vec!["sg-2".into()]),
            Self::ForgetGroupsOfInterface => member.interfaces[0].security_groups = None,
            Self::OtherZone => member.availability_zone_id = Some("use1-az6".into()),
            Self::OtherVpc => member.interfaces[0].vpc_id = Some("vpc-2".into()),
            Self::OtherSubnet => member.interfaces[0].subnet_id = "subnet-2".into(),
            Self::ForgetSubnet => member.interfaces[0].subnet_id.clear(),
            Self::ForgetInstance => member.instance_id.clear(),
            Self::FailMetadata => facts.failure = Some(MetadataFailure::TimedOut),
            Self::DetachInterface => member.interfaces.clear(),
            Self::PlainInterface => member.interfaces[0].kind = InterfaceKind::Interface,
            Self::RepeatRank => member.rank = (member.rank + 1) % count,
            Self::OtherSite => facts.site = Site::Ec2,
            Self::NobodyLeft => members.clear(),
            Self::PrefixListInsteadOfGroup => {
                for entry in &mut shared.ip_permissions_egress {
                    entry.user_id_group_pairs.clear();
                    entry.prefix_list_ids.push(PrefixList { prefix_list_id: Some("pl-1".into()) });
                }
            }
            Self::RankGap => member.rank = count,
            Self::InterfaceOfAnother => {
                let other = (victim.index(count) + 1) % count;
                member.interfaces[0].interface_id = Some(format!("eni-{other}"));
            }
            Self::TypeWithoutEfa => member.instance_type = Some("t3.micro".into()),
            Self::TwoEfasOnOneCard => {
                let first = &mut member.interfaces[0];
                (first.kind, first.network_card) = (InterfaceKind::Efa, Some(0));
                let second = InterfaceFacts { interface_id: Some("eni-second".into()), ..first.clone() };
                member.interfaces.push(second);
            }
        }
    }
}

fn all_pairs(group: &mut GroupRules) -> impl Iterator<Item = &mut GroupPair> {
    group.ip_permissions.iter_mut().flat_map(|entry| &mut entry.user_id_group_pairs)
}

fn admitted_job() -> impl Strategy<Value = (Vec<Facts>, Vec<GroupRules>)> {
    (prop::collection::vec(any_interface(), 2..6), any_group("sg-1"), any_group("sg-2")).prop_map(
        |(interfaces, mut shared, mut other)| {
            let members = interfaces
                .into_iter()
                .enumerate()
                .map(|(rank, mut interface)| {
                    interface.interface_id = Some(format!("eni-{rank}"));
                    interface.subnet_id = "subnet-1".into();
                    interface.vpc_id = Some("vpc-1".into());
                    interface.security_groups = Some(vec!["sg-2".into(), "sg-1".into()]);
                    if interface.kind == InterfaceKind::Interface {
                        interface.kind = InterfaceKind::Efa;
                    }
                    Facts {
                        site: Site::File,
                        member: MemberFacts {
                            rank,
                            host: None,
                            instance_id: format!("i-{rank}"),
                            instance_type: None,
                            availability_zone_id: Some("use1-az4".into()),
                            placement: None,
                            interfaces: vec![interface],
                        },
                        host: None,
                        failure: None,
                        bound: None,
                    }
                })
                .collect();
            let pair = GroupPair { group_id: Some("sg-1".into()), ..GroupPair::default() };
            for entries in [&mut shared.ip_permissions, &mut shared.ip_permissions_egress] {
                entries.push(Permission {
                    ip_protocol: "-1".into(),
                    user_id_group_pairs: vec![pair.clone()],
                    ..Permission::default()
                });
            }
            // The other group must not come to the rescue.
            other.ip_permissions.clear();
            (members, vec![other, shared])
        },
    )
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn what_aws_allows_within_a_zone_is_never_called_broken(
        (mut members, groups) in admitted_job(), changes in prop::collection::vec((0usize..6, any::<Index>()), 1..6),
    ) {
        for (change, victim) in changes {
            let place = victim.index(members.len());
            let member = &mut members[place].member;
            let primary = member.interfaces[0].clone();
            match change {
                0 => member.interfaces[0].subnet_id = "subnet-2".into(),
                1 => member.placement = Some(efa_admission::PlacementFacts::default()),
                2 => member.interfaces[0].security_groups = Some(vec!["sg-1".into()]),
                3 => member.interfaces[0].kind = InterfaceKind::Unknown,
                // The recommended layout: a plain interface beside it, anywhere and with any groups, of known kind or not.
                _ => member.interfaces.push(InterfaceFacts {
                    interface_id: Some(format!("eni-{place}-plain-{}", member.interfaces.len())),
                    kind: if change == 4 { InterfaceKind::Interface } else { InterfaceKind::Unknown },
                    subnet_id: "subnet-nodes".into(),
                    security_groups: Some(vec!["sg-2".into()]),
                    ..primary
                }),
            }
        }
        let policy = Policy::same_zone().requires_efa(true);
        let report = evaluate(&members, &SecurityGroups::known(groups), &policy);
        prop_assert_ne!(report.exit_status(), 1, "{}", report);
    }

    #[test]
    fn no_broken_job_is_admitted(
        (mut members, mut groups) in admitted_job(), mutation in select(&MUTATIONS[..]), victim: Index,
    ) {
        let policy = Policy::strict().requires_efa(true);
        let report = evaluate(&members, &SecurityGroups::known(groups.clone()), &policy);
        prop_assert!(report.admitted(), "before the mutation: {}", report);
        let admission = report.admit().expect("an admitted job");

        mutation.apply(&mut members, &mut groups, victim);
        let report = evaluate(&members, &SecurityGroups::known(groups), &policy);
        prop_assert!(!report.admitted(), "{:?} was admitted: {}", mutation, report);
        prop_assert!(report.admit().is_err());
        let rules_only = matches!(
            mutation,
            Mutation::DropIngress | Mutation::DropEgress | Mutation::SwapPair | Mutation::NarrowProtocol
                | Mutation::AddressInsteadOfGroup | Mutation::ForgetGroup | Mutation::PrefixListInsteadOfGroup
        );
        prop_assert_eq!(admission.covers(&members), rules_only, "{:?}", mutation);
    }
}
