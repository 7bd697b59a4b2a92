//! `efa` on an instance whose metadata a service on loopback plays: through the real binary, with the variables that
//! the AWS SDKs read as well.

#[cfg(feature = "aws")]
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../../efa-admission/tests/aws/api.rs"]
mod api;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../../efa-admission/tests/aws/http.rs"]
mod http;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../../efa-admission/tests/aws/metadata.rs"]
mod service;

use std::io::Write;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use http::{Reply, Server};
use serde_json::{Value, json};

/// The instance, as a members file would have it.
fn instance() -> Value {
    json!({
        "rank": 0, "instance_id": "i-0a", "instance_type": "c7gn.16xlarge", "availability_zone_id": "use1-az4",
        "placement": {"group": "pg-1"},
        "interfaces": [{
            "interface_id": "eni-0a", "mac": "02:00:00:00:00:01", "subnet_id": "subnet-1", "vpc_id": "vpc-1",
            "security_groups": ["sg-1"], "ipv4": ["10.0.0.11"]
        }]
    })
}

/// A file with the rules of `sg-1`, which admits itself.
fn rules() -> tempfile::NamedTempFile {
    let itself = json!([{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]}]);
    let groups = json!({"SecurityGroups": [
        {"GroupId": "sg-1", "IpPermissions": itself.clone(), "IpPermissionsEgress": itself}
    ]});
    let mut file = tempfile::NamedTempFile::new().expect("a scratch file");
    file.write_all(groups.to_string().as_bytes()).expect("a scratch file that can be written");
    file
}

fn efa(service: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
    command
        .args(arguments)
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", service::endpoint_of(service, 0))
        .env_remove("AWS_EC2_METADATA_DISABLED");
    command
}

fn run(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("efa starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn doctor_judges_an_instance_by_its_metadata_and_a_file_of_rules() {
    let service = service::serve(&[instance()]);
    let rules = rules();
    let path = rules.path().to_str().expect("text");
    let (status, stdout, _) = run(efa(&service, &["doctor", "--json", "--security-groups", path]));
    let report: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!((status, &report["admitted"], &report["site"]), (Some(0), &json!(true), &json!("ec2")));
}

#[test]
fn doctor_tells_what_keeps_the_metadata_from_answering() {
    let service = service::serve_with(&[instance()], |_| Some(Reply::text(403, "")));
    let (status, stdout, _) = run(efa(&service, &["doctor", "--json"]));
    let report: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!((status, &report["site"]), (Some(3), &json!("ec2")));
    assert_eq!(report["findings"][0]["code"], "identity-unknown");

    let mut disabled = efa(&service, &["doctor"]);
    disabled.env("AWS_EC2_METADATA_DISABLED", "true");
    let (status, stdout, _) = run(disabled);
    assert_eq!(status, Some(3));
    assert!(stdout.contains("unset AWS_EC2_METADATA_DISABLED"), "{stdout}");
}

#[test]
fn an_endpoint_that_makes_no_sense_is_told_with_its_variable() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
    command.arg("doctor").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "169.254.169.254");
    let (status, stdout, stderr) = run(command);
    assert_ne!(status, Some(0));
    assert!(stdout.is_empty());
    assert!(stderr.contains("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "{stderr}");
}

#[test]
fn a_job_on_an_instance_runs_when_its_rules_are_known_to_be_right() {
    let service = service::serve(&[instance()]);
    let rules = rules();
    let bench = ["bench", "latency", "--provider", "tcp", "--sizes", "8", "--iterations", "20"];
    let mut command = efa(&service, &bench);
    command.env("EFA_SECURITY_GROUPS", rules.path());
    let (status, stdout, stderr) = run(command);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
}

/// A p5 with an interface for its traffic and an efa-only one on each of 32 cards.
fn p5() -> Value {
    let mut instance = instance();
    instance["instance_type"] = json!("p5.48xlarge");
    let interfaces = instance["interfaces"].as_array_mut().expect("a list");
    interfaces.extend((0..32).map(|card| {
        json!({
            "interface_id": format!("eni-{card}"), "mac": format!("02:00:00:00:01:{card:02x}"), "network_card": card,
            "subnet_id": "subnet-1", "vpc_id": "vpc-1", "security_groups": ["sg-1"]
        })
    }));
    instance
}

#[test]
fn eight_ranks_of_a_p5_ask_a_slow_service_at_most_120_times_together_and_are_admitted() {
    // 64 answers a second.
    let service = service::serve_with(&[p5()], |_| {
        std::thread::sleep(Duration::from_micros(15_625));
        None
    });
    let rules = rules();
    let mut command =
        efa(&service, &["bench", "barrier", "-n", "8", "--provider", "tcp", "--iterations", "1"]);
    command.env("EFA_SECURITY_GROUPS", rules.path());
    let begun = Instant::now();
    let (status, stdout, stderr) = run(command);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    let requests = service.seen().len();
    println!("{requests} requests of 8 ranks");
    // A reading is shared for five seconds; a rank that a busy machine starts later reads once more.
    let readings = 1 + begun.elapsed().as_secs() as usize / 5;
    assert!((1..=120 * readings).contains(&requests), "{requests} requests");
}

#[test]
fn the_picture_of_a_job_shows_the_rules_that_it_was_judged_by() {
    let service = service::serve(&[instance()]);
    let (rules, scratch) = (rules(), tempfile::tempdir().expect("a folder"));
    let picture = scratch.path().join("job.svg");
    let doctor = [env!("CARGO_BIN_EXE_efa"), "doctor", "--plot", picture.to_str().expect("text")];
    let mut command = efa(&service, &["run", "-n", "2", "--provider", "tcp", "--"]);
    command.args(doctor).env("EFA_SECURITY_GROUPS", rules.path());
    let (status, stdout, stderr) = run(command);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    let picture = std::fs::read_to_string(picture).expect("a picture");
    assert!(picture.contains("in from itself") && !picture.contains("rules not known"), "{picture}");
}

#[test]
fn the_suite_shows_published_figures_for_the_type_and_does_not_hold_tcp_against_them() {
    let mut instance = instance();
    instance["instance_type"] = json!("c5n.18xlarge");
    let service = service::serve(&[instance]);
    let (rules, scratch) = (rules(), tempfile::tempdir().expect("a folder"));
    let folder = scratch.path().to_str().expect("text");
    let mut command = efa(&service, &["bench", "suite", "--quick", "--provider", "tcp", "--report", folder]);
    command.env("EFA_SECURITY_GROUPS", rules.path());
    let (status, stdout, stderr) = run(command);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    let page = std::fs::read_to_string(scratch.path().join("report.md")).expect("a page");
    for part in [
        "did not run over a real EFA",
        "latency on c5n.18xlarge: OSU 5.7.1",
        "https://github.com/ofiwg/libfabric/issues/5694",
        "| 64 B |  | 20.69 |  |",
    ] {
        assert!(page.contains(part), "'{part}' is missing in {page}");
    }
}

#[test]
fn the_suite_writes_why_a_job_is_refused_and_measures_nothing() {
    let service = service::serve_with(&[instance()], |_| Some(Reply::text(404, "")));
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().to_str().expect("text");
    let (status, stdout, stderr) =
        run(efa(&service, &["bench", "suite", "--quick", "--provider", "tcp", "--report", folder]));
    assert_eq!(status, Some(3), "{stdout}{stderr}");
    assert!(stderr.contains("identity-unknown"), "{stderr}");
    let page = std::fs::read_to_string(scratch.path().join("report.md")).expect("a page");
    assert!(page.contains("nothing was measured") && page.contains("identity-unknown"), "{page}");
    assert!(!scratch.path().join("latency.json").exists());
}

#[test]
fn a_job_is_refused_when_a_rank_has_no_metadata() {
    let service = service::serve_with(&[instance()], |_| Some(Reply::text(404, "")));
    let rules = rules();
    let mut command = efa(&service, &["bench", "latency", "--provider", "tcp", "--sizes", "8"]);
    command.env("EFA_SECURITY_GROUPS", rules.path());
    let (status, _, stderr) = run(command);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("identity-unknown") && stderr.contains("no session token"), "{stderr}");
}

/// With the AWS SDK built in: credentials and region of the instance's role, and the API at `AWS_ENDPOINT_URL`.
#[cfg(feature = "aws")]
mod with_sdk {
    use super::*;
    use crate::api::Replay;
    use crate::http::Request;

    /// The metadata of an instance that has a role.
    fn metadata() -> Server {
        let role = json!({
            "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
            "Expiration": "2126-01-01T00:00:00Z",
            "AccessKeyId": "ASIAROLE", "SecretAccessKey": "secret", "Token": "token"
        });
        service::serve_with(&[instance()], move |request| {
            let keys = request.path.strip_prefix("/0/latest/meta-data/")?;
            match keys {
                "iam/security-credentials/" => Some(Reply::text(200, "efa-role")),
                "iam/security-credentials/efa-role" => Some(Reply::text(200, role.to_string())),
                "placement/region" => Some(Reply::text(200, "us-west-2")),
                _ => None,
            }
        })
    }

    /// The API, which takes requests of that role in that region only. `sg-1` admits itself if `egress`.
    fn ec2(egress: bool) -> Server {
        let mut replay = Replay::default();
        replay.kinds.insert("eni-0a".into(), "interface".into());
        replay.strategies.insert("pg-1".into(), "cluster".into());
        ec2_with(replay, egress)
    }

    fn ec2_with(replay: Replay, egress: bool) -> Server {
        let rule =
            "<item><ipProtocol>-1</ipProtocol><groups><item><groupId>sg-1</groupId></item></groups></item>";
        let out = if egress { rule } else { "" };
        let groups = format!(
            "<DescribeSecurityGroupsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><securityGroupInfo>\
             <item><groupId>sg-1</groupId><ipPermissions>{rule}</ipPermissions>\
             <ipPermissionsEgress>{out}</ipPermissionsEgress></item>\
             </securityGroupInfo></DescribeSecurityGroupsResponse>"
        );
        Server::start(move |request| {
            if !is_of_role(request) {
                return api::error(401, "AuthFailure");
            }
            match api::action(request).as_str() {
                "DescribeSecurityGroups" => Reply::text(200, groups.clone()),
                _ => replay.reply(request).unwrap_or_else(|| api::error(400, "InvalidAction")),
            }
        })
    }

    fn is_of_role(request: &Request) -> bool {
        let signature = request.headers.get("authorization").map_or("", String::as_str);
        signature.contains("Credential=ASIAROLE/") && signature.contains("/us-west-2/ec2/")
    }

    fn with_api(mut command: Command, api: &Server) -> Command {
        for variable in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"] {
            command.env_remove(variable);
        }
        command.env("AWS_ENDPOINT_URL", api.endpoint());
        command
    }

    #[test]
    fn doctor_asks_for_the_rules() {
        let metadata = metadata();
        for (egress, expected) in [(true, 0), (false, 1)] {
            let api = ec2(egress);
            let (status, stdout, stderr) = run(with_api(efa(&metadata, &["doctor"]), &api));
            assert_eq!(status, Some(expected), "{stdout}{stderr}");
            assert_eq!(stdout.contains("missing-self-egress"), !egress, "{stdout}");
            // The checks of this host, which is not on EC2, come after the report.
            let (report, _) = stdout.split_once("\nhost ").expect("the host's checks");
            assert!(!report.contains("not known"), "{stdout}");
        }
    }

    #[test]
    fn doctor_says_why_the_rules_are_not_known() {
        let api = Server::start(|_| api::error(403, "UnauthorizedOperation"));
        let (status, stdout, _) = run(with_api(efa(&metadata(), &["doctor"]), &api));
        assert_eq!(status, Some(3), "{stdout}");
        assert!(stdout.contains("rules-unknown") && stdout.contains("lack the right"), "{stdout}");
        assert!(stdout.contains("each is judged as an EFA"), "{stdout}");
    }

    #[test]
    fn a_job_asks_once_for_all_ranks() {
        let (metadata, api) = (metadata(), ec2(true));
        let bench = ["bench", "latency", "--provider", "tcp", "--sizes", "8", "--iterations", "20"];
        let (status, stdout, stderr) = run(with_api(efa(&metadata, &bench), &api));
        assert_eq!(status, Some(0), "{stdout}{stderr}");
        assert_eq!(api.seen().len(), 3, "rules, kinds and strategies, for two ranks: {:?}", api.seen());
    }

    /// Four instances that come in turns below two nodes of the network.
    fn four_instances() -> Vec<Value> {
        let numbered = |rank: usize| {
            let mut it = instance();
            it["rank"] = json!(rank);
            it["instance_id"] = json!(format!("i-{rank}"));
            it["interfaces"][0]["interface_id"] = json!(format!("eni-{rank}"));
            it
        };
        (0..4).map(numbered).collect()
    }

    /// Each rank asks the metadata service of an instance of its own.
    fn on_four_instances(metadata: &Server, api: &Server, arguments: &str) -> (Option<i32>, String, String) {
        let rank = format!(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT={}/$EFA_RANK exec {} {arguments}",
            metadata.endpoint(),
            env!("CARGO_BIN_EXE_efa")
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_efa"));
        command.args(["run", "-n", "4", "--", "sh", "-c", &rank]);
        command
            .env("AWS_ENDPOINT_URL", api.endpoint())
            .env("AWS_REGION", "us-west-2")
            .env("AWS_ACCESS_KEY_ID", "ASIAROLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        run(command)
    }

    #[test]
    fn a_job_whose_ranks_are_reordered_still_adds_up() {
        let metadata = service::serve(&four_instances());
        let mut replay = Replay::default();
        for rank in 0..4 {
            let nodes = vec!["nn-1".to_owned(), format!("nn-{}", 2 + rank % 2)];
            replay.topology.insert(format!("i-{rank}"), nodes);
        }
        let api = ec2_with(replay, true);
        let (status, stdout, stderr) = on_four_instances(&metadata, &api, "doctor --provider tcp");
        assert_eq!(status, Some(0), "{stdout}{stderr}");
        assert!(stdout.contains("layer 2 from the top 2 times rather than 4"), "{stdout}");

        let bench =
            "bench all-reduce --provider tcp --algorithm ring --sizes 4:64K:16 --iterations 5 --check";
        let (status, stdout, stderr) = on_four_instances(&metadata, &api, bench);
        assert_eq!(status, Some(0), "{stdout}{stderr}");
        assert!(stdout.contains("Out of bounds values : 0 OK"), "{stdout}");
    }
}
