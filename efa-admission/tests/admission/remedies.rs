//! The commands in the reports, word for word.

use efa_admission::{FindingCode, Policy, Report, SecurityGroups, evaluate};
use serde_json::{Value, json};

use crate::build::*;

fn uniform_with(count: usize, change: impl Fn(&mut Value)) -> Vec<Value> {
    let mut members = uniform(count);
    change(members.last_mut().expect("at least one"));
    members
}

fn shell_accepts(report: &Report) {
    for finding in report.findings() {
        let status = std::process::Command::new("sh").arg("-n").arg("-c").arg(&finding.text.remedy).status();
        assert!(status.expect("a shell").success(), "{}", finding.text.remedy);
    }
}

#[test]
fn rules_are_added_in_the_direction_that_lacks_them() {
    let report = judge(&uniform(2), "open-to-the-world", &strict());
    for (code, direction) in
        [(FindingCode::MissingSelfIngress, "ingress"), (FindingCode::MissingSelfEgress, "egress")]
    {
        let expected = format!(
            "aws ec2 authorize-security-group-{direction} --group-id sg-1 \
             --ip-permissions 'IpProtocol=-1,UserIdGroupPairs=[{{GroupId=sg-1}}]'"
        );
        assert_eq!(fix_of(&report, code), expected);
    }
    shell_accepts(&report);
}

#[test]
fn an_interface_joins_the_group_and_keeps_those_it_has() {
    let members = uniform_with(3, |it| it["interfaces"][0]["security_groups"] = json!(["sg-3", "sg-2"]));
    let report = judge(&members, "right-and-empty", &strict());
    assert_eq!(
        fix_of(&report, FindingCode::NoSharedSecurityGroup),
        "aws ec2 modify-network-interface-attribute --network-interface-id eni-2-0 --groups sg-1 sg-2 sg-3"
    );
    assert_eq!(report.findings()[0].members.len(), 1);
    shell_accepts(&report);
}

#[test]
fn the_group_to_join_is_one_that_admits_itself_even_where_fewer_have_it() {
    let mut members = uniform(3);
    members[0]["interfaces"][0]["security_groups"] = json!(["sg-2"]);
    members[1]["interfaces"][0]["security_groups"] = json!(["sg-2"]);
    let report = judge(&members, "right-and-empty", &strict());
    assert_eq!(
        fix_of(&report, FindingCode::NoSharedSecurityGroup),
        "aws ec2 modify-network-interface-attribute --network-interface-id eni-0-0 --groups sg-1 sg-2\n\
         aws ec2 modify-network-interface-attribute --network-interface-id eni-1-0 --groups sg-1 sg-2"
    );
}

#[test]
fn a_group_that_is_joined_gets_the_rules_it_lacks_first() {
    let mut members = uniform(2);
    members[1]["interfaces"][0]["security_groups"] = json!(["sg-2"]);
    let report = judge(&members, "mutual", &strict());
    let permissions = "--group-id sg-1 --ip-permissions 'IpProtocol=-1,UserIdGroupPairs=[{GroupId=sg-1}]'";
    assert_eq!(
        fix_of(&report, FindingCode::NoSharedSecurityGroup),
        format!(
            "aws ec2 authorize-security-group-ingress {permissions}\n\
             aws ec2 authorize-security-group-egress {permissions}\n\
             aws ec2 modify-network-interface-attribute --network-interface-id eni-1-0 --groups sg-1 sg-2"
        )
    );
    let warning = report.findings().last().expect("a warning");
    assert_eq!(warning.security_groups, ["sg-2"]);
    shell_accepts(&report);
}

#[test]
fn an_interface_without_a_known_id_is_looked_up() {
    let members = uniform_with(2, |it| {
        it["interfaces"][0]["security_groups"] = json!([]);
        it["interfaces"][0]["interface_id"] = json!(null);
    });
    let report = judge(&members, "right", &strict());
    assert_eq!(
        fix_of(&report, FindingCode::NoSharedSecurityGroup),
        "aws ec2 modify-network-interface-attribute --network-interface-id \
         \"$(aws ec2 describe-network-interfaces --filters Name=mac-address,Values=02:00:00:00:00:01 \
         --query 'NetworkInterfaces[0].NetworkInterfaceId' --output text)\" --groups sg-1"
    );
    shell_accepts(&report);
}

#[test]
fn a_stray_is_launched_anew_in_the_subnet_of_the_others() {
    let members = uniform_with(3, |it| {
        it["interfaces"] = json!([
            interface(2, 0, "efa", "subnet-2", &["sg-1"]),
            interface(2, 1, "efa-only", "subnet-2", &["sg-1"]),
        ]);
    });
    let report = judge(&members, "right", &strict());
    assert_eq!(
        fix_of(&report, FindingCode::DifferentSubnet),
        "aws ec2 run-instances --image-id \"$(aws ec2 describe-instances --instance-ids i-2 \
         --query 'Reservations[0].Instances[0].ImageId' --output text)\" --instance-type hpc7a.96xlarge --count 1 \
         --placement GroupName=pg-1 --network-interfaces \
         'NetworkCardIndex=0,DeviceIndex=0,InterfaceType=efa,SubnetId=subnet-1,Groups=[sg-1]' \
         'NetworkCardIndex=1,DeviceIndex=1,InterfaceType=efa-only,SubnetId=subnet-1,Groups=[sg-1]'  \
         # the old instances keep running, with what is on them: terminate them once the job has moved"
    );
    shell_accepts(&report);
}

#[test]
fn zone_and_subnet_of_the_remedy_go_together() {
    // Most members are in zone 4, but the subnet with most members is in zone 6.
    let places = [("use1-az4", "subnet-a"), ("use1-az4", "subnet-b"), ("use1-az4", "subnet-c")];
    let others = [("use1-az6", "subnet-z"), ("use1-az6", "subnet-z")];
    let members: Vec<Value> = places
        .iter()
        .chain(&others)
        .enumerate()
        .map(|(rank, (zone, subnet))| {
            let mut member = member(rank, &[interface(rank, 0, "efa", subnet, &["sg-1"])]);
            member["availability_zone_id"] = json!(zone);
            member
        })
        .collect();
    let report = judge(&members, "right", &strict());
    for code in [FindingCode::DifferentZone, FindingCode::DifferentSubnet] {
        assert!(fix_of(&report, code).contains("SubnetId=subnet-a"), "{report}");
        assert!(!fix_of(&report, code).contains("SubnetId=subnet-z"), "{report}");
    }
}

#[test]
fn a_member_without_an_efa_gets_one_beside_the_others() {
    let members = uniform_with(2, |it| it["interfaces"][0]["kind"] = json!("interface"));
    let report = judge(&members, "right", &strict());
    assert_eq!(
        fix_of(&report, FindingCode::NoEfaInterface),
        "aws ec2 stop-instances --instance-ids i-1 && aws ec2 wait instance-stopped --instance-ids i-1 && \
         aws ec2 attach-network-interface --instance-id i-1 --network-card-index 0 --device-index 1 \
         --network-interface-id \"$(aws ec2 create-network-interface --interface-type efa --subnet-id subnet-1 \
         --groups sg-1 --query NetworkInterface.NetworkInterfaceId --output text)\" && \
         aws ec2 start-instances --instance-ids i-1  # stops the instance: data on instance store volumes is lost, its \
         capacity may be gone at the start, and an Auto Scaling group or node pool may replace it"
    );
    shell_accepts(&report);
}

#[test]
fn a_warning_never_asks_to_stop_or_replace_an_instance() {
    for case in crate::cases::every_case() {
        let report = judge(&case.members, case.groups, &case.policy);
        for finding in report.findings().iter().filter(|it| it.severity == efa_admission::Severity::Warning) {
            for verb in ["stop-instances", "run-instances", "terminate-instances"] {
                assert!(!finding.text.remedy.contains(verb), "{}: {}", case.name, finding.text.remedy);
            }
        }
        for finding in report.findings().iter().filter(|it| it.text.remedy.contains("aws ec2 stop-instances"))
        {
            assert!(finding.text.remedy.contains("instance store"), "{}: {}", case.name, finding.text.remedy);
        }
    }
}

#[test]
fn the_primary_interface_stays_in_a_relaunch() {
    let layout = |rank: usize, subnet: &str| {
        let mut primary = interface(rank, 0, "interface", "subnet-nodes", &["sg-2"]);
        primary["device_number"] = json!(0);
        let mut first = interface(rank, 1, "efa-only", subnet, &["sg-1"]);
        (first["network_card"], first["device_number"]) = (json!(0), json!(1));
        let mut second = interface(rank, 2, "efa-only", subnet, &["sg-1"]);
        (second["network_card"], second["device_number"]) = (json!(1), json!(0));
        member(rank, &[primary, first, second])
    };
    let report = judge(
        &[layout(0, "subnet-1"), layout(1, "subnet-1"), layout(2, "subnet-2")],
        "right-and-empty",
        &strict(),
    );
    let fix = fix_of(&report, FindingCode::DifferentSubnet);
    assert!(
        fix.contains(
            "--network-interfaces 'NetworkCardIndex=0,DeviceIndex=0,InterfaceType=interface,SubnetId=subnet-nodes,\
             Groups=[sg-2]' 'NetworkCardIndex=0,DeviceIndex=1,InterfaceType=efa-only,SubnetId=subnet-1,Groups=[sg-1]' \
             'NetworkCardIndex=1,DeviceIndex=0,InterfaceType=efa-only,SubnetId=subnet-1,Groups=[sg-1]'"
        ),
        "{fix}"
    );
    // A file that leaves out the primary interface gets one, and a card with one slot has no device 1.
    let bare = |rank: usize, subnet: &str| {
        let cards: Vec<Value> =
            (0..2).map(|card| interface(rank, card, "efa-only", subnet, &["sg-1"])).collect();
        let mut it = member(rank, &cards);
        it["instance_type"] = json!("hpc6id.32xlarge");
        it
    };
    let report = judge(&[bare(0, "subnet-1"), bare(1, "subnet-1"), bare(2, "subnet-2")], "right", &strict());
    let fix = fix_of(&report, FindingCode::DifferentSubnet);
    assert!(fix.contains("'NetworkCardIndex=0,DeviceIndex=0,InterfaceType=interface,"), "{fix}");
    assert!(fix.contains("'NetworkCardIndex=1,DeviceIndex=0,InterfaceType=efa-only,"), "{fix}");
}

#[test]
fn commands_have_what_they_need_to_be_pasted() {
    let nothing: Vec<Value> = uniform_with(1, |it| it["interfaces"][0]["security_groups"] = json!([]));
    let report = judge(&nothing, "right", &strict());
    assert!(fix_of(&report, FindingCode::NoSharedSecurityGroup).contains("--vpc-id vpc-1"), "{report}");
    let many: Vec<Value> = (0..450)
        .map(|rank| {
            member(
                rank,
                &[
                    interface(rank, 0, "unknown", "subnet-1", &[["sg-1", "sg-2"][rank % 2]]),
                    interface(rank, 1, "efa-only", "subnet-1", &["sg-1"]),
                ],
            )
        })
        .collect();
    let report = judge(&many, "right-and-empty", &strict());
    let fix = fix_of(&report, FindingCode::InterfaceKindUnknown);
    assert_eq!(fix.lines().count(), 3, "{fix}");
    assert!(fix.lines().all(|line| line.matches(',').count() <= 202), "{fix}");
    assert!(fix.contains("--output table"), "{fix}");
}

/// The remedies of all cases, one a line, for ci/remedies to let the AWS command line parse them.
#[test]
fn every_remedy_is_a_line_of_shell() {
    let mut lines = std::collections::BTreeSet::new();
    for case in crate::cases::every_case() {
        let unknown = SecurityGroups::unknown_because(efa_admission::ApiFailure::Denied);
        let facts = members(&case.members);
        for report in
            [judge(&case.members, case.groups, &case.policy), evaluate(&facts, &unknown, &case.policy)]
        {
            let script = report.to_script();
            let status = std::process::Command::new("sh").arg("-n").arg("-c").arg(&script).status();
            assert!(status.expect("a shell").success(), "{}: {script}", case.name);
            lines.extend(report.findings().iter().flat_map(|it| it.text.remedy.lines().map(str::to_owned)));
        }
    }
    assert!(lines.iter().filter(|line| line.starts_with("aws ")).count() > 20, "{lines:?}");
    if let Some(path) = std::env::var_os("EFA_TEST_REMEDIES") {
        std::fs::write(path, lines.into_iter().collect::<Vec<_>>().join("\n") + "\n").expect("writable");
    }
}

#[test]
fn placement_is_said_with_what_would_be_better() {
    let members = uniform_with(2, |it| it["placement"] = json!({"group": null}));
    let report = judge(&members, "right", &strict());
    assert_eq!(
        fix_of(&report, FindingCode::NotInClusterPlacementGroup),
        "aws ec2 describe-instances --output table \
         --query 'Reservations[].Instances[].[InstanceId,InstanceType,SubnetId,Placement.GroupName]' \
         --instance-ids i-1  # launch the next instances with --placement GroupName=pg-1"
    );
    let mut nobody_in_one = uniform(2);
    nobody_in_one.iter_mut().for_each(|it| it["placement"] = json!({}));
    let report = judge(&nobody_in_one, "right", &strict());
    let fix = fix_of(&report, FindingCode::NotInClusterPlacementGroup);
    assert!(
        fix.starts_with("aws ec2 create-placement-group --group-name efa-job --strategy cluster\n"),
        "{fix}"
    );
    shell_accepts(&report);
}

#[test]
fn a_group_name_with_a_quote_in_it_stays_one_word() {
    let members = uniform_with(3, |it| it["placement"]["group"] = json!("other"));
    let mut members: Vec<Value> = members;
    members[0]["placement"]["group"] = json!("it's; reboot");
    members[1]["placement"]["group"] = json!("it's; reboot");
    let report = judge(&members, "right", &strict());
    let fix = fix_of(&report, FindingCode::DifferentPlacementGroups);
    assert!(fix.contains(r"GroupName='it'\''s; reboot'"), "{fix}");
    shell_accepts(&report);
}

#[test]
fn unknown_rules_are_asked_for() {
    let report = evaluate(&members(&uniform(1)), &SecurityGroups::unknown(), &strict());
    assert_eq!(
        fix_of(&report, FindingCode::RulesUnknown),
        "aws ec2 describe-security-groups --output json --group-ids sg-1 > groups.json  \
         # then judge with --security-groups groups.json"
    );
}

#[test]
fn crossing_subnets_over_tcp_says_what_it_costs() {
    let members = uniform_with(2, |it| it["interfaces"][0]["subnet_id"] = json!("subnet-2"));
    let report = judge(&members, "right", &Policy::strict().allow_tcp_across_subnets());
    let finding = &report.findings()[0];
    assert_eq!(finding.code, FindingCode::DifferentSubnet);
    assert!(finding.text.why.contains("5 Gbit/s, 10 in a cluster placement group"), "{report}");
}

#[test]
fn a_refusal_says_what_why_and_what_to_do() {
    let report = judge(&uniform(2), "vpc-default", &strict());
    let error = report.admit().expect_err("a refused job").to_string();
    assert_eq!(
        error,
        "admission refused the job [missing-self-egress]: sg-1, the group that ranks 0-1 (i-0, i-1) share, does not \
         let out all traffic to itself; its rule for 0.0.0.0/0 does not count; aws ec2 \
         authorize-security-group-egress --group-id sg-1 --ip-permissions \
         'IpProtocol=-1,UserIdGroupPairs=[{GroupId=sg-1}]'"
    );
}

#[test]
fn people_get_a_table_that_groups_members() {
    let members: Vec<Value> = (0..1000)
        .map(|rank| member(rank, &[interface(rank, 0, "efa", "subnet-1", &[["sg-1", "sg-2"][rank % 2]])]))
        .collect();
    let report = judge(&members, "right-and-empty", &strict());
    let table = report.to_table(false);
    assert!(
        table.starts_with("refused: 1000 members, strict policy, efa asked for, facts from files\n"),
        "{table}"
    );
    assert!(table.contains("ranks 1, 3, 5, 7 and 496 more (i-1, i-3, ...)"), "{table}");
    assert!(table.contains("and 497 more commands like these"), "{table}");
    assert!(table.len() < 3000, "{}", table.len());
    assert!(!table.contains('\x1b'));
    assert!(report.to_table(true).contains("\x1b[1;31mrefused\x1b[0m"));
}
