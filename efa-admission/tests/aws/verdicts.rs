//! Every case that EC2 can have gets the verdict that it gets from files.

use std::path::Path;
use std::time::{Duration, Instant};

use efa_admission::source::api::Api;
use efa_admission::source::metadata::Metadata;
use efa_admission::{Facts, InterfaceKind, Lookup, Policy, Report, Severity, Site, evaluate};
use serde_json::{Value, json};

use crate::api::Replay;
use crate::build::*;
use crate::cases::{Case, every_case};
use crate::http::Server;
use crate::service::{endpoint_of, serve};
use crate::user::{Account, REGION, moto, wait};

/// These are about facts that a file may lack and an instance never does; where its metadata doesn't tell them, that
/// is a finding, and tests/metadata.rs has it.
const ONLY_IN_FILES: [&str; 14] = [
    "no interface at all",
    "no interface at all and no EFA asked for",
    "groups not known",
    "no group on any interface",
    "an efa-only interface outside of the group",
    "different subnet on a plain interface",
    "zone not known, one subnet",
    "zone not known, two subnets, same-zone policy",
    "zone not known, two subnets, strict",
    "subnet not known",
    "instance not known",
    "an id with a command in it",
    "nobody",
    "placement not known",
];

/// The facts of these members by their metadata, on machines that have the device and may lock memory.
pub(crate) fn facts(members: &[Value]) -> Vec<Facts> {
    let server = serve(members);
    let facts = |rank: usize| {
        let metadata = Metadata::at(&endpoint_of(&server, rank)).expect("an address");
        let mut facts = metadata.facts(rank).expect("facts");
        assert_eq!(facts.failure, None);
        let host = facts.host.as_mut().expect("facts of this host");
        (host.efa_devices, host.memlock_bytes) = (1, None);
        facts
    };
    (0..members.len()).map(facts).collect()
}

/// The API at this server, without waiting for changes that nobody made.
pub(crate) fn api(server: &Server) -> Api {
    let mut api = Api::at(&server.endpoint(), REGION);
    api.second_look = Duration::from_millis(10);
    api
}

fn fixture(groups: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/admission/groups/{groups}.json"));
    let text = std::fs::read_to_string(path).expect("a fixture");
    let file: Value = serde_json::from_str(&text).expect("a good fixture");
    file["SecurityGroups"].as_array().expect("a list").clone()
}

/// An account in which the groups of a fixture exist.
pub(crate) fn account(groups: &str) -> Account {
    wait(async {
        let mut account = Account::new().await;
        if groups == "vpc-default" {
            // Not one like it, but the very group. (moto leaves out the rule for itself that AWS gives it.)
            let default = account.ids["default"].clone();
            account.ids.insert("sg-1".into(), default);
        }
        account.make_groups(&fixture(groups)).await;
        account
    })
}

fn judge(case: &Case) -> Report {
    let mut account = account(case.groups);
    wait(async {
        account.make_group("sg-gone").await;
        account.delete_group("sg-gone").await;
    });
    let members: Vec<Value> = case.members.iter().map(|member| account.with_ids(member)).collect();
    let facts = facts(&members);
    let server = Replay::of(&members).serve(&moto(), |_| None);
    let lookup = api(&server).look_up(&facts, None);
    assert_eq!(lookup.notes(), [""; 0], "{}", case.name);
    lookup.evaluate(&facts, &case.policy)
}

/// The members with the device numbers that their metadata has, and files may lack.
fn numbered(members: &[Value]) -> Vec<Value> {
    let mut members = members.to_vec();
    for member in &mut members {
        let interfaces = member["interfaces"].as_array_mut().expect("a list of interfaces");
        for (number, interface) in interfaces.iter_mut().enumerate() {
            interface["device_number"] = number.into();
        }
    }
    members
}

#[test]
fn every_case_that_ec2_can_have_gets_the_verdict_that_files_give_it() {
    let cases = every_case();
    for name in ONLY_IN_FILES {
        assert!(cases.iter().any(|case| case.name == name), "no case is called {name}");
    }
    for case in cases.iter().filter(|case| !ONLY_IN_FILES.contains(&case.name)) {
        let report = judge(case);
        let name = case.name;
        assert_eq!(report.site(), Site::Ec2);
        assert_eq!(codes(&report, Severity::Error), case.errors, "{name}\n{report}");
        assert_eq!(codes(&report, Severity::Warning), case.warnings, "{name}\n{report}");
        assert_eq!(report.exit_status(), case.exit, "{name}\n{report}");
        let members = members(&numbered(&case.members));
        let from_files = evaluate(&members, &groups(case.groups), &case.policy);
        assert_eq!(report.notes(), from_files.notes(), "{name}");
    }
}

#[test]
fn a_rule_that_is_just_being_added_is_seen_at_the_second_look() {
    let account = account("vpc-default");
    let members: Vec<Value> = uniform(2).iter().map(|member| account.with_ids(member)).collect();
    let facts = facts(&members);
    let server = Replay::of(&members).serve(&moto(), |_| None);
    let mut api = api(&server);
    api.second_look = Duration::from_secs(4);
    let lookup = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            wait(account.let_itself_out("sg-1"));
        });
        api.look_up(&facts, None)
    });
    let report = lookup.evaluate(&facts, &strict());
    assert_eq!(report.exit_status(), 0, "{report}");
}

#[test]
fn rules_of_a_file_take_the_place_of_asking_for_them() {
    let members = uniform(2);
    let facts = facts(&members);
    let server = Replay::of(&members).serve(&moto(), |action| {
        assert_ne!(action, "DescribeSecurityGroups");
        None
    });
    let report = api(&server).look_up(&facts, Some(groups("right"))).evaluate(&facts, &strict());
    assert_eq!(report.exit_status(), 0, "{report}");
}

#[test]
fn ten_thousand_members_are_judged_within_a_second() {
    let account = account("right");
    let model = facts(&[account.with_ids(&uniform(1)[0])]).remove(0);
    let members: Vec<Facts> = (0..10_000)
        .map(|rank| {
            let mut facts = model.clone();
            facts.member.rank = rank;
            facts.member.instance_id = format!("i-{rank}");
            facts.member.interfaces[0].interface_id = Some(format!("eni-{rank}"));
            facts
        })
        .collect();
    let kinds = (0..10_000).map(|rank| (format!("eni-{rank}"), "efa".to_owned())).collect();
    let server = Replay { kinds, ..Replay::default() }.serve(&moto(), |_| None);

    let mut api = api(&server);
    api.deadline = Duration::from_secs(60);
    let lookup: Lookup = api.look_up(&members, None);
    let began = Instant::now();
    let report = lookup.evaluate(&members, &Policy::strict().requires_efa(true));
    let elapsed = began.elapsed();
    assert!(report.admitted(), "{}", report.findings()[0].text.what);
    let limit = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });
    assert!(elapsed < limit, "{elapsed:?}");
    assert_eq!(lookup.notes(), [""; 0]);
    let mut members = members;
    lookup.complete(&mut members);
    assert!(members.iter().all(|facts| facts.member.interfaces[0].kind == InterfaceKind::Efa));
}

#[test]
fn more_groups_than_a_filter_takes_are_asked_for_in_parts() {
    let mut account = account("right");
    let names: Vec<String> = (0..250).map(|number| format!("extra-{number}")).collect();
    wait(async {
        for name in &names {
            account.make_group(name).await;
        }
    });
    let mut members = [account.with_ids(&uniform(1)[0])];
    let groups = members[0]["interfaces"][0]["security_groups"].as_array_mut().expect("a list");
    groups.extend(names.iter().map(|name| json!(account.ids[name])));
    let server = Replay::of(&members).serve(&moto(), |_| None);
    let lookup = api(&server).look_up(&facts(&members), None);
    assert_eq!(lookup.rules().groups().expect("known rules").len(), 251);
}

#[test]
fn layers_of_the_network_are_known_by_instance() {
    let members = uniform(3);
    let facts = facts(&members);
    let nodes = |names: [&str; 3]| names.map(str::to_owned).to_vec();
    let topology = [("i-0", nodes(["nn-1", "nn-2", "nn-4"])), ("i-2", nodes(["nn-1", "nn-3", "nn-5"]))];
    let replay = Replay {
        topology: topology.clone().map(|(id, nodes)| (id.to_owned(), nodes)).into(),
        ..Replay::of(&members)
    };
    let lookup = api(&replay.serve(&moto(), |_| None)).look_up(&facts, Some(groups("right")));
    assert_eq!(lookup.network_nodes(&facts[0]), Some(&topology[0].1[..]));
    assert_eq!(lookup.network_nodes(&facts[1]), None);
    assert_eq!(lookup.network_nodes(&facts[2]), Some(&topology[1].1[..]));
}

#[test]
fn a_ring_goes_through_the_instances_by_their_places_in_the_network() {
    let members = uniform(4);
    let facts = facts(&members);
    let judged = |places: &[&[&str]]| {
        let nodes = |nodes: &[&str]| nodes.iter().map(|node| (*node).to_owned()).collect();
        let topology = places.iter().enumerate().map(|(rank, it)| (format!("i-{rank}"), nodes(it))).collect();
        let server = Replay { topology, ..Replay::of(&members) }.serve(&moto(), |_| None);
        api(&server).look_up(&facts, Some(groups("right"))).evaluate(&facts, &strict())
    };
    let scattered = judged(&[&["nn-1", "nn-3"], &["nn-2", "nn-4"], &["nn-1", "nn-3"], &["nn-2", "nn-4"]]);
    assert_eq!(scattered.ring_order(), Some(&[0, 2, 1, 3][..]));
    assert!(scattered.notes()[0].contains("layer 1 from the top 2 times rather than 4"), "{scattered}");
    let sorted = judged(&[&["nn-1"], &["nn-1"], &["nn-2"], &["nn-2"]]);
    assert_eq!((sorted.ring_order(), sorted.notes()), (Some(&[0, 1, 2, 3][..]), &[][..]));
    let one_unknown = judged(&[&["nn-1"], &["nn-2"], &["nn-1"]]);
    assert_eq!(one_unknown.ring_order(), None);
}
