//! Large jobs.

use std::fmt::Write;
use std::time::{Duration, Instant};

use efa_admission::{InterfaceKind, Policy, evaluate, source};

use crate::build::*;

/// One second; a build without optimisation, beside other tests on a busy machine, gets more.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

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
        assert_eq!(
            report.exit_status(),
            exit,
            "{}",
            &report.to_string()[..500.min(report.to_string().len())]
        );
        // Without optimisation, and on a busy machine, it takes many times as long.
        let limit = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 1 });
        assert!(elapsed < limit, "{elapsed:?}");
    }
}
