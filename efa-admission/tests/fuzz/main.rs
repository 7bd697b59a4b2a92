//! Files, names and answers of services with changes at random: each is refused with its place, or judged.

#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../admission/build.rs"]
mod build;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../aws/http.rs"]
mod http;
mod listings;
mod plans;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../aws/metadata.rs"]
mod service;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use build::*;
use efa_admission::source::file::{read_members, read_security_groups};
use efa_admission::source::metadata::Metadata;
use efa_admission::{Error, Facts, Policy, Report, SecurityGroups, evaluate};
use efa_fuzz::Random;
use http::Reply;
use serde_json::{Value, json};
use service::{endpoint_of, serve_with};

/// Every fixture of security groups.
const GROUPS: [&str; 9] = [
    "egress-only",
    "ingress-only",
    "mutual",
    "open-to-the-world",
    "prefix-list",
    "right",
    "right-and-empty",
    "self-second",
    "tcp-only",
];

fn policies(random: &mut Random) -> Policy {
    let policy = random.pick(&[Policy::strict(), Policy::same_zone()]).clone();
    let policy = if random.below(2) == 0 { policy.allow_mutual_groups() } else { policy };
    let policy = if random.below(2) == 0 { policy.allow_tcp_across_subnets() } else { policy };
    match random.below(3) {
        0 => policy.requires_efa(true),
        1 => policy.uses_tcp(true),
        _ => policy,
    }
}

/// Three members of which some have several interfaces, and other keys than the ordinary ones.
fn jobs() -> Vec<Value> {
    let several = [
        interface(0, 0, "efa", "subnet-1", &["sg-1", "sg-2"]),
        interface(0, 1, "efa-only", "subnet-1", &["sg-1"]),
        interface(0, 2, "interface", "subnet-2", &[]),
    ];
    let mut mixed = uniform(3);
    mixed[0] = member(0, &several);
    mixed[1]["placement"] = Value::Null;
    mixed[2]["interfaces"][0]["ipv6"] = json!(["2001:db8::1"]);
    vec![Value::from(uniform(2)), Value::from(mixed)]
}

/// Text for a file: a value with changes of its structure, of its bytes, or both.
fn text(random: &mut Random, value: &Value) -> Vec<u8> {
    let structure = if random.below(4) > 0 { random.mutate_json(value) } else { value.clone() };
    let bytes = serde_json::to_vec(&structure).expect("plain data");
    if random.below(3) == 0 { random.mutate(&bytes) } else { bytes }
}

/// An error names the file and the place in it, or says that the whole is of no known form, and is of a length that
/// people can read.
fn is_clear(error: &Error, path: &Path) {
    let text = error.to_string();
    let name = path.to_str().expect("a scratch file's name");
    let has_place = text.contains("line ") && text.contains("at $");
    let of_all = ["it is none of", "missing field", "NextToken", "several versions", "it has no version"];
    assert!(text.contains(name) && (has_place || of_all.iter().any(|why| text.contains(why))), "{text}");
    assert!(!text.contains('\n') && text.len() < 4096, "{text}");
}

/// What holds for every report.
fn is_consistent(report: &Report) {
    assert_eq!(report.admitted(), report.exit_status() == 0, "{report}");
    assert_eq!(report.admit().is_ok(), report.admitted(), "{report}");
    assert!(serde_json::to_string(report).is_ok() && !report.to_string().is_empty());
}

#[test]
fn fuzz_members_files_are_refused_with_their_place_or_judged() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("members.json");
    let rules: Vec<SecurityGroups> = GROUPS.map(groups).into();
    efa_fuzz::rounds("members file", 3000, |random| {
        let job = random.pick(&jobs()).clone();
        std::fs::write(&path, text(random, &job)).expect("a scratch file");
        match read_members(&path) {
            Err(error) => is_clear(&error, &path),
            Ok(members) => {
                let (rules, policy) = (random.pick(&rules), policies(random));
                let report = evaluate(&members, rules, &policy);
                is_consistent(&report);
                // The order in which members are listed changes nothing.
                let reversed: Vec<Facts> = members.into_iter().rev().collect();
                assert_eq!(report.exit_status(), evaluate(&reversed, rules, &policy).exit_status());
            }
        }
    });
}

#[test]
fn fuzz_security_groups_files_are_refused_with_their_place_or_judged_by() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("groups.json");
    let fixture = |name: &str| -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/admission/groups/{name}.json"));
        serde_json::from_slice(&std::fs::read(path).expect("a fixture")).expect("JSON")
    };
    let fixtures = GROUPS.map(fixture);
    let job = members(&uniform(3));
    efa_fuzz::rounds("security groups file", 3000, |random| {
        let fixture = random.pick(&fixtures).clone();
        std::fs::write(&path, text(random, &fixture)).expect("a scratch file");
        match read_security_groups(&path) {
            Err(error) => is_clear(&error, &path),
            Ok(rules) => is_consistent(&evaluate(&job, &rules, &policies(random))),
        }
    });
}

#[test]
fn fuzz_names_of_policies_are_refused_or_mean_what_they_print() {
    let names = ["strict", "same-zone", "tcp-across-subnets", "mutual-groups", "same-zone,mutual-groups"];
    efa_fuzz::rounds("policy", 20_000, |random| {
        let name = random.pick(&names);
        let name = random.mutate_text(name);
        match name.parse::<Policy>() {
            Err(error) => assert!(error.to_string().contains("strict"), "{error}"),
            Ok(policy) => assert_eq!(policy.to_string().parse::<Policy>().expect("its own name"), policy),
        }
    });
}

#[test]
fn fuzz_addresses_of_metadata_services_are_refused_or_kept() {
    let addresses = ["http://169.254.169.254", "http://[fd00:ec2::254]/", "http://127.0.0.1:1338/0"];
    efa_fuzz::rounds("metadata address", 20_000, |random| {
        let address = random.pick(&addresses);
        let address = random.mutate_text(address);
        match Metadata::at(&address) {
            Err(error) => assert!(error.to_string().contains("not an http address"), "{error}"),
            Ok(metadata) => assert!(metadata.endpoint.starts_with("http://") && metadata.endpoint.is_ascii()),
        }
    });
}

#[test]
fn fuzz_answers_of_a_metadata_service_become_facts_or_a_failure_in_time() {
    /// What one reading may take beside its deadline on a loaded machine.
    const SLACK: Duration = Duration::from_secs(20);
    let member = uniform(1);
    let random = Arc::new(Mutex::new(None::<Random>));
    let shared = random.clone();
    let server = serve_with(&member, move |request| {
        let mut random = shared.lock().expect("no request panics");
        let random = random.as_mut()?;
        // Most requests are answered as they should be, so that later ones are reached.
        (random.below(8) == 0).then(|| trouble(random, &request.path))
    });
    efa_fuzz::rounds("metadata answers", 150, |numbers| {
        *random.lock().expect("no request panics") = Some(numbers.clone());
        let mut metadata = Metadata::at(&endpoint_of(&server, 0)).expect("an address");
        metadata.attempt = Duration::from_millis(50);
        metadata.deadline = Duration::from_millis(300);
        let begun = Instant::now();
        let facts = metadata.facts(0).expect("facts or a failure that is among them");
        assert!(begun.elapsed() < metadata.deadline + SLACK, "{:?}", begun.elapsed());
        let report = evaluate(&[facts], &groups("right"), &policies(numbers));
        is_consistent(&report);
    });
}

/// An answer that no metadata service gives, or another key's.
fn trouble(random: &mut Random, path: &str) -> Reply {
    let body = random.mutate_text("i-0a\nsubnet-1\n10.0.0.11\nefa 3 network-card 02:00:00:00:00:01/\n-1\n\n");
    let token = "x-aws-ec2-metadata-token-ttl-seconds";
    match random.below(6) {
        0 => Reply::text(*random.pick(&[200, 204, 301, 400, 401, 403, 404, 418, 429, 500, 503, 999]), body),
        1 => Reply::Http {
            status: 200,
            headers: vec![(token, random.number().to_string())],
            body: body.into(),
        },
        2 => {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            Reply::Raw(random.mutate(answer.as_bytes()))
        }
        3 => Reply::Raw((0..random.below(200)).map(|_| random.byte()).collect()),
        4 if !path.ends_with("/api/token") => Reply::Silence,
        _ => Reply::text(200, body),
    }
}
