//! An endpoint connects only to those it was admitted with: an admission holds for one membership.

mod common;

use std::sync::Arc;

use efa_core::admission::{Admission, Facts, Policy, SecurityGroups, evaluate, source};
use efa_core::bootstrap::Liveness;
use efa_core::endpoint::Unconnected;
use efa_core::fabric::Provider;
use efa_core::{Endpoint, Error, Result};

/// Members of a job on this host.
fn members(count: usize) -> Vec<Facts> {
    let facts = |rank| source::host::facts(rank, Some([127, 0, 0, 1].into())).unwrap();
    (0..count).map(facts).collect()
}

fn admit(members: &[Facts]) -> Admission {
    let policy = Policy::strict().requires_efa(common::provider() == Provider::Efa);
    evaluate(members, &SecurityGroups::none(), &policy).admit().unwrap()
}

fn open(admission: &Admission) -> Unconnected {
    Endpoint::open(admission, common::config()).unwrap()
}

/// Connects `mine` as rank 0 with `other` as rank 1.
fn connect(mine: Unconnected, other: &Unconnected) -> Result<Endpoint> {
    let cards = vec![mine.card(0, "node-a"), other.card(1, "node-b")];
    mine.connect(0, cards, Arc::new(Liveness::alone(2)))
}

/// Why an endpoint of `ours` and one of `theirs` do not connect.
fn refusal(ours: &Admission, theirs: &Admission) -> String {
    let other = open(theirs);
    let error = connect(open(ours), &other).expect_err("they were not admitted together");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    error.to_string()
}

#[test]
fn members_of_one_admission_connect() {
    let admission = admit(&members(2));
    let other = open(&admission);
    assert!(connect(open(&admission), &other).is_ok());
}

#[test]
fn an_endpoint_of_another_membership_is_refused_by_name() {
    let job = members(2);
    // As many members, but one of them was started again on another machine, in another network, or as another rank.
    let mut machine = job.clone();
    machine[1].member.instance_id = "node-c.0123456789ab".into();
    machine[0].member.instance_id = machine[1].member.instance_id.clone();
    let mut interface = job.clone();
    interface[1].member.interfaces[0].interface_id = Some("eni-0c".into());
    let mut network = job.clone();
    for member in &mut network {
        member.member.interfaces[0].subnet_id = "10.0.0.0/24".into();
    }
    let mut rank = job.clone();
    rank[1].member.rank = 2;
    for changed in [machine, interface, network, rank] {
        let text = refusal(&admit(&job), &admit(&changed));
        assert!(text.contains("rank 1 (node-b"), "{text}");
        assert!(text.contains("another membership") && text.contains("judged together"), "{text}");
    }
}

#[test]
fn an_admission_by_another_policy_is_another_admission() {
    let job = members(2);
    let policy = Policy::same_zone().requires_efa(common::provider() == Provider::Efa);
    let wider = evaluate(&job, &SecurityGroups::none(), &policy);
    refusal(&admit(&job), &wider.admit().unwrap());
}

#[test]
fn a_member_that_comes_or_goes_makes_a_new_admission_necessary() {
    let [two, three] = [2, 3].map(|count| admit(&members(count)));
    // The endpoint of the job of three is no longer of use to what is left of it, ...
    let (mine, other) = (open(&three), open(&three));
    let error = connect(mine, &other).unwrap_err();
    assert!(error.to_string().contains("2 peers, and 3 members were admitted"), "{error}");
    // ... and neither does who stayed connect with its old pass to who has the new one, ...
    refusal(&two, &three);
    // ... but both do with the new one.
    let other = open(&two);
    assert!(connect(open(&two), &other).is_ok());
}

#[test]
fn cards_belong_to_their_ranks() {
    let admission = admit(&members(2));
    let (mine, other) = (open(&admission), open(&admission));
    let cards = vec![other.card(1, "node-b"), mine.card(0, "node-a")];
    let error = mine.connect(0, cards, Arc::new(Liveness::alone(2))).unwrap_err();
    assert!(matches!(error, Error::Misuse(_)), "{error}");
    let mine = open(&admission);
    let cards = vec![other.card(0, "node-a"), mine.card(1, "node-b")];
    let error = mine.connect(0, cards, Arc::new(Liveness::alone(2))).unwrap_err();
    assert!(matches!(error, Error::Misuse(_)), "{error}");
    let mine = open(&admission);
    let cards = vec![mine.card(0, "node-a"), other.card(1, "node-b")];
    let error = mine.connect(2, cards, Arc::new(Liveness::alone(2))).unwrap_err();
    assert!(matches!(error, Error::Misuse(_)), "{error}");
}

#[test]
fn a_card_goes_over_the_wire_with_what_it_was_made_for() {
    let admission = admit(&members(2));
    let card = open(&admission).card(0, "node-a");
    let wire = serde_json::to_vec(&card).unwrap();
    let read: efa_core::endpoint::AddressCard = serde_json::from_slice(&wire).unwrap();
    assert_eq!(read, card);
    assert_eq!(read.admission(), admission.fingerprint());
}
