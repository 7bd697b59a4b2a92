//! Instance metadata: what is read from the service, and what is said where it doesn't answer as it should.

#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "admission/build.rs"]
mod build;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "aws/http.rs"]
mod http;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "aws/metadata.rs"]
mod service;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use build::*;
use efa_admission::source::metadata::Metadata;
use efa_admission::{Facts, FindingCode, InterfaceKind, MetadataFailure, Report, Site, evaluate};
use http::{Reply, Request, Server};
use serde_json::{Value, json};
use service::{endpoint_of, serve, serve_with};

fn facts(server: &Server, rank: usize) -> Facts {
    Metadata::at(&endpoint_of(server, rank)).expect("an address").facts(rank).expect("facts or a failure")
}

/// Two members of which the second's service is in trouble; the report on both.
fn refused(trouble: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> (MetadataFailure, Report) {
    refused_after(Duration::from_secs(2), trouble)
}

/// The same with so much time for each request.
fn refused_after(
    attempt: Duration,
    trouble: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> (MetadataFailure, Report) {
    let members = uniform(2);
    let good = serve(&members);
    let bad = serve_with(&members, trouble);
    let mut second = Metadata::at(&endpoint_of(&bad, 1)).expect("an address");
    second.attempt = attempt;
    let second = second.facts(1).expect("a failure");
    let failure = second.failure.clone().expect("a failure");
    let report = evaluate(&[facts(&good, 0), second], &groups("right"), &strict());
    assert_eq!((report.exit_status(), report.admitted()), (3, false), "{report}");
    assert_eq!(report.findings().len(), 1, "{report}");
    let finding = &report.findings()[0];
    assert_eq!(finding.code, FindingCode::IdentityUnknown);
    assert_eq!(finding.members.len(), 1, "{report}");
    let syntax = std::process::Command::new("sh").arg("-n").arg("-c").arg(&finding.text.remedy).status();
    assert!(syntax.expect("a shell").success(), "{}", finding.text.remedy);
    (failure, report)
}

fn is_token(request: &Request) -> bool {
    request.path.ends_with("/api/token")
}

fn message(report: &Report) -> &str {
    &report.findings()[0].text.what
}

fn fix(report: &Report) -> &str {
    &report.findings()[0].text.remedy
}

#[test]
fn a_member_says_all_that_its_metadata_holds() {
    let mut it = member(
        3,
        &[
            interface(3, 0, "efa", "subnet-1", &["sg-1", "sg-2"]),
            interface(3, 1, "efa-only", "subnet-1", &["sg-1"]),
            interface(3, 2, "interface", "subnet-2", &["sg-3"]),
        ],
    );
    it["placement"]["partition"] = json!(2);
    it["interfaces"][0]["ipv6"] = json!(["2001:db8::1", "2001:db8::2"]);
    let read = facts(&serve(&[it.clone()]), 3);

    assert_eq!((read.site, &read.failure), (Site::Ec2, &None));
    assert!(read.host.is_some());
    let mut expected = members(&[it]).remove(0).member;
    // The name is this machine's, and neither kinds nor the strategy are in the metadata.
    expected.host.clone_from(&read.member.host);
    expected.placement.as_mut().expect("placed").strategy = None;
    // An interface without an address is efa-only; what the others are is not told.
    for (number, interface) in (0..).zip(&mut expected.interfaces) {
        interface.device_number = Some(number);
        if interface.kind != InterfaceKind::EfaOnly {
            interface.kind = InterfaceKind::Unknown;
        }
    }
    assert_eq!(read.member, expected);
}

#[test]
fn members_that_keep_the_rules_are_admitted_for_tcp_and_efa() {
    let server = serve(&uniform(3));
    let mut members: Vec<Facts> = (0..3).map(|rank| facts(&server, rank)).collect();
    for facts in &mut members {
        let host = facts.host.as_mut().expect("facts of this host");
        (host.efa_devices, host.memlock_bytes) = (1, None);
    }
    for efa in [false, true] {
        let report = evaluate(&members, &groups("right"), &strict().requires_efa(efa));
        assert_eq!((report.exit_status(), report.site()), (0, Site::Ec2), "{report}");
    }
}

#[test]
fn one_token_serves_all_keys() {
    let server = serve(&uniform(1));
    facts(&server, 0);
    let tokens = server.seen().iter().filter(|request| request.starts_with("PUT")).count();
    assert_eq!(tokens, 1, "{:?}", server.seen());
}

#[test]
fn an_instance_outside_of_placement_groups_is_known_to_be_in_none() {
    let mut it = uniform(1);
    it[0]["placement"] = json!(null);
    let placement = facts(&serve(&it), 0).member.placement.expect("known");
    assert_eq!((placement.group, placement.partition), (None, None));
}

#[test]
fn a_service_that_is_switched_off_for_the_instance_is_named() {
    let (failure, report) = refused(|_| Some(Reply::text(403, "")));
    assert_eq!(failure, MetadataFailure::Forbidden);
    assert!(message(&report).contains("switched off for the instance (status 403)"), "{report}");
    assert!(fix(&report).contains("modify-instance-metadata-options"), "{report}");
    assert!(fix(&report).ends_with("--http-endpoint enabled"), "{report}");
}

#[test]
fn answers_that_do_not_reach_a_container_are_a_matter_of_the_hop_limit() {
    let began = Instant::now();
    let silent = |request: &Request| is_token(request).then_some(Reply::Silence);
    let (failure, report) = refused_after(Duration::from_millis(200), silent);
    assert_eq!(failure, MetadataFailure::TimedOut);
    assert!(fix(&report).ends_with("--http-put-response-hop-limit 2"), "{report}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn the_first_version_of_the_service_is_not_enough() {
    for status in [404, 405, 400] {
        let (failure, _) = refused(move |request| is_token(request).then(|| Reply::text(status, "")));
        assert_eq!(failure, MetadataFailure::NoToken(status));
    }
}

#[test]
fn a_token_without_its_lifetime_or_of_odd_letters_is_not_one() {
    let token = |ttl: Option<&str>, token: &str| {
        let headers = ttl.map(|ttl| ("x-aws-ec2-metadata-token-ttl-seconds", ttl.to_owned()));
        Reply::Http { status: 200, headers: headers.into_iter().collect(), body: token.into() }
    };
    let long = "a".repeat(5000);
    for (ttl, text) in [
        (None, "abc=="),
        (Some("0"), "abc=="),
        (Some("soon"), "abc=="),
        (Some("300"), ""),
        (Some("300"), "abc def"),
        (Some("300"), "abc\r\nhost: other"),
        (Some("300"), long.as_str()),
    ] {
        let (ttl, text) = (ttl.map(str::to_owned), text.to_owned());
        let (failure, _) = refused(move |it| is_token(it).then(|| token(ttl.as_deref(), &text)));
        assert_eq!(failure, MetadataFailure::Malformed("latest/api/token".into()));
    }
}

#[test]
fn a_token_that_is_withdrawn_once_is_asked_for_again() {
    let rejections = AtomicUsize::new(0);
    let server = serve_with(&uniform(1), move |request| {
        let withdraw = request.path.ends_with("subnet-id") && rejections.fetch_add(1, Ordering::Relaxed) == 0;
        withdraw.then(|| Reply::text(401, ""))
    });
    assert_eq!(facts(&server, 0).failure, None);
    let tokens = server.seen().iter().filter(|request| request.starts_with("PUT")).count();
    assert_eq!(tokens, 2);
}

#[test]
fn a_token_that_is_always_rejected_is_named() {
    let (failure, report) = refused(|request| (!is_token(request)).then(|| Reply::text(401, "")));
    assert_eq!(failure, MetadataFailure::Unauthorized);
    assert!(message(&report).contains("(status 401)"), "{report}");
}

#[test]
fn every_key_that_an_instance_must_have_is_missed() {
    let mac = "02:00:00:00:00:01";
    let own = |name: &str| format!("network/interfaces/macs/{mac}/{name}");
    for key in [
        "instance-id".to_owned(),
        "instance-type".to_owned(),
        "placement/availability-zone-id".to_owned(),
        "network/interfaces/macs/".to_owned(),
        own("interface-id"),
        own("subnet-id"),
        own("vpc-id"),
        own("security-group-ids"),
    ] {
        let end = format!("/meta-data/{key}");
        let (failure, report) = refused(move |it| it.path.ends_with(&end).then(|| Reply::text(404, "")));
        assert_eq!(failure, MetadataFailure::Missing(key.clone()));
        assert!(message(&report).contains(&key) && fix(&report).contains(&key), "{report}");
    }
}

#[test]
fn answers_that_make_no_sense_are_named_by_their_key() {
    let cases: &[(&str, &[u8])] = &[
        ("instance-id", b""),
        ("instance-id", b"i-0a\x1b[31m"),
        ("instance-id", b"\xff\xfe"),
        ("network/interfaces/macs/", b"../../api/token"),
        ("network/interfaces/macs/", b"02:00:00:00:00:01/\n\n02/"),
        ("02:00:00:00:00:01/local-ipv4s", b"10.0.0.300"),
        ("02:00:00:00:00:01/device-number", b"-1"),
        ("placement/", b"\xff"),
        ("instance-type", &[b'a'; 100_000]),
    ];
    for (key, body) in cases {
        let end = format!("/{key}");
        let body = body.to_vec();
        let (failure, report) = refused(move |request| {
            let reply = || Reply::Http { status: 200, headers: Vec::new(), body: body.clone() };
            request.path.ends_with(&end).then(reply)
        });
        assert!(matches!(&failure, MetadataFailure::Malformed(it) if it.ends_with(key)), "{failure:?}");
        assert!(message(&report).contains(key), "{report}");
    }
}

#[test]
fn something_else_that_listens_there_is_not_taken_for_the_service() {
    let (failure, _) = refused(|_| Some(Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())));
    assert!(matches!(failure, MetadataFailure::Malformed(_) | MetadataFailure::Unreachable), "{failure:?}");
    let elsewhere = ("location", "http://192.0.2.1/".to_owned());
    let (failure, _) = refused(move |request| {
        let headers = vec![elsewhere.clone()];
        (!is_token(request)).then_some(Reply::Http { status: 302, headers, body: Vec::new() })
    });
    assert_eq!(failure, MetadataFailure::Status { key: "instance-id".into(), status: 302 });
}

#[test]
fn a_busy_service_is_asked_again_and_a_failing_one_is_given_up() {
    let busy = AtomicUsize::new(0);
    let server = serve_with(&uniform(1), move |_| {
        (busy.fetch_add(1, Ordering::Relaxed) % 3 != 2).then(|| Reply::text(503, "slow down"))
    });
    assert_eq!(facts(&server, 0).failure, None);
    let (failure, report) = refused(|request| request.path.ends_with("vpc-id").then(|| Reply::text(500, "")));
    assert!(matches!(failure, MetadataFailure::Status { status: 500, .. }), "{failure:?}");
    assert!(message(&report).contains("vpc-id with status 500"), "{report}");
}

#[test]
fn a_slow_service_is_waited_for_up_to_the_deadline() {
    let slow = |_: &Request| {
        std::thread::sleep(Duration::from_millis(20));
        None
    };
    let server = serve_with(&uniform(1), slow);
    assert_eq!(facts(&server, 0).failure, None);
    let mut hasty = Metadata::at(&endpoint_of(&server, 0)).expect("an address");
    hasty.deadline = Duration::from_millis(60);
    let began = Instant::now();
    assert_eq!(hasty.facts(0).expect("a failure").failure, Some(MetadataFailure::Slow));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_service_that_nobody_runs_is_unreachable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", port.local_addr().expect("bound"));
    drop(port);
    let facts = Metadata::at(&address).expect("an address").facts(0).expect("a failure");
    assert_eq!(facts.failure, Some(MetadataFailure::Unreachable));
}

#[test]
fn metadata_that_is_disabled_is_not_asked() {
    let server = serve(&uniform(1));
    let mut disabled = Metadata::at(&endpoint_of(&server, 0)).expect("an address");
    disabled.disabled = true;
    let facts = disabled.facts(0).expect("a failure");
    assert_eq!(facts.failure, Some(MetadataFailure::Disabled));
    assert!(server.seen().is_empty());
}

#[test]
fn members_with_the_same_trouble_share_a_finding() {
    let server = serve_with(&uniform(1), |_| Some(Reply::text(403, "")));
    let members: Vec<Facts> = (0..3).map(|rank| facts(&server, rank)).collect();
    let report = evaluate(&members, &groups("right"), &strict());
    assert_eq!(report.findings().len(), 1, "{report}");
    assert_eq!(report.findings()[0].members.len(), 3);
    assert!(message(&report).contains("did not tell ranks 0-2 who they are"), "{report}");
}

/// The layout of ParallelCluster and EKS on a p5: the primary interface, and an efa-only one on each of 32 cards.
fn p5(rank: usize, primary_kind: &str) -> Value {
    let mut interfaces = vec![interface(rank, 0, primary_kind, "subnet-nodes", &["sg-2"])];
    interfaces.extend((0..32).map(|card| {
        let mut efa = interface(rank, card + 1, "efa-only", "subnet-1", &["sg-1"]);
        efa["network_card"] = json!(card);
        efa
    }));
    let mut it = member(rank, &interfaces);
    it["instance_type"] = json!("p5.48xlarge");
    it
}

#[test]
fn a_p5_with_33_interfaces_takes_at_most_120_requests() {
    let server = serve(&[p5(0, "interface")]);
    let read = facts(&server, 0);
    assert_eq!(read.failure, None);
    assert!(server.seen().len() <= 120, "{} requests", server.seen().len());
    let only = read.member.interfaces.iter().filter(|it| it.kind == InterfaceKind::EfaOnly).count();
    assert_eq!((read.member.interfaces.len(), only), (33, 32));
    let primary = read.bound_or_first();
    assert_eq!(primary.interface_id.as_deref(), Some("eni-0-0"));
    assert_eq!(primary.ipv4.len(), 1);
}

#[test]
fn a_service_of_64_answers_a_second_ends_in_facts() {
    let slow = |_: &Request| {
        std::thread::sleep(Duration::from_micros(15_600));
        None
    };
    assert_eq!(facts(&serve_with(&[p5(0, "interface")], slow), 0).failure, None);
}

#[test]
fn a_service_that_falls_silent_after_the_token_is_slow_and_not_out_of_reach() {
    let silent = |request: &Request| request.path.ends_with("subnet-id").then_some(Reply::Silence);
    let (failure, report) = refused_after(Duration::from_millis(200), silent);
    assert_eq!(failure, MetadataFailure::Slow);
    assert!(message(&report).contains("too slowly") && !fix(&report).contains("hop-limit"), "{report}");
}

#[test]
fn split_groups_are_admitted_for_tcp_and_never_refused_for_efa_without_the_api() {
    let server = serve(&[p5(0, "interface"), p5(1, "interface")]);
    let mut members: Vec<Facts> = (0..2).map(|rank| facts(&server, rank)).collect();
    for facts in &mut members {
        let host = facts.host.as_mut().expect("facts of this host");
        (host.efa_devices, host.memlock_bytes) = (32, None);
    }
    let report = evaluate(&members, &groups("right-and-empty"), &strict());
    assert_eq!(report.exit_status(), 3, "{report}");
    assert_eq!(codes(&report, efa_admission::Severity::Error), ["interface-kind-unknown"], "{report}");
    // The number of devices that the kernel has settles it.
    for facts in &mut members {
        let primary = facts.member.interfaces.iter_mut().find(|it| it.kind == InterfaceKind::Unknown);
        primary.expect("the primary interface").kind = InterfaceKind::Interface;
    }
    let report = evaluate(&members, &groups("right-and-empty"), &strict());
    assert_eq!(report.exit_status(), 0, "{report}");
}

/// The interface with the address that a job would bind.
trait Bound {
    fn bound_or_first(&self) -> &efa_admission::InterfaceFacts;
}

impl Bound for Facts {
    fn bound_or_first(&self) -> &efa_admission::InterfaceFacts {
        let with_address = self.member.interfaces.iter().find(|it| !it.ipv4.is_empty());
        with_address.expect("an interface with an address")
    }
}

#[test]
fn cards_are_read_of_eight_interfaces_and_subnets_and_groups_of_thirty_two() {
    let cards = |count: u32| -> Vec<Value> {
        (0..count).map(|card| interface(0, card, "efa", "subnet-1", &["sg-1"])).collect()
    };
    let read = facts(&serve(&[member(0, &cards(8))]), 0);
    let found: Vec<_> = read.member.interfaces.iter().map(|it| it.network_card).collect();
    assert_eq!(found, (0..8).map(Some).collect::<Vec<_>>());

    let server = serve(&[member(0, &cards(32))]);
    let read = facts(&server, 0);
    assert_eq!(read.failure, None);
    assert!(server.seen().len() <= 120, "{} requests", server.seen().len());
    assert_eq!(read.member.interfaces.len(), 32);
    assert!(read.member.interfaces.iter().all(|it| it.security_groups == Some(vec!["sg-1".into()])));
}
