//! An endpoint connects only to those it was admitted with: an admission holds for one membership.

mod common;

use std::sync::Arc;

use common::{admit, members};
use efa_core::admission::{Admission, Facts, Policy, SecurityGroups, evaluate};
use efa_core::bootstrap::Liveness;
use efa_core::endpoint::{PeerAddress, Unconnected};
use efa_core::fabric::Provider;
use efa_core::{Endpoint, Error, Result};

fn open(admission: &Admission) -> Unconnected {
    Endpoint::open(admission, common::config()).unwrap()
}

/// A member with the pass that it has.
#[derive(Clone)]
struct Member {
    facts: Facts,
    admission: Admission,
}

/// The members of a job that were judged together.
fn judged(facts: &[Facts]) -> Vec<Member> {
    let admission = admit(facts);
    facts.iter().map(|facts| Member { facts: facts.clone(), admission: admission.clone() }).collect()
}

/// Opens an endpoint for each, and connects that of the first to the others.
fn connect(members: &[Member]) -> Result<Endpoint> {
    let mut opened: Vec<Unconnected> = members.iter().map(|member| open(&member.admission)).collect();
    let peer_addresses: Vec<PeerAddress> =
        opened.iter().zip(members).map(|(endpoint, member)| endpoint.peer_address(&member.facts)).collect();
    opened.remove(0).connect(0, peer_addresses, Arc::new(Liveness::alone(members.len())))
}

/// Why they don't connect.
fn refusal(members: &[Member]) -> String {
    let error = connect(members).expect_err("they were not admitted together");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("cannot connect to rank 1 ("), "{error}");
    error.to_string()
}

/// The second of two members after something about it has changed, in each of several ways.
fn changes() -> Vec<Vec<Facts>> {
    let change = |change: fn(&mut Facts)| {
        let mut facts = members(2);
        facts.iter_mut().for_each(change);
        vec![members(2).remove(0), facts.remove(1)]
    };
    vec![
        change(|facts| facts.member.interfaces[0].interface_id = Some("eni-0c".into())),
        change(|facts| facts.member.interfaces[0].ipv4 = vec![[127, 0, 0, 2].into()]),
        change(|facts| facts.member.instance_type = Some("hpc7a.96xlarge".into())),
        change(|facts| facts.host = None),
    ]
}

#[test]
fn members_that_were_judged_together_connect() {
    assert!(connect(&judged(&members(2))).is_ok());
}

#[test]
fn a_member_of_another_membership_is_refused_by_name() {
    let ours = judged(&members(2));
    for changed in changes() {
        let theirs = judged(&changed);
        // It comes with the facts and the pass of that other membership, ...
        let text = refusal(&[ours[0].clone(), theirs[1].clone()]);
        assert!(text.contains("not the member that was judged"), "{text}");
        // ... or with a pass that somebody else's change has made another.
        let text = refusal(&[Member { facts: changed[0].clone(), ..theirs[0].clone() }, ours[1].clone()]);
        assert!(text.contains("not the member that was judged"), "{text}");
    }
    // As many members, of whom it is the first that has changed: rank 1 is the same, but was judged with another.
    let mut other = members(2);
    other[0].member.instance_type = Some("hpc7a.96xlarge".into());
    let text =
        refusal(&[ours[0].clone(), Member { facts: members(2).remove(1), ..judged(&other).remove(1) }]);
    assert!(text.contains("another membership"), "{text}");
}

#[test]
fn facts_that_change_after_the_verdict_make_a_new_admission_necessary() {
    let ours = judged(&members(2));
    for changed in changes() {
        // Both still hold the pass that they were given together, ...
        let stale = [ours[0].clone(), Member { facts: changed[1].clone(), ..ours[1].clone() }];
        let text = refusal(&stale);
        assert!(text.contains("its facts have changed since") && text.contains("judged together"), "{text}");
        // ... and only a new one is of use.
        assert!(connect(&judged(&changed)).is_ok());
    }
}

#[test]
fn an_admission_by_another_policy_is_another_admission() {
    let facts = members(2);
    let policy = Policy::same_zone().requires_efa(common::provider() == Provider::Efa);
    let wider = evaluate(&facts, &SecurityGroups::none(), &policy).admit().unwrap();
    let ours = judged(&facts);
    refusal(&[ours[0].clone(), Member { admission: wider, ..ours[1].clone() }]);
}

#[test]
fn a_member_that_comes_or_goes_makes_a_new_admission_necessary() {
    let [two, three] = [2, 3].map(|count| judged(&members(count)));
    // The pass of three is no longer of use to the two that are left, ...
    let error = connect(&three[..2]).unwrap_err();
    assert!(error.to_string().contains("2 peers, and 3 members were admitted"), "{error}");
    // ... nor does one of them with the new pass connect to one with the old, ...
    assert!(refusal(&[two[0].clone(), three[1].clone()]).contains("another membership"));
    // ... but both do with the new one.
    assert!(connect(&two).is_ok());
}

#[test]
fn cards_belong_to_their_ranks() {
    let job = judged(&members(2));
    let misuse = |me: usize, order: [usize; 2]| {
        let opened = job.iter().map(|member| open(&member.admission)).collect::<Vec<_>>();
        let peer_addresses = order.map(|rank| opened[rank].peer_address(&job[rank].facts)).to_vec();
        let mine = opened.into_iter().next().unwrap();
        let error = mine.connect(me, peer_addresses, Arc::new(Liveness::alone(2))).unwrap_err();
        assert!(matches!(error, Error::Misuse(_)), "{error}");
    };
    misuse(0, [1, 0]);
    misuse(1, [0, 1]);
    misuse(2, [0, 1]);
}

#[test]
fn a_card_goes_over_the_wire_with_what_it_was_made_for() {
    let job = judged(&members(2));
    let peer_address = open(&job[0].admission).peer_address(&job[0].facts);
    let wire = serde_json::to_vec(&peer_address).unwrap();
    let read: PeerAddress = serde_json::from_slice(&wire).unwrap();
    assert_eq!(read, peer_address);
    assert_eq!(read.admission(), job[0].admission.fingerprint());
    assert_eq!((read.peer().rank, read.address()), (0, peer_address.address()));
}
