//! How jobs end: with a rank that fails, gives up, leaves early or comes late.

use std::process::Stdio;

use super::{PART, efa, everything, job, said};

#[test]
fn a_rank_whose_operation_failed_leaves_without_waiting_for_the_others() {
    let output = job("tcp", "give-up").env("EFA_TIMEOUT", "1").output().expect("efa starts");
    let said = said(&output);
    assert_eq!(said[0], "gone", "{}", everything(&output));
    assert!(said[1..].iter().all(|said| said == "Some(0)"), "{}", everything(&output));
}

#[test]
fn a_rank_that_ends_early_ends_all_others_at_once_with_the_first_cause() {
    for (part, cause) in [("fail at once", "rank 99"), ("panic", "panicked"), ("exit", "without a goodbye")] {
        let output = job("tcp", part).output().expect("efa starts");
        let all = everything(&output);
        for said in &said(&output)[1..] {
            assert!(said.starts_with("0 after ") && said.contains(cause), "{part}: {said}\n{all}");
            let seconds: u32 = said["0 after ".len()..].split(' ').next().unwrap().parse().unwrap();
            // Moments, and far less than the times that the ranks wait for one another at their ends.
            assert!(seconds < 10, "{part}: {said}\n{all}");
        }
    }
}

#[test]
fn a_rank_that_drops_its_communicator_ends_the_job_and_its_own_message_is_seen() {
    for provider in ["tcp", "shm"] {
        // The launcher ends all ranks with the first that exits.
        let output = efa()
            .args(["run", "-n", "4", "--provider", provider, "--"])
            .arg(std::env::current_exe().expect("this program has a path"))
            .args(["--ignored", "--exact", "--nocapture", "rank"])
            .envs([(PART, "fail and drop"), ("EFA_TIMEOUT", "60")])
            .stdin(Stdio::null())
            .output()
            .expect("efa starts");
        let (all, said) = (everything(&output), said(&output));
        assert!(said[0].starts_with("the training data is missing"), "{provider}: {said:?}\n{all}");
        for said in said.iter().filter(|said| !said.is_empty()) {
            let (text, seconds) = said.rsplit_once(" after ").expect("it tells the time");
            let seconds: u32 = seconds.strip_suffix(" s").unwrap().parse().unwrap();
            assert!(seconds < 10, "{provider}: {said}\n{all}");
            let named =
                text.contains("missing") || text.contains("rank 0") && text.contains("without finish()");
            assert!(named, "{provider}: {said}\n{all}");
        }
    }
}

#[test]
fn every_rank_hears_which_one_left_without_finishing() {
    let output = job("tcp", "fail and drop").output().expect("efa starts");
    let (all, said) = (everything(&output), said(&output));
    assert!(said[0].starts_with("the training data is missing"), "{all}");
    for said in &said[1..] {
        assert!(said.contains("rank 0") && said.contains("left without finish()"), "{said}\n{all}");
    }
}

#[test]
fn ranks_that_all_fail_alike_tell_it_each() {
    let output = job("tcp", "all fail and drop").output().expect("efa starts");
    let all = everything(&output);
    assert!(output.status.success(), "{all}");
    let expected: Vec<String> = (0..4).map(|rank| format!("no data for rank {rank}")).collect();
    assert_eq!(said(&output), expected, "{all}");
}

#[test]
fn a_limit_of_leaving_names_who_has_not_come() {
    let output = job("tcp", "late").env("EFA_LEAVE_TIMEOUT", "1").output().expect("efa starts");
    let (all, said) = (everything(&output), said(&output));
    for rank in [0, 1, 3] {
        assert!(
            said[rank].contains("timed out after 1.") && said[rank].contains("rank 2 ("),
            "{rank}: {}\n{all}",
            said[rank]
        );
    }
}

#[test]
fn a_rank_whose_time_is_over_names_its_own_peer_and_not_the_first_that_gave_up() {
    let output = job("tcp", "cut").env("EFA_TIMEOUT", "6").output().expect("efa starts");
    let all = everything(&output);
    let said = said(&output);
    assert!(said[3].contains("from rank 2"), "rank 3: {}\n{all}", said[3]);
    assert!(said[0].contains("from rank 3"), "rank 0: {}\n{all}", said[0]);
}

#[test]
fn an_error_in_run_ends_the_job_at_every_rank_with_its_message() {
    for provider in ["tcp", "shm"] {
        let output = job(provider, "run and fail").output().expect("efa starts");
        for (rank, said) in said(&output).iter().enumerate() {
            let named = rank == 0 || said.contains("rank 0");
            let all = everything(&output);
            assert!(
                named && said.contains("the training data is missing"),
                "{provider}, rank {rank}: {said}\n{all}"
            );
        }
    }
}
