//! Large jobs.

use std::fmt::Write;
use std::time::{Duration, Instant};

use efa_admission::{InterfaceKind, Policy, evaluate, source};

use serde_json::json;

use crate::build::*;

/// It takes a tenth of a second; a build without optimisation, beside other tests on a busy machine, gets more.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 10 });

#[test]
fn ten_thousand_members_are_judged_within_a_second() {
    let mut text = String::from("[");
    for rank in 0..10_000 {
        let comma = if rank == 0 { "" } else { "," };
        write!(text, "{comma}{}", member(rank, &[interface(rank, 0, "efa", "subnet-1", &["sg-1", "sg-2"])]))
            .expect("a string grows");
    }
    text += "]";
    let file = file(&text);
    for (rules, admitted) in [("right-and-empty", true), ("mutual", false)] {
        let start = Instant::now();
        let members = source::file::read_members(file.path()).expect("good members");
        let report = evaluate(&members, &groups(rules), &strict());
        let json = serde_json::to_string(&report).expect("plain data");
        let elapsed = start.elapsed();
        assert_eq!(report.admitted(), admitted);
        assert!(json.contains("rank 9999 (i-9999)"));
        assert!(elapsed < LIMIT, "{elapsed:?}");
    }
}

#[test]
fn a_hundred_thousand_interfaces_are_judged_within_a_second() {
    let model = members(&[member(
        0,
        &(0..32).map(|n| interface(0, n, "efa-only", "subnet-1", &["sg-1"])).collect::<Vec<_>>(),
    )]);
    let job: Vec<_> = (0..3125)
        .map(|rank| {
            let mut facts = model[0].clone();
            let member = &mut facts.member;
            (member.rank, member.instance_id) = (rank, format!("i-{rank}"));
            member.instance_type = Some("p5.48xlarge".into());
            for (number, interface) in member.interfaces.iter_mut().enumerate() {
                interface.interface_id = Some(format!("eni-{rank}-{number}"));
            }
            facts
        })
        .collect();
    // With each kind in doubt as well, which judges the job twice.
    let mut in_doubt = job.clone();
    in_doubt
        .iter_mut()
        .flat_map(|it| &mut it.member.interfaces)
        .for_each(|it| it.kind = InterfaceKind::Unknown);
    in_doubt[7].member.interfaces[1].security_groups = Some(vec!["sg-2".into()]);
    let mut plain = job.clone();
    plain
        .iter_mut()
        .flat_map(|it| &mut it.member.interfaces)
        .for_each(|it| it.kind = InterfaceKind::Interface);
    for (job, policy, exit) in
        [(&job, strict(), 0), (&plain, Policy::strict().uses_tcp(true), 0), (&in_doubt, strict(), 3)]
    {
        let began = Instant::now();
        let report = evaluate(job, &groups("right-and-empty"), &policy);
        let elapsed = began.elapsed();
        println!("100,000 interfaces judged, exit {exit}: {elapsed:?}");
        assert_eq!(
            report.exit_status(),
            exit,
            "{}",
            &report.to_string()[..500.min(report.to_string().len())]
        );
        // It takes 0.4 s; without optimisation, and on a busy machine, many times as long.
        let limit = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 10 });
        assert!(elapsed < limit, "{elapsed:?}");
    }
}

#[test]
fn files_of_many_interfaces_are_read_in_seconds() {
    // A Terraform state has more values for an interface, and a file may hold two million.
    let (listed, resources_of) = if cfg!(debug_assertions) { (300, 100) } else { (3125, 1000) };
    // As `aws ec2 describe-instances` and `terraform show -json` print instances with 32 interfaces each.
    let interfaces = |rank: i32| {
        (0..32).map(move |number| {
            json!({"NetworkInterfaceId": format!("eni-{rank}-{number}"), "InterfaceType": "efa-only", "SubnetId": "subnet-1",
                   "VpcId": "vpc-1", "Groups": [{"GroupId": "sg-1"}],
                   "Attachment": {"DeviceIndex": 1, "NetworkCardIndex": number}})
        })
    };
    let instances = (0..listed).map(|rank| {
        json!({"InstanceId": format!("i-{rank}"), "NetworkInterfaces": interfaces(rank).collect::<Vec<_>>()})
    });
    let listing = json!({"Reservations": [{"Instances": instances.collect::<Vec<_>>()}]});
    let mut resources = Vec::new();
    for rank in 0..resources_of {
        for number in 0..32 {
            resources.push(json!({"address": format!("aws_network_interface.it[{rank}]"), "type": "aws_network_interface", "name": "it",
                "values": {"id": format!("eni-{rank}-{number}"), "interface_type": "efa-only", "subnet_id": "subnet-1",
                           "security_groups": ["sg-1"]}}));
            resources.push(json!({"address": "aws_network_interface_attachment.it", "type": "aws_network_interface_attachment",
                "name": "it", "values": {"instance_id": format!("i-{rank}"), "network_interface_id": format!("eni-{rank}-{number}"),
                                         "device_index": 1, "network_card_index": number}}));
        }
        resources.push(json!({"address": format!("aws_instance.it[{rank}]"), "type": "aws_instance", "name": "it",
            "values": {"id": format!("i-{rank}"), "subnet_id": "subnet-1", "vpc_security_group_ids": ["sg-2"]}}));
    }
    let state = json!({"format_version": "1.0", "values": {"root_module": {"resources": resources}}});
    for (form, text) in [("describe-instances", listing.to_string()), ("Terraform", state.to_string())] {
        let file = file(&text);
        let began = Instant::now();
        let described = source::file::read_described(file.path(), None);
        let read = began.elapsed();
        let Ok(described) = described else {
            panic!("{form}: {:?}", described.map(|it| it.members.len()));
        };
        let report = evaluate(&described.members, &groups("right-and-empty"), &strict());
        println!("{form}, {} MiB: read in {read:?}, judged after {:?}", text.len() >> 20, began.elapsed());
        assert_eq!(report.exit_status(), 0, "{}", &report.to_string()[..500.min(report.to_string().len())]);
        assert!(read < Duration::from_secs(if cfg!(debug_assertions) { 120 } else { 20 }), "{read:?}");
    }
}
