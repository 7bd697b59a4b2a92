//! Paths that turn out closed after the job was admitted.

use efa_admission::Error;
use efa_admission::{ClosedPath, Finding, FindingCode, Policy, Report, SecurityGroups, Severity, evaluate};
use serde_json::json;

use crate::build::{codes, groups, host_member, judge, members, same_zone, strict, uniform};

fn closed(from: usize, to: usize, seen: &str) -> ClosedPath {
    ClosedPath { from, to, seen: seen.into() }
}

/// The report on so many uniform members, of whom these can't reach each other.
fn tried(count: usize, paths: &[ClosedPath]) -> Report {
    judge(&uniform(count), "right", &strict()).with_closed_paths(&members(&uniform(count)), paths)
}

fn only(report: &Report) -> &Finding {
    let [finding] = report.findings() else { panic!("not one finding:\n{report}") };
    assert_eq!((finding.code, finding.severity), (FindingCode::PathClosed, Severity::Error));
    finding
}

#[test]
fn open_paths_change_nothing() {
    let report = judge(&uniform(3), "right", &strict());
    assert_eq!(report.clone().with_closed_paths(&members(&uniform(3)), &[]), report);
}

#[test]
fn a_closed_path_names_both_hosts_with_interfaces_and_groups_and_the_commands() {
    let report =
        tried(3, &[closed(2, 1, "nothing arrived within 10 s"), closed(2, 1, "the peer can't be reached")]);
    let finding = only(&report);
    assert_eq!(
        finding.text.what,
        "no message from rank 2 (node-2, i-2: eni-2-0 10.0.0.2 in subnet-1 with sg-1) reaches rank 1 (node-1, i-1: \
         eni-1-0 10.0.0.1 in subnet-1 with sg-1): nothing arrived within 10 s, and the peer can't be reached"
    );
    assert_eq!(finding.security_groups, ["sg-1"]);
    assert_eq!(finding.members.iter().map(|name| name.rank).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(
        finding.text.remedy,
        "aws ec2 authorize-security-group-ingress --group-id sg-1 \
         --ip-permissions 'IpProtocol=-1,UserIdGroupPairs=[{GroupId=sg-1}]'\n\
         aws ec2 authorize-security-group-egress --group-id sg-1 \
         --ip-permissions 'IpProtocol=-1,UserIdGroupPairs=[{GroupId=sg-1}]'\n\
         aws ec2 describe-instance-status --include-all-instances --instance-ids i-1 i-2  # are both up?"
    );
    assert!(!report.admitted());
    assert_eq!(report.exit_status(), 1);
    let Err(Error::Refused { undetermined: false, .. }) = report.admit() else {
        panic!("admitted:\n{report}")
    };
}

#[test]
fn across_subnets_the_remedy_is_one_subnet() {
    let mut values = uniform(2);
    values[1]["interfaces"][0]["subnet_id"] = json!("subnet-2");
    let report = judge(&values, "right", &same_zone());
    assert!(report.admitted());
    let report = report.with_closed_paths(&members(&values), &[closed(0, 1, "the peer does not respond")]);
    assert_eq!(codes(&report, Severity::Error), ["path-closed"]);
    // The warning about the subnets stays, after the error.
    assert_eq!(report.findings()[1].code, FindingCode::DifferentSubnet);
    let fix = &report.findings()[0].text.remedy;
    assert!(fix.starts_with("aws ec2 run-instances") && fix.contains("SubnetId=subnet-1"), "{fix}");
}

#[test]
fn off_ec2_the_remedy_is_about_firewall_and_route() {
    let mut facts = [host_member(0, "node-a", "192.0.2.0/24"), host_member(1, "node-b", "192.0.2.0/24")];
    facts[0].member.interfaces[0].ipv4 = vec![[192, 0, 2, 1].into()];
    facts[1].member.interfaces[0].ipv4 = vec![[192, 0, 2, 2].into()];
    let report = evaluate(&facts, &SecurityGroups::none(), &Policy::strict());
    let report = report.with_closed_paths(&facts, &[closed(0, 1, "nothing arrived within 10 s")]);
    let finding = only(&report);
    assert!(
        finding.text.what.contains("rank 1 (node-b: eth0 192.0.2.2 in 192.0.2.0/24)"),
        "{}",
        finding.text.what
    );
    assert!(
        finding.text.remedy.contains("iptables -I INPUT -s 192.0.2.1 -j ACCEPT  # on rank 1's host"),
        "{}",
        finding.text.remedy
    );
}

#[test]
fn many_closed_paths_are_summed_up_in_any_order() {
    let mut paths: Vec<ClosedPath> = (0..1000).map(|rank| closed(rank, (rank + 1) % 1000, "lost")).collect();
    let report = tried(1000, &paths);
    assert_eq!(report.findings().len(), 5);
    let last = &report.findings()[4];
    assert!(
        last.text.what.starts_with("996 more paths are closed, from rank 4 to 5, 5 to 6, "),
        "{}",
        last.text.what
    );
    assert!(report.to_string().lines().count() < 50, "{report}");
    paths.reverse();
    assert_eq!(tried(1000, &paths), report);
}

#[test]
fn paths_of_nobody_in_the_job_are_left_out() {
    let report = judge(&uniform(2), "right", &strict());
    assert_eq!(tried(2, &[closed(0, 7, "lost"), closed(7, 8, "lost")]), report);
}

#[test]
fn a_shared_group_is_found_among_several() {
    let mut values = uniform(2);
    values[0]["interfaces"][0]["security_groups"] = json!(["sg-0", "sg-1"]);
    values[1]["interfaces"][0]["security_groups"] = json!(["sg-1", "sg-2"]);
    let facts = members(&values);
    let report = evaluate(&facts, &groups("right"), &strict());
    let report = report.with_closed_paths(&facts, &[closed(0, 1, "lost")]);
    let closed = report.findings().iter().find(|finding| finding.code == FindingCode::PathClosed);
    let closed = closed.expect("a finding");
    assert_eq!(closed.security_groups, ["sg-0", "sg-1", "sg-2"]);
    assert!(closed.text.remedy.contains("--group-id sg-1 "), "{}", closed.text.remedy);
}
