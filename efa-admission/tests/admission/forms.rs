//! The verdict hangs on the facts, not on the form of the file that tells them.

use efa_admission::source::file::read_described;
use efa_admission::source::look_up_described;
use efa_admission::{
    Facts, GroupRules, InterfaceFacts, InterfaceKind, Permission, PlacementFacts, Policy, SecurityGroups,
    evaluate,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::build::file;
use crate::properties::{any_job, config};

/// What every form can tell: kinds and groups known, one place on a card for each interface, no zones and VPCs.
fn expressible((mut members, groups): (Vec<Facts>, Vec<GroupRules>)) -> (Vec<Facts>, Vec<GroupRules>) {
    members.retain(|facts| !facts.member.interfaces.is_empty());
    for (rank, facts) in members.iter_mut().enumerate() {
        let member = &mut facts.member;
        (member.rank, member.availability_zone_id) = (rank, None);
        // These forms tell that a member is in no placement group.
        member.placement = Some(PlacementFacts::default());
        member.instance_id = format!("i-{rank}");
        for (number, interface) in (0..).zip(&mut member.interfaces) {
            (interface.network_card, interface.device_number) = (Some(number), Some(0));
            interface.vpc_id = None;
            interface.interface_id = Some(format!("eni-{rank}-{number}"));
            // An interface without groups gets the default one of its VPC, which these files don't name.
            interface.security_groups = interface.security_groups.take().filter(|it| !it.is_empty());
            interface.security_groups.get_or_insert_with(|| vec!["sg-2".into()]);
            if interface.kind == InterfaceKind::Unknown {
                interface.kind = InterfaceKind::Interface;
            }
        }
    }
    (members, groups)
}

fn kind(interface: &InterfaceFacts) -> &'static str {
    match interface.kind {
        InterfaceKind::Efa => "efa",
        InterfaceKind::EfaOnly => "efa-only",
        InterfaceKind::Interface | InterfaceKind::Unknown => "interface",
    }
}

fn groups_of(interface: &InterfaceFacts) -> &[String] {
    interface.security_groups.as_deref().unwrap_or_default()
}

fn sides(group: &GroupRules) -> [(&'static str, &[Permission]); 2] {
    [("ingress", &group.ip_permissions), ("egress", &group.ip_permissions_egress)]
}

fn pairs(rule: &Permission) -> Vec<&str> {
    rule.user_id_group_pairs.iter().filter_map(|pair| pair.group_id.as_deref()).collect()
}

fn ranges(rule: &Permission) -> Vec<&str> {
    rule.ip_ranges.iter().filter_map(|range| range.cidr_ip.as_deref()).collect()
}

/// As `terraform show -json` prints a state.
fn terraform(members: &[Facts], groups: &[GroupRules]) -> Value {
    let resource = |kind: &str, index: usize, values: Value| {
        json!({"address": format!("{kind}.it[{index}]"), "mode": "managed", "type": kind, "name": "it", "index": index,
               "values": values})
    };
    let mut resources = Vec::new();
    for group in groups {
        let rules = |rules: &[Permission]| -> Vec<Value> {
            let one = |rule: &Permission| {
                let itself = pairs(rule).contains(&group.group_id.as_str());
                let others: Vec<&str> = pairs(rule).into_iter().filter(|it| *it != group.group_id).collect();
                json!({"protocol": rule.ip_protocol, "self": itself, "security_groups": others, "from_port": 0, "to_port": 0,
                       "cidr_blocks": ranges(rule), "ipv6_cidr_blocks": [], "prefix_list_ids": []})
            };
            rules.iter().map(one).collect()
        };
        let [ingress, egress] = sides(group).map(|(_, side)| rules(side));
        let values = json!({"id": group.group_id, "ingress": ingress, "egress": egress});
        resources.push(resource("aws_security_group", resources.len(), values));
    }
    for facts in members {
        let mut listed = Vec::new();
        for it in &facts.member.interfaces {
            let values = json!({"id": it.interface_id, "subnet_id": it.subnet_id, "interface_type": kind(it),
                                "security_groups": groups_of(it)});
            resources.push(resource("aws_network_interface", resources.len(), values));
            listed.push(json!({"network_interface_id": it.interface_id, "device_index": it.device_number,
                               "network_card_index": it.network_card}));
        }
        let values = json!({"id": facts.member.instance_id, "network_interface": listed});
        resources.push(resource("aws_instance", resources.len(), values));
    }
    json!({"format_version": "1.0", "terraform_version": "1.14.0", "values": {"root_module": {"resources": resources}}})
}

/// As a CloudFormation template, in which groups are resources.
fn cloudformation(members: &[Facts], groups: &[GroupRules]) -> Value {
    let logical = |id: &str| id.replace('-', "");
    let reference = |id: &str| match groups.iter().any(|group| group.group_id == id) {
        true => json!({"Fn::GetAtt": [logical(id), "GroupId"]}),
        false => json!(id),
    };
    let mut resources = Map::new();
    for group in groups {
        let of = "AWS::EC2::SecurityGroup";
        resources
            .insert(logical(&group.group_id), json!({"Type": of, "Properties": {"GroupDescription": "x"}}));
        for (side, rules) in sides(group) {
            let (of, key) = match side {
                "ingress" => ("AWS::EC2::SecurityGroupIngress", "SourceSecurityGroupId"),
                _ => ("AWS::EC2::SecurityGroupEgress", "DestinationSecurityGroupId"),
            };
            for rule in rules {
                let ends = pairs(rule).into_iter().map(|id| (key, reference(id)));
                for (key, end) in ends.chain(ranges(rule).into_iter().map(|cidr| ("CidrIp", json!(cidr)))) {
                    let properties = json!({"GroupId": reference(&group.group_id), "IpProtocol": rule.ip_protocol, key: end});
                    let name = format!("Rule{}", resources.len());
                    resources.insert(name, json!({"Type": of, "Properties": properties}));
                }
            }
        }
    }
    for facts in members {
        let interfaces = facts.member.interfaces.iter().map(|it| {
            let groups: Vec<Value> = groups_of(it).iter().map(|id| reference(id)).collect();
            json!({"InterfaceType": kind(it), "SubnetId": it.subnet_id, "Groups": groups, "DeviceIndex": it.device_number,
                   "NetworkCardIndex": it.network_card})
        });
        let (name, data) = (logical(&facts.member.instance_id), interfaces.collect::<Vec<_>>());
        let template = json!({"LaunchTemplateData": {"NetworkInterfaces": data}});
        let from = json!({"LaunchTemplate": {"LaunchTemplateId": {"Ref": format!("{name}Template")}, "Version": "1"}});
        resources.insert(
            format!("{name}Template"),
            json!({"Type": "AWS::EC2::LaunchTemplate", "Properties": template}),
        );
        resources.insert(name, json!({"Type": "AWS::EC2::Instance", "Properties": from}));
    }
    json!({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn the_verdict_is_the_same_from_every_form(
        job in any_job().prop_map(expressible).prop_filter("somebody", |job| !job.0.is_empty()),
        same_zone: bool,
    ) {
        let (members, groups) = job;
        let policy = if same_zone { Policy::same_zone() } else { Policy::strict() }.requires_efa(true);
        let direct = evaluate(&members, &SecurityGroups::known(groups.clone()), &policy);
        for (form, text) in [
            ("a Terraform state", terraform(&members, &groups).to_string()),
            ("a CloudFormation template", cloudformation(&members, &groups).to_string()),
        ] {
            let described = read_described(file(&text).path(), None).expect("a good file");
            prop_assert!(described.notes[0].ends_with(form), "{:?}", described.notes);
            let lookup = look_up_described(&described, None).expect("its rules");
            let report = lookup.evaluate(&described.members, &policy);
            prop_assert_eq!(report.exit_status(), direct.exit_status(), "{}: {}\n{}\n{}", form, report, direct, text);
            let codes = |report: &efa_admission::Report| -> Vec<&str> {
                report.findings().iter().map(|finding| finding.code.name()).collect()
            };
            prop_assert_eq!(codes(&report), codes(&direct), "{}: {}\n{}", form, report, direct);
        }
    }
}
