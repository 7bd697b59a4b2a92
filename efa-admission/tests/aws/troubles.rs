//! What keeps the EC2 API from telling something is named, and never admits a job.

use std::time::{Duration, Instant};

use efa_admission::{ApiFailure, Lookup, Report, Severity};
use serde_json::Value;

use crate::api::{Replay, error, error_at};
use crate::build::*;
use crate::http::{Reply, Server};
use crate::user::{REGION, moto};
use crate::verdicts::{account, api, facts};
use efa_admission::source::api::Api;

const RULES: &str = "DescribeSecurityGroups";

/// Two members with nothing wrong but the API's answers; what was looked up, and the report.
fn with(trouble: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> (Lookup, Report) {
    let account = account("right");
    let members: Vec<Value> = uniform(2).iter().map(|member| account.with_ids(member)).collect();
    let server = Replay::of(&members).serve(&moto(), trouble);
    looked_up(&api(&server), &members)
}

fn looked_up(api: &Api, members: &[Value]) -> (Lookup, Report) {
    let facts = facts(members);
    let began = Instant::now();
    let lookup = api.look_up(&facts, None);
    assert!(began.elapsed() < api.deadline + Duration::from_secs(2), "{:?}", began.elapsed());
    let report = lookup.evaluate(&facts, &strict());
    for finding in report.findings() {
        let syntax = std::process::Command::new("sh").arg("-n").arg("-c").arg(&finding.text.remedy).status();
        assert!(syntax.expect("a shell").success(), "{}", finding.text.remedy);
    }
    (lookup, report)
}

/// Rules refused with this code come to that cause, which the finding tells.
fn rules_refused(code: &'static str, status: u16, cause: &ApiFailure, says: &str, fix: &str) {
    let (lookup, report) = with(move |action| (action == RULES).then(|| error(status, code)));
    assert_eq!(lookup.rules().failure(), Some(cause), "{code}");
    assert_eq!(codes(&report, Severity::Error), ["rules-unknown"], "{code}\n{report}");
    assert_eq!(report.exit_status(), 3);
    let finding = &report.findings()[0];
    assert!(finding.text.what.contains(says), "{}", finding.text.what);
    assert!(finding.text.remedy.starts_with(fix), "{}", finding.text.remedy);
    assert!(finding.text.remedy.contains("--security-groups groups.json"), "{}", finding.text.remedy);
}

#[test]
fn rules_that_may_not_be_read_are_unknown_and_the_right_is_named() {
    let says = "lack the right";
    rules_refused("UnauthorizedOperation", 403, &ApiFailure::Denied, says, "aws iam put-role-policy");
}

#[test]
fn credentials_that_are_past_their_time_or_wrong_are_told_apart() {
    let fix = "aws sts get-caller-identity";
    rules_refused("RequestExpired", 400, &ApiFailure::Expired, "have expired", fix);
    rules_refused("AuthFailure", 401, &ApiFailure::BadCredentials, "does not accept", fix);
}

#[test]
fn an_account_that_asks_too_often_is_throttled_after_retries() {
    let began = Instant::now();
    rules_refused(
        "RequestLimitExceeded",
        503,
        &ApiFailure::Throttled,
        "too many requests",
        "aws ec2 describe",
    );
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn throttling_that_passes_is_not_noticed() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let (_, report) = with(move |action| {
        let first = action == RULES && count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        first.then(|| error(503, "RequestLimitExceeded"))
    });
    assert_eq!(report.exit_status(), 0, "{report}");
}

#[test]
fn a_clock_that_is_off_is_told_from_credentials_that_are_wrong() {
    let date = "Mon, 01 Jan 2024 00:00:00 GMT";
    let (lookup, report) =
        with(move |action| (action == RULES).then(|| error_at(400, "RequestExpired", Some(date))));
    assert!(matches!(lookup.rules().failure(), Some(ApiFailure::ClockSkew(_))), "{lookup:?}");
    assert_eq!(codes(&report, Severity::Error), ["rules-unknown"]);
    assert!(report.findings()[0].text.what.contains("clock"), "{report}");
}

#[test]
fn an_api_that_does_not_answer_is_given_up_at_the_deadline() {
    let members = uniform(2);
    let server = Replay::of(&members).serve(&moto(), |_| Some(Reply::Silence));
    let mut api = api(&server);
    api.deadline = Duration::from_secs(1);
    let (lookup, report) = looked_up(&api, &members);
    assert_eq!(lookup.rules().failure(), Some(&ApiFailure::TimedOut));
    assert_eq!(report.exit_status(), 3, "{report}");
}

#[test]
fn an_api_that_nobody_runs_can_not_be_reached() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", port.local_addr().expect("bound"));
    drop(port);
    let (lookup, _) = looked_up(&Api::at(&address, REGION), &uniform(2));
    assert_eq!(lookup.rules().failure(), Some(&ApiFailure::Unreachable));
}

#[test]
fn answers_that_make_no_sense_are_no_answers() {
    let bodies: [(u16, &[u8]); 4] = [
        (200, b"{}"),
        (200, b"<DescribeSecurityGroupsResponse><securityGroupInfo><item>"),
        (400, b"<html>proxy</html>"),
        (400, b"\xff\xfe"),
    ];
    for (status, body) in bodies {
        let server = Server::start(move |_| Reply::Http { status, headers: Vec::new(), body: body.to_vec() });
        let (lookup, report) = looked_up(&api(&server), &uniform(2));
        assert!(matches!(lookup.rules().failure(), Some(ApiFailure::Other(_))), "{lookup:?}");
        assert_eq!(report.exit_status(), 3, "{report}");
    }
}

#[test]
fn a_group_that_the_api_does_not_know_is_not_found() {
    let (_, report) = with(|action| {
        let nothing = "<DescribeSecurityGroupsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
                       <securityGroupInfo/></DescribeSecurityGroupsResponse>";
        (action == RULES).then(|| Reply::text(200, nothing))
    });
    assert_eq!(codes(&report, Severity::Error), ["security-group-not-found"]);
    assert_eq!(report.exit_status(), 3);
}

#[test]
fn kinds_that_may_not_be_read_leave_open_what_depends_on_them() {
    let account = account("right-and-empty");
    let plain_first = |rank| {
        let plain = interface(rank, 0, "interface", "subnet-2", &["sg-2"]);
        account.with_ids(&member(rank, &[plain, interface(rank, 1, "efa", "subnet-1", &["sg-1"])]))
    };
    let members = [plain_first(0), plain_first(1)];
    let told = Replay::of(&members).serve(&moto(), |_| None);
    let (_, report) = looked_up(&api(&told), &members);
    assert_eq!(report.exit_status(), 0, "{report}");

    let denied = Replay::of(&members).serve(&moto(), |action| {
        (action == "DescribeNetworkInterfaces").then(|| error(403, "UnauthorizedOperation"))
    });
    let (_, report) = looked_up(&api(&denied), &members);
    assert_eq!(codes(&report, Severity::Error), ["interface-kind-unknown"]);
    assert_eq!(report.exit_status(), 3, "{report}");
    let message = &report.findings()[0].text.what;
    assert!(message.contains("EFAs is not known, and it decides"), "{message}");
    let notes = report.notes().join("\n");
    assert!(notes.contains("kinds of interfaces are not known, so each is judged as an EFA"), "{notes}");
    assert!(notes.contains("lack the right"), "{notes}");
}

#[test]
fn placement_and_topology_that_may_not_be_read_keep_nobody_out() {
    let (lookup, report) = with(|action| {
        let beside = ["DescribePlacementGroups", "DescribeInstanceTopology"].contains(&action);
        beside.then(|| error(403, "UnauthorizedOperation"))
    });
    assert_eq!(report.exit_status(), 0, "{report}");
    assert_eq!(lookup.notes().len(), 2, "{:?}", lookup.notes());
}

#[test]
fn instances_that_are_gone_have_no_topology() {
    let gone = "InvalidInstanceID.NotFound";
    let (lookup, report) =
        with(move |action| (action == "DescribeInstanceTopology").then(|| error(400, gone)));
    assert_eq!(report.exit_status(), 0, "{report}");
    assert!(lookup.notes()[0].ends_with("the EC2 API answered InvalidInstanceID.NotFound"), "{lookup:?}");
}
