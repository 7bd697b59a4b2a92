//! The verdicts, on every case and on what no case can say.

use efa_admission::Error;
use efa_admission::{Policy, SecurityGroups, Severity, evaluate};
use serde_json::json;

use crate::build::*;
use crate::cases::{every_case, last_changed, one_group_each};

#[test]
fn every_case_gets_its_verdict() {
    for case in every_case() {
        let report = judge(&case.members, case.groups, &case.policy);
        let name = case.name;
        assert_eq!(codes(&report, Severity::Error), case.errors, "{name}\n{report}");
        assert_eq!(codes(&report, Severity::Warning), case.warnings, "{name}\n{report}");
        assert_eq!(report.exit_status(), case.exit, "{name}\n{report}");
        assert_eq!(report.admitted(), case.exit == 0, "{name}\n{report}");
        match report.admit() {
            Ok(admission) => assert_eq!(admission.members(), case.members.len(), "{name}"),
            Err(Error::Refused { undetermined, .. }) => assert_eq!(undetermined, case.exit == 3, "{name}"),
            Err(other) => panic!("{name}: {other}"),
        }
        for finding in report.findings() {
            assert!(
                !finding.text.what.is_empty()
                    && !finding.text.why.is_empty()
                    && !finding.text.remedy.is_empty(),
                "{name}"
            );
        }
    }
}

#[test]
fn rules_that_nobody_could_tell_refuse_the_job() {
    for groups in [SecurityGroups::unknown(), SecurityGroups::none()] {
        let report = evaluate(&members(&uniform(2)), &groups, &strict());
        assert_eq!(codes(&report, Severity::Error), ["rules-unknown"]);
        assert_eq!(report.exit_status(), 3);
    }
    // What is broken for certain outweighs it.
    let report = evaluate(&members(&one_group_each()), &SecurityGroups::unknown(), &strict());
    assert_eq!(codes(&report, Severity::Error), ["no-shared-security-group", "rules-unknown"]);
    assert_eq!(report.exit_status(), 1);
}

#[test]
fn a_group_listed_twice_has_only_what_both_entries_give() {
    let mut both = groups("right").groups().expect("rules").to_vec();
    both.extend(groups("vpc-default").groups().expect("rules").to_vec());
    for order in [both.clone(), both.into_iter().rev().collect()] {
        let report = evaluate(&members(&uniform(2)), &SecurityGroups::known(order), &strict());
        assert_eq!(codes(&report, Severity::Error), ["missing-self-egress"]);
    }
}

#[test]
fn a_pair_of_another_account_or_a_dead_peering_is_not_the_group_itself() {
    for (key, value) in [("UserId", "444455556666"), ("PeeringStatus", "deleted")] {
        let mut rules = serde_json::to_value(groups("right").groups().expect("rules")).expect("plain data");
        rules[0]["IpPermissions"][0]["UserIdGroupPairs"][0][key] = json!(value);
        let file = file(&json!({"SecurityGroups": rules}).to_string());
        let rules = efa_admission::source::file::read_security_groups(file.path()).expect("good rules");
        let report = evaluate(&members(&uniform(2)), &rules, &strict());
        assert_eq!(codes(&report, Severity::Error), ["missing-self-ingress"], "{key}");
    }
}

#[test]
fn an_admission_covers_only_the_members_it_was_given_for() {
    let facts = members(&uniform(3));
    let admission = evaluate(&facts, &groups("right"), &strict()).admit().expect("an admitted job");
    assert!(admission.permits_efa());
    assert!(admission.covers(&facts));
    assert!(!admission.covers(&facts[..2]));
    assert!(!admission.covers(&members(&uniform(4))));
    let moved = members(&last_changed(3, |it| it["interfaces"][0]["interface_id"] = json!("eni-new")));
    assert!(!admission.covers(&moved));
    let for_tcp = evaluate(&facts, &groups("right"), &Policy::strict()).admit().expect("an admitted job");
    assert!(!for_tcp.permits_efa());
    assert_ne!(for_tcp.fingerprint(), admission.fingerprint());
}

#[test]
fn the_report_as_json_is_what_the_command_promises() {
    let report = judge(&uniform(2), "vpc-default", &same_zone());
    let fix = "aws ec2 authorize-security-group-egress --group-id sg-1 \
               --ip-permissions 'IpProtocol=-1,UserIdGroupPairs=[{GroupId=sg-1}]'";
    let expected = format!(
        "{{\"admitted\":false,\"policy\":\"same-zone\",\"provider\":\"efa\",\"site\":\"file\",\"members\":2,\"notes\":[],\"findings\":[{{\
         \"code\":\"missing-self-egress\",\"severity\":\"error\",\"members\":[\"rank 0 (i-0)\",\"rank 1 (i-1)\"],\
         \"security_groups\":[\"sg-1\"],\"message\":\"sg-1, the group that ranks 0-1 (i-0, i-1) share, does not let \
         out all traffic to itself; its rule for 0.0.0.0/0 does not count\",\"why\":\"EFA addresses are neither IPv4 \
         nor IPv6, so only a rule that names the group itself lets EFA traffic pass\",\"fix\":\"{fix}\"}}]}}"
    );
    assert_eq!(serde_json::to_string(&report).expect("plain data"), expected);
}
