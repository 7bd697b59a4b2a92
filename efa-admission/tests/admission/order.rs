//! The report doesn't depend on the order in which anything is told.

use efa_admission::{Facts, GroupRules, SecurityGroups, evaluate};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::build::*;
use crate::properties::{any_job, any_policy, config};

fn shuffled<T: Clone + std::fmt::Debug + 'static>(list: &[T], runner: &mut TestRunner) -> Vec<T> {
    Just(list.to_vec()).prop_shuffle().new_tree(runner).expect("a shuffle").current()
}

fn reordered(
    members: &[Facts],
    groups: &[GroupRules],
    runner: &mut TestRunner,
) -> (Vec<Facts>, Vec<GroupRules>) {
    let mut members = shuffled(members, runner);
    for facts in &mut members {
        facts.member.interfaces = shuffled(&facts.member.interfaces, runner);
        for interface in &mut facts.member.interfaces {
            interface.security_groups = interface.security_groups.as_deref().map(|it| shuffled(it, runner));
        }
    }
    let mut groups = shuffled(groups, runner);
    for group in &mut groups {
        group.ip_permissions = shuffled(&group.ip_permissions, runner);
        group.ip_permissions_egress = shuffled(&group.ip_permissions_egress, runner);
        for entry in group.ip_permissions.iter_mut().chain(&mut group.ip_permissions_egress) {
            entry.user_id_group_pairs = shuffled(&entry.user_id_group_pairs, runner);
            entry.ip_ranges = shuffled(&entry.ip_ranges, runner);
        }
    }
    (members, groups)
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn the_same_job_gets_the_same_report((members, groups) in any_job(), policy in any_policy()) {
        let mut runner = TestRunner::deterministic();
        let report = evaluate(&members, &SecurityGroups::known(groups.clone()), &policy);
        for _ in 0..4 {
            let (members, groups) = reordered(&members, &groups, &mut runner);
            let again = evaluate(&members, &SecurityGroups::known(groups), &policy);
            prop_assert_eq!(&again, &report);
            prop_assert_eq!(again.to_table(true), report.to_table(true));
        }
    }
}

#[test]
fn the_fingerprint_does_not_depend_on_order_either() {
    let facts = members(&uniform(5));
    let reversed: Vec<Facts> = facts.iter().rev().cloned().collect();
    let admission = evaluate(&facts, &groups("right"), &strict()).admit().expect("an admitted job");
    assert!(admission.covers(&reversed));
    let other = evaluate(&reversed, &groups("right"), &strict()).admit().expect("an admitted job");
    assert_eq!(other.fingerprint().to_string(), admission.fingerprint().to_string());
}

#[test]
fn the_order_of_unknown_interfaces_does_not_matter() {
    let listed = |first: u32| {
        let groups = |number: u32| if number == 0 { ["sg-1"] } else { ["sg-2"] };
        let one = |number: u32| interface(0, number, "unknown", "subnet-1", &groups(number));
        members(&[member(0, &[one(first), one(1 - first)])])
    };
    let rules = groups("admit-each-other");
    let judged = |first| evaluate(&listed(first), &rules, &strict());
    let (forward, backward) = (judged(0), judged(1));
    assert_eq!(forward.findings(), backward.findings());
}
