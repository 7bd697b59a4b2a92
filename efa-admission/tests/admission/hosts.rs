//! Jobs off EC2, judged by what the hosts themselves say.

use efa_admission::{Facts, Policy, Report, SecurityGroups, Severity, evaluate, source};

use crate::build::*;

fn judge_hosts(members: &[Facts], policy: &Policy) -> Report {
    evaluate(members, &SecurityGroups::none(), policy)
}

#[test]
fn a_job_of_one_on_this_host_is_admitted() {
    if source::host::on_ec2() {
        let error = source::host::facts(0, None).expect_err("the host is not enough on EC2");
        assert!(error.to_string().contains("identity-unknown"), "{error}");
        return;
    }
    let me = source::of_this_machine(0, None).expect("facts of this host");
    assert_eq!(me.member.interfaces[0].subnet_id, "127.0.0.0/8");
    let report = judge_hosts(&[me], &Policy::default());
    assert_eq!(report.exit_status(), 0, "{report}");
    assert!(report.to_string().contains("no security groups"), "{report}");
    assert!(report.admit().is_ok());
}

#[test]
fn facts_survive_the_wire() {
    let facts = host_member(3, "node-a", "192.0.2.0/24");
    let text = serde_json::to_string(&facts).expect("plain data");
    assert_eq!(serde_json::from_str::<Facts>(&text).expect("what was written"), facts);
    let rules = groups("self-second");
    let text = serde_json::to_string(&rules).expect("plain data");
    assert_eq!(serde_json::from_str::<SecurityGroups>(&text).expect("what was written"), rules);
}

#[test]
fn hosts_of_one_network_are_admitted_and_others_refused() {
    let a = host_member(0, "node-a", "192.0.2.0/24");
    let b = host_member(1, "node-b", "192.0.2.0/24");
    let c = host_member(2, "node-c", "198.51.100.0/24");
    assert!(judge_hosts(&[a.clone(), b.clone()], &Policy::default()).admitted());
    let job = [a, b, c];
    for policy in [Policy::strict(), Policy::same_zone()] {
        let report = judge_hosts(&job, &policy);
        assert_eq!(codes(&report, Severity::Error), ["different-subnet"], "{report}");
        assert_eq!(report.exit_status(), 1);
    }
    let report = judge_hosts(&job, &Policy::strict().allow_tcp_across_subnets());
    assert_eq!(codes(&report, Severity::Warning), ["different-subnet"], "{report}");
    assert!(report.admitted());
}

#[test]
fn loopback_joins_ranks_of_one_machine_only() {
    let network = "127.0.0.0/8";
    let here = [host_member(0, "node-a", network), host_member(1, "node-a", network)];
    assert!(judge_hosts(&here, &Policy::default()).admitted());
    let apart = [host_member(0, "node-a", network), host_member(1, "node-b", network)];
    for policy in [Policy::strict(), Policy::strict().allow_tcp_across_subnets()] {
        let report = judge_hosts(&apart, &policy);
        assert_eq!(codes(&report, Severity::Error), ["different-subnet"], "{report}");
        assert!(report.findings()[0].text.what.contains("does not leave a machine"), "{report}");
    }
}

#[test]
fn facts_of_different_kinds_of_places_do_not_go_together() {
    let mut job = members(&uniform(2));
    job.push(host_member(2, "node-c", "subnet-1"));
    let report = evaluate(&job, &groups("right"), &Policy::default());
    assert_eq!(codes(&report, Severity::Error), ["identity-unknown"], "{report}");
    assert_eq!(report.exit_status(), 3);
}

#[test]
fn ranks_that_say_they_are_the_same_do_not_go_together() {
    let job = [host_member(0, "node-a", "192.0.2.0/24"), host_member(0, "node-b", "192.0.2.0/24")];
    let report = judge_hosts(&job, &Policy::default());
    assert_eq!(codes(&report, Severity::Error), ["identity-unknown"], "{report}");
}

#[test]
fn efa_needs_a_device_and_memory_that_may_be_locked() {
    let mut job = [host_member(0, "node-a", "192.0.2.0/24"), host_member(1, "node-b", "192.0.2.0/24")];
    let efa = Policy::strict().requires_efa(true);
    assert_eq!(codes(&judge_hosts(&job, &efa), Severity::Error), ["no-efa-device"]);
    for facts in &mut job {
        facts.host.as_mut().expect("host facts").efa_devices = 1;
    }
    assert!(judge_hosts(&job, &efa).admitted());
    job[1].host.as_mut().expect("host facts").memlock_bytes = Some(8 << 20);
    let report = judge_hosts(&job, &efa);
    assert_eq!(codes(&report, Severity::Error), ["memlock-limit"]);
    assert_eq!(report.findings()[0].members[0].rank, 1);
    assert_eq!(report.exit_status(), 1);
    // Nothing of it matters where efa is not asked for, nor for a device that locks nothing.
    assert!(judge_hosts(&job, &Policy::strict()).admitted());
    job[1].host.as_mut().expect("host facts").memlock_bytes = None;
    assert!(judge_hosts(&job, &efa).admitted());
}
