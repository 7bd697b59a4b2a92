//! What the AWS command line prints, as members and as rules.

use efa_admission::source::file::{Described, read_described, read_security_groups};
use efa_admission::{InterfaceKind, evaluate};
use serde_json::{Value, json};

use crate::build::*;

fn described(text: &Value) -> Described {
    read_described(file(&text.to_string()).path(), None).expect("a good listing")
}

fn wrong(text: &Value) -> String {
    read_described(file(&text.to_string()).path(), None).expect_err("a bad listing").to_string()
}

/// An interface as both commands print it.
fn printed(instance: &str, device: u32, kind: &str) -> Value {
    let addresses = if kind == "efa-only" {
        json!([])
    } else {
        json!([{"PrivateIpAddress": "10.0.0.7", "Primary": true}])
    };
    json!({
        "NetworkInterfaceId": format!("eni-{instance}-{device}"), "MacAddress": "02:00:00:00:00:01",
        "InterfaceType": kind, "SubnetId": "subnet-1", "VpcId": "vpc-1", "Status": "in-use",
        "AvailabilityZone": "us-east-1a", "AvailabilityZoneId": "use1-az4", "SourceDestCheck": true,
        "Groups": [{"GroupName": "efa", "GroupId": "sg-1"}], "PrivateIpAddresses": addresses,
        "Attachment": {"AttachmentId": "eni-attach-1", "InstanceId": instance, "DeviceIndex": device,
                       "NetworkCardIndex": device, "Status": "attached", "DeleteOnTermination": true},
    })
}

fn instance(id: &str, state: &str) -> Value {
    json!({
        "InstanceId": id, "InstanceType": "hpc7a.96xlarge", "State": {"Code": 16, "Name": state},
        "PrivateDnsName": format!("{id}.ec2.internal"),
        "Placement": {"AvailabilityZone": "us-east-1a", "AvailabilityZoneId": "use1-az4", "GroupName": "pg-1",
                      "Tenancy": "default"},
        "NetworkInterfaces": [printed(id, 0, "efa"), printed(id, 1, "efa-only")],
    })
}

#[test]
fn instances_that_run_become_members() {
    let listing = json!({"Reservations": [
        {"ReservationId": "r-1", "Instances": [instance("i-0a", "running"), instance("i-0b", "terminated")]},
        {"ReservationId": "r-2", "Instances": [instance("i-0c", "running")]},
    ]});
    let Described { members, notes, .. } = described(&listing);
    let ids: Vec<_> = members.iter().map(|it| (it.member.rank, it.member.instance_id.as_str())).collect();
    assert_eq!(ids, [(0, "i-0a"), (1, "i-0c")]);
    assert!(notes.iter().any(|note| note.contains("1 of 3 instances are not running")), "{notes:?}");
    let member = &members[0].member;
    assert_eq!(member.availability_zone_id.as_deref(), Some("use1-az4"));
    let second = &member.interfaces[1];
    assert_eq!(
        (second.kind, second.network_card, second.device_number),
        (InterfaceKind::EfaOnly, Some(1), Some(1))
    );
    assert_eq!(second.security_groups, Some(vec!["sg-1".into()]));
    let report = evaluate(&members, &groups("right"), &strict());
    assert_eq!(report.exit_status(), 0, "{report}");
}

#[test]
fn interfaces_become_members_by_their_instances() {
    let mut loose = printed("i-0c", 0, "interface");
    loose["Attachment"] = json!(null);
    let listing = json!({"NetworkInterfaces": [
        printed("i-0a", 0, "efa"), printed("i-0b", 0, "efa"), printed("i-0a", 1, "efa-only"), loose,
    ]});
    let Described { members, notes, .. } = described(&listing);
    let found: Vec<_> = members.iter().map(|it| it.member.interfaces.len()).collect();
    assert_eq!(found, [2, 1]);
    assert!(notes.iter().any(|note| note.contains("1 interfaces are attached to no instance")), "{notes:?}");
    assert_eq!(evaluate(&members, &groups("right"), &strict()).exit_status(), 0);
}

#[test]
fn the_default_version_of_a_launch_template_becomes_a_member() {
    let version = |default: bool, kind: &str| {
        json!({"LaunchTemplateId": "lt-1", "DefaultVersion": default, "LaunchTemplateData": {
            "InstanceType": "hpc7a.96xlarge", "Placement": {"GroupName": "pg-1"},
            "NetworkInterfaces": [{"DeviceIndex": 0, "NetworkCardIndex": 0, "InterfaceType": kind,
                                   "SubnetId": "subnet-1", "Groups": ["sg-1"]}]}})
    };
    let listing = json!({"LaunchTemplateVersions": [version(false, "interface"), version(true, "efa")]});
    let Described { members, notes, .. } = described(&listing);
    assert_eq!(members[0].member.interfaces[0].kind, InterfaceKind::Efa);
    assert!(notes.iter().any(|note| note.contains("zone and VPC")), "{notes:?}");
    let undecided = json!({"LaunchTemplateVersions": [version(false, "efa"), version(false, "efa")]});
    assert!(wrong(&undecided).contains("--versions"));
}

#[test]
fn a_part_of_a_listing_names_the_option_that_cut_it_short() {
    for key in ["Reservations", "NetworkInterfaces", "LaunchTemplateVersions"] {
        let error = wrong(&json!({key: [], "NextToken": "abc"}));
        assert!(error.contains("NextToken") && error.contains("--max-items"), "{error}");
    }
    for key in ["SecurityGroups", "SecurityGroupRules"] {
        let text = json!({key: [], "NextToken": "abc"}).to_string();
        let error = read_security_groups(file(&text).path()).expect_err("a part").to_string();
        assert!(error.contains("--max-items"), "{error}");
    }
}

#[test]
fn anything_else_is_told_from_a_listing() {
    for text in
        [json!({}), json!({"SecurityGroups": []}), json!({"Reservations": 1}), json!({"Reservations": [{}]})]
    {
        let error = wrong(&text);
        assert!(error.contains("describe-instances"), "{error}");
    }
}

#[test]
fn rules_one_by_one_give_the_verdict_of_rules_by_group() {
    let rule = |egress: bool| {
        json!({"SecurityGroupRuleId": "sgr-1", "GroupId": "sg-1", "GroupOwnerId": "111122223333", "IsEgress": egress,
               "IpProtocol": "-1", "FromPort": -1, "ToPort": -1,
               "ReferencedGroupInfo": {"GroupId": "sg-1", "UserId": "111122223333"}, "Tags": []})
    };
    let judged = |rules: &[Value]| {
        let text = json!({"SecurityGroupRules": rules}).to_string();
        let rules = read_security_groups(file(&text).path()).expect("good rules");
        evaluate(&members(&uniform(2)), &rules, &strict()).exit_status()
    };
    assert_eq!(judged(&[rule(false), rule(true)]), 0);
    assert_eq!(judged(&[rule(false)]), 1);
    let everyone = json!({"GroupId": "sg-1", "IsEgress": true, "IpProtocol": "-1", "CidrIpv4": "0.0.0.0/0"});
    assert_eq!(judged(&[rule(false), everyone]), 1);
}
