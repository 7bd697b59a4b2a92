//! Each fault that the device can be told to have, and what a user of the library sees of it.
//!
//! Those that EFA mends by itself change nothing but the time; of the others each rank gets an error that names the
//! operation, the peer, the cause and what to do.

use crate::job::{DEATH, Outcome, is_built_in, run, run_with};

/// Everything comes out right, on all ranks.
fn is_unharmed(outcome: &Outcome) {
    assert!(outcome.success, "{}", outcome.all);
    for said in &outcome.said {
        assert_eq!(said, "all right\n", "{}", outcome.all);
    }
}

/// A rank's error: its kind, the rank that it names, and all the words that its text must have.
fn has_said(outcome: &Outcome, rank: usize, kind: &str, named: Option<usize>, words: &[&str]) {
    let said = &outcome.said[rank];
    let start = format!("{kind} {named:?} ");
    assert!(said.starts_with(&start), "rank {rank} said {said} instead of {start}\n{}", outcome.all);
    for word in words {
        assert!(said.contains(word), "'{word}' is missing in what rank {rank} said: {said}");
    }
}

#[test]
fn messages_that_overtake_each_other_arrive_in_order_and_whole() {
    for seed in 1..=3 {
        is_unharmed(&run(3, "everything", &format!("seed={seed}; reorder=0.4")));
    }
}

#[test]
fn a_slow_device_takes_longer_and_that_is_all() {
    is_unharmed(&run(2, "everything", "seed=1; delay=0.05,2000"));
}

#[test]
fn a_receiver_without_room_is_sent_to_again() {
    is_unharmed(&run(3, "everything", "seed=2; rnr=0.3,3"));
}

#[test]
fn all_mendable_faults_at_once_are_mended() {
    is_unharmed(&run(4, "everything", "seed=3; reorder=0.2; delay=0.02,500; rnr=0.1,2"));
}

#[test]
fn without_a_way_into_other_processes_the_slow_path_does_as_well() {
    is_unharmed(&run_with(2, "everything", "", &[("EFA_EMULATOR_CMA", "off")]));
}

#[test]
fn a_refused_key_is_an_error_of_the_operation_that_used_it() {
    let outcome = run(2, "read", "badkey=1");
    let words = [
        "the remote read of 5000 bytes from rank 1 (",
        "the remote key or address was refused (device status 7)",
        "check that the region is still open at its owner",
    ];
    has_said(&outcome, 0, "Operation", None, &words);
    has_said(&outcome, 1, "PeerLost", Some(0), &["is dead", "look at the output of rank 0"]);
}

#[test]
fn a_message_whose_bytes_are_refused_fails_at_the_receiver_who_can_still_close() {
    let outcome = run_with(2, "large, then close", "badkey=1", &[("EFA_TIMEOUT", "2")]);
    if !is_built_in() {
        // Without our patches no message is read out of its sender's memory.
        return assert!(outcome.success, "{}", outcome.all);
    }
    let words = ["the receive of up to 2097152 bytes from rank 0 (", "device status 7"];
    has_said(&outcome, 1, "Operation", None, &words);
    assert!(outcome.said[1].ends_with("closed\n"), "{}", outcome.all);
    assert!(!outcome.all.contains("SIG"), "{}", outcome.all);
}

#[test]
fn a_path_that_is_closed_from_the_start_refuses_the_job_and_names_both_ends() {
    // 1.22 knows status 15 as "unknown error" only.
    for (plan, cause) in [
        ("unreachable=0>1", "the peer can't be reached (device status 15)"),
        ("unresponsive=0>1; timeout=300", "the peer does not respond (device status "),
    ] {
        let outcome = run(2, "exchange", plan);
        let words = ["[path-closed]", "no message from rank 0 (", "reaches rank 1 (", cause];
        has_said(&outcome, 0, "Refused", None, &words);
        has_said(&outcome, 1, "Refused", None, &["rank 0", "tells why"]);
    }
}

#[test]
fn a_peer_that_no_way_leads_to_is_named_with_the_security_group_as_first_suspect() {
    for (plan, cause) in [
        ("unreachable=0>2", "the peer can't be reached (device status 15)"),
        ("unresponsive=0>2; timeout=300", "the peer does not respond (device status "),
    ] {
        let outcome = run(4, "across", plan);
        let words = ["the send of 20000 bytes to rank 2 (", "fi_addr_efa://", "is lost", cause];
        has_said(&outcome, 0, "PeerLost", Some(2), &words);
        has_said(&outcome, 0, "PeerLost", Some(2), &["one subnet", "security group", "efa doctor"]);
        has_said(&outcome, 2, "PeerLost", Some(0), &["the receive of", "look at the output of rank 0"]);
    }
}

#[test]
fn how_long_a_silent_peer_is_waited_for_is_up_to_the_plan() {
    let begun = std::time::Instant::now();
    let outcome = run(4, "across", "unresponsive=0>2; timeout=4000");
    has_said(&outcome, 0, "PeerLost", Some(2), &["the peer does not respond (device status "]);
    assert!(begun.elapsed() >= std::time::Duration::from_secs(4));
}

#[test]
fn an_endpoint_closes_while_the_device_still_waits_for_a_silent_peer() {
    if !is_built_in() {
        // The provider crashes without our patch, 2.1's too.
        return;
    }
    let outcome =
        run_with(4, "across, then close", "unresponsive=0>2; timeout=4000", &[("EFA_TIMEOUT", "1")]);
    let words = ["the send of 20000 bytes to rank 2 (", "nothing came of it within 1s"];
    has_said(&outcome, 0, "Timeout", None, &words);
    if cfg!(feature = "vendored") {
        // Without our patches libfabric crashes here.
        assert!(outcome.said[0].ends_with("closed\n"), "{}", outcome.all);
        assert!(!outcome.all.contains("SIGSEGV"), "{}", outcome.all);
    }
}

// The counts are well beyond what a busy machine makes the provider send while a job starts.
#[test]
fn a_killed_rank_is_named_by_the_others_whatever_they_wait_for() {
    for (part, rank, at, words) in [
        ("exchange", 1, 300, "rank 1"),
        ("large", 1, 300, "to rank 1 ("),
        ("large", 0, 300, "from rank 0 ("),
        ("everything", 1, 100, "rank 1"),
    ] {
        let outcome = run(2, part, &format!("kill={rank}@{at}"));
        let survivor = 1 - rank;
        has_said(&outcome, survivor, "PeerLost", Some(rank), &[words]);
        // Whether the control connection or the device tells first is chance.
        let said = &outcome.said[survivor];
        let by_either = said.contains("is dead") || said.contains("is lost");
        assert!(by_either, "{}", outcome.all);
        assert!(outcome.all.contains(&format!("rank {rank} was killed by signal 9")), "{}", outcome.all);
    }
}

#[test]
fn a_lost_device_is_told_as_ours_by_its_owner_and_ends_the_owner_for_the_others() {
    // While it sends and receives short messages.
    let outcome = run(2, "exchange", "device-gone=1/0@300");
    let words = ["our own device was reset or is gone (device status 1)"];
    assert!(outcome.said[1].contains(words[0]), "{}", outcome.all);
    has_said(&outcome, 0, "PeerLost", Some(1), &["rank 1 ("]);
    // While it sends.
    let outcome = run(2, "large", "device-gone=0/0@300");
    assert!(outcome.said[0].contains(words[0]), "{}", outcome.all);
    has_said(&outcome, 1, "PeerLost", Some(0), &["rank 0 ("]);
}

#[test]
fn a_short_message_that_nobody_takes_is_an_error_of_its_sender() {
    let outcome = run(2, "to the dead", "");
    has_said(&outcome, 0, "PeerLost", Some(1), &["the send of 1000 bytes to rank 1 ("]);
    // Out of reach from the start for anything but the first messages of a job, which are longer.
    let outcome = run(4, "across, short", "unreachable=0>2");
    has_said(&outcome, 0, "PeerLost", Some(2), &["the send of 1000 bytes to rank 2 (", "security group"]);
}

#[test]
fn a_rank_killed_out_of_the_blue_in_a_ring_is_named_by_the_others_who_can_all_close() {
    for (rank, after) in [(2, "150"), (0, "400")] {
        let outcome = run_with(3, "ring", "", &[(DEATH, &format!("{rank}@{after}"))]);
        for survivor in (0..3).filter(|survivor| *survivor != rank) {
            has_said(&outcome, survivor, "PeerLost", Some(rank), &[]);
            assert!(outcome.said[survivor].ends_with("closed\n"), "{}", outcome.all);
        }
    }
}
