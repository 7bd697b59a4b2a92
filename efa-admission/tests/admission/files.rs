//! Files: what is read, and what is said about a wrong one.

use std::path::Path;

use efa_admission::{Facts, InterfaceKind, SecurityGroups, Site, source};
use serde_json::json;

use crate::build::*;

const EXAMPLE: &str = r#"[{"rank": 0, "host": "node-a", "instance_id": "i-0a", "instance_type": "hpc7a.96xlarge",
  "availability_zone_id": "use1-az4",
  "placement": {"group": "pg-1", "strategy": "cluster", "partition": null},
  "interfaces": [{"interface_id": "eni-0a", "mac": "02:00:00:00:00:01", "kind": "efa", "network_card": 0,
                  "subnet_id": "subnet-1", "vpc_id": "vpc-1", "security_groups": ["sg-1"],
                  "ipv4": ["10.0.0.11"], "ipv6": []}]}]"#;

#[test]
fn every_key_of_a_member_is_read() {
    let file = file(EXAMPLE);
    let facts = &source::file::read_members(file.path()).expect("the example")[0];
    assert_eq!((facts.site, &facts.host), (Site::File, &None));
    let read = serde_json::to_value(&facts.member).expect("plain data");
    let written: serde_json::Value = serde_json::from_str(EXAMPLE).expect("the example");
    assert_eq!(read, written[0]);
}

#[test]
fn only_rank_instance_and_subnets_are_required() {
    for nothing in ["", r#", "kind": null, "security_groups": null, "ipv4": null, "ipv6": null, "mac": null"#]
    {
        let text = format!(
            r#"[{{"rank": 7, "instance_id": "i-0a", "interfaces": [{{"subnet_id": "subnet-1"{nothing}}}]}}]"#
        );
        let file = file(&text);
        let facts = &source::file::read_members(file.path()).expect("a short member")[0];
        assert_eq!(facts.member.rank, 7);
        let interface = &facts.member.interfaces[0];
        assert_eq!(interface.kind, InterfaceKind::Unknown);
        assert_eq!(interface.security_groups, None);
        assert!(interface.ipv4.is_empty() && interface.ipv6.is_empty());
    }
}

#[test]
fn a_line_break_in_a_key_or_value_does_not_break_the_error() {
    for text in [r#"[{"ra\nnk": 0}]"#, r#"[{"rank": "a\nb"}]"#] {
        let file = file(text);
        let error = source::file::read_members(file.path()).expect_err(text).to_string();
        assert!(error.contains("\\n") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_wrong_members_file_is_refused_with_its_place() {
    let cases = [
        ("", "line 1, column 0, at $: EOF"),
        ("{}", "it is none of: a list of members; what"),
        ("[1]", "line 1, column 2, at $[0]: invalid type: integer `1`, expected struct MemberFacts"),
        (r#"[{"rank": -1}]"#, "at $[0].rank: invalid value: integer `-1`"),
        (r#"[{"rank": "0"}]"#, r#"at $[0].rank: invalid type: string "0""#),
        (r#"[{"rank": 0, "rank": 1}]"#, "at $[0]: duplicate field `rank`"),
        (r#"[{"rank": 0, "instance_id": null}]"#, "at $[0].instance_id: invalid type: null"),
        (r#"[{"rank": 0, "interfaces": []}]"#, "at $[0]: missing field `instance_id`"),
        (r#"[{"rank": 0, "zone": "use1-az4"}]"#, "at $[0].zone: unknown field `zone`"),
        (r#"[{"availability_zone": "us-east-1a"}]"#, "at $[0].availability_zone: unknown field"),
        (
            "[{\"interfaces\":\n [{}, {\"subnet_id\": 5}]}]",
            "line 2, column 4, at $[0].interfaces[0]: missing field",
        ),
        (
            "[{\"interfaces\":\n [{\"kind\": \"efa2\"}]}]",
            "line 2, column 17, at $[0].interfaces[0].kind: unknown variant `efa2`",
        ),
        (r#"[{"interfaces": [{"ipv4": ["10.0.0"]}]}]"#, "at $[0].interfaces[0].ipv4[0]: invalid IPv4"),
        (r#"[{"placement": {"cluster": "pg-1"}}]"#, "at $[0].placement.cluster: unknown field"),
        ("[] []", "line 1, column 4, at $: trailing characters"),
        (r#"{"site": "host", "member": {}, "host": null}"#, "it is none of"),
    ];
    for (text, expected) in cases {
        let file = file(text);
        let error = source::file::read_members(file.path()).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}\n  {error}\n  {expected}");
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}

#[test]
fn a_repeated_rank_is_refused_with_both_places() {
    let mut list = uniform(4);
    list[3]["rank"] = json!(1);
    let file = file(&serde_json::to_string_pretty(&list).expect("plain data"));
    let error = source::file::read_members(file.path()).expect_err("a repeated rank").to_string();
    assert!(error.contains("at $[3]: rank 1 is already taken by $[1]"), "{error}");
}

#[test]
fn bytes_that_are_no_json_are_refused() {
    for bytes in [&b"\xff\xfe["[..], b"[{\"rank\": 0, \"host\": \"\xff\"}]", &[b'['; 100_000]] {
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        std::fs::write(file.path(), bytes).expect("a scratch file that can be written");
        source::file::read_members(file.path()).expect_err("no members");
        source::file::read_security_groups(file.path()).expect_err("no groups");
    }
}

#[test]
fn a_file_that_is_not_there_or_too_large_is_refused() {
    let missing = Path::new("/nonexistent/members.json");
    let error = source::file::read_members(missing).expect_err("no such file").to_string();
    assert!(error.contains("/nonexistent/members.json"), "{error}");
    source::file::read_members(Path::new("/")).expect_err("a folder");

    let large = tempfile::NamedTempFile::new().expect("a scratch file");
    large.as_file().set_len(100_000_000).expect("a file with a hole");
    let error = source::file::read_members(large.path()).expect_err("too large").to_string();
    assert!(error.contains("larger than 64 MiB"), "{error}");
    let error = source::file::read_security_groups(large.path()).expect_err("too large").to_string();
    assert!(error.contains("larger than 64 MiB"), "{error}");
}

#[test]
fn a_wrong_groups_file_is_refused_with_its_place() {
    let cases = [
        ("[]", "expected an object with SecurityGroups"),
        ("{}", "missing field `SecurityGroups`"),
        (r#"{"SecurityGroups": [{"GroupName": "efa"}]}"#, "at $.SecurityGroups[0]: missing field `GroupId`"),
        (
            r#"{"SecurityGroups": [{"GroupId": "sg-1", "IpPermissions": [{"IpProtocol": -1}]}]}"#,
            "at $.SecurityGroups[0].IpPermissions[0].IpProtocol: invalid type: integer `-1`",
        ),
    ];
    for (text, expected) in cases {
        let file = file(text);
        let error = source::file::read_security_groups(file.path()).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}\n  {error}\n  {expected}");
    }
}

#[test]
fn rules_come_from_the_file_or_are_none_off_ec2_or_unknown() {
    let hosts = [host_member(0, "node-a", "192.0.2.0/24")];
    let rules = |members: &[Facts], file| source::look_up(members, file).expect("good files").rules().clone();
    assert_eq!(rules(&hosts, None), SecurityGroups::none());
    let files = members(&uniform(1));
    assert_eq!(rules(&files, None), SecurityGroups::unknown());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/groups/right.json");
    assert_eq!(rules(&files, Some(&path)), groups("right"));
}

#[test]
fn a_rank_gap_and_an_interface_on_two_instances_are_found() {
    let mut gap = uniform(3);
    gap.remove(1);
    let report = judge(&gap, "right", &strict());
    assert_eq!((report.exit_status(), report.findings()[0].code.name()), (3, "identity-unknown"), "{report}");
    assert!(report.findings()[0].text.what.contains("nothing is known of rank 1"), "{report}");

    let mut twice = uniform(2);
    twice[1]["interfaces"][0]["interface_id"] = json!("eni-0-0");
    let report = judge(&twice, "right", &strict());
    assert_eq!(report.exit_status(), 3, "{report}");
    assert!(report.findings()[0].text.what.contains("eni-0-0"), "{report}");
    // Two ranks of one instance share its interfaces.
    twice[1]["instance_id"] = json!("i-0");
    assert_eq!(judge(&twice, "right", &strict()).exit_status(), 0);
}

#[test]
fn control_characters_of_a_rules_file_do_not_reach_the_terminal() {
    let mut rules = json!({"SecurityGroups": groups("vpc-default").groups().expect("rules")});
    rules["SecurityGroups"][0]["IpPermissionsEgress"][0]["IpRanges"][0]["CidrIp"] =
        json!("\u{1b}]0;0.0.0.0/0");
    let rules = source::file::read_security_groups(file(&rules.to_string()).path()).expect("good rules");
    let report = efa_admission::evaluate(&members(&uniform(2)), &rules, &strict());
    assert!(report.findings()[0].text.what.contains('\u{1b}'), "the text is there: {report}");
    assert!(
        !report.to_table(false).contains('\u{1b}') && report.to_table(false).contains("\\u{1b}"),
        "{report}"
    );
}
