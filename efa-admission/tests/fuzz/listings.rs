//! What the AWS command line prints, with changes at random.

use efa_admission::source::file::{read_described, read_security_groups};
use efa_admission::{Facts, evaluate};
use serde_json::{Value, json};

use crate::build::*;
use crate::{is_clear, is_consistent, policies, text};

fn interface_of(instance: &str, device: u32, kind: &str) -> Value {
    json!({
        "NetworkInterfaceId": format!("eni-{instance}-{device}"), "MacAddress": "02:00:00:00:00:01",
        "InterfaceType": kind, "SubnetId": "subnet-1", "VpcId": "vpc-1", "AvailabilityZoneId": "use1-az4",
        "Groups": [{"GroupName": "efa", "GroupId": "sg-1"}],
        "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.7", "Primary": true}],
        "Ipv6Addresses": [{"Ipv6Address": "2001:db8::1"}],
        "Attachment": {"InstanceId": instance, "DeviceIndex": device, "NetworkCardIndex": device},
    })
}

fn instance(id: &str, state: &str) -> Value {
    json!({
        "InstanceId": id, "InstanceType": "hpc7a.96xlarge", "State": {"Code": 16, "Name": state},
        "PrivateDnsName": format!("{id}.ec2.internal"),
        "Placement": {"AvailabilityZoneId": "use1-az4", "GroupName": "pg-1", "PartitionNumber": 1},
        "NetworkInterfaces": [interface_of(id, 0, "efa"), interface_of(id, 1, "efa-only")],
    })
}

fn version(default: bool) -> Value {
    json!({"LaunchTemplateId": "lt-1", "DefaultVersion": default, "LaunchTemplateData": {
        "InstanceType": "hpc7a.96xlarge", "Placement": {"GroupName": "pg-1"},
        "NetworkInterfaces": [{"DeviceIndex": 0, "NetworkCardIndex": 0, "InterfaceType": "efa",
                               "SubnetId": "subnet-1", "Groups": ["sg-1"]}]}})
}

/// A good listing of each command that members are made of.
fn of_members() -> [Value; 3] {
    [
        json!({"Reservations": [
            {"Instances": [instance("i-0a", "running"), instance("i-0b", "terminated")]},
            {"Instances": [instance("i-0c", "pending")]},
        ], "NextToken": null}),
        json!({"NetworkInterfaces": [
            interface_of("i-0a", 0, "efa"), interface_of("i-0b", 0, "interface"), interface_of("i-0a", 1, "efa-only"),
        ]}),
        json!({"LaunchTemplateVersions": [version(false), version(true)], "NextToken": ""}),
    ]
}

/// What `aws ec2 describe-security-group-rules` prints.
fn of_rules() -> Value {
    let itself = |egress: bool| {
        json!({"GroupId": "sg-1", "GroupOwnerId": "111122223333", "IsEgress": egress, "IpProtocol": "-1",
               "FromPort": -1, "ToPort": -1, "ReferencedGroupInfo": {"GroupId": "sg-1", "UserId": "111122223333"}})
    };
    json!({"SecurityGroupRules": [
        itself(false), itself(true),
        {"GroupId": "sg-1", "IsEgress": true, "IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "CidrIpv4": "10.0.0.0/8"},
        {"GroupId": "sg-1", "IsEgress": false, "IpProtocol": "-1", "CidrIpv6": "2001:db8::/32"},
        {"GroupId": "sg-2", "IsEgress": true, "IpProtocol": "-1", "PrefixListId": "pl-1"},
    ]})
}

#[test]
fn fuzz_listings_of_members_are_refused_with_their_place_or_judged() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("listing.json");
    let (listings, rules) = (of_members(), [groups("right"), groups("tcp-only")]);
    efa_fuzz::rounds("listing of members", 3000, |random| {
        let listing = random.pick(&listings).clone();
        std::fs::write(&path, text(random, &listing)).expect("a scratch file");
        match read_described(&path, None) {
            Err(error) => is_clear(&error, &path),
            Ok(described) => {
                let ranks = described.members.iter().map(|facts| facts.member.rank);
                assert!(ranks.eq(0..described.members.len()), "{:?}", described.members);
                assert!(described.notes.iter().all(|note| !note.is_empty() && !note.contains('\n')));
                let (rules, policy) = (random.pick(&rules), policies(random));
                let report = evaluate(&described.members, rules, &policy);
                is_consistent(&report);
                let reversed: Vec<Facts> = described.members.into_iter().rev().collect();
                assert_eq!(report.exit_status(), evaluate(&reversed, rules, &policy).exit_status());
            }
        }
    });
}

#[test]
fn fuzz_rules_one_by_one_are_refused_with_their_place_or_judged_by() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("rules.json");
    let (job, listing) = (members(&uniform(3)), of_rules());
    efa_fuzz::rounds("listing of rules", 3000, |random| {
        std::fs::write(&path, text(random, &listing)).expect("a scratch file");
        match read_security_groups(&path) {
            Err(error) => is_clear(&error, &path),
            Ok(rules) => is_consistent(&evaluate(&job, &rules, &policies(random))),
        }
    });
}

#[test]
fn listings_are_good_before_they_are_changed() {
    for listing in of_members() {
        let file = file(&listing.to_string());
        let members = read_described(file.path(), None).expect("a good listing").members;
        assert!(!members.is_empty() && members[0].member.interfaces[0].subnet_id == "subnet-1");
    }
    let rules = read_security_groups(file(&of_rules().to_string()).path()).expect("good rules");
    assert_eq!(evaluate(&members(&uniform(3)), &rules, &strict()).exit_status(), 0);
}
