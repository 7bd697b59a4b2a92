//! What members do together once they have met.

use std::time::{Duration, Instant};

use efa_core::Error;
use efa_core::bootstrap::{CalledOff, ControlConfig, MAX_PAYLOAD, Status};

use super::job::{DEADLINE, connect_all, jobs, run};

#[test]
fn everyone_gets_everyones_bytes() {
    for size in [1, 2, 4, 16] {
        run(size, |control| {
            for round in 0..3 {
                let mine = vec![control.rank() as u8; 10 * control.rank() + round];
                let all = control.exchange("facts", &mine, DEADLINE).unwrap();
                let expected: Vec<Vec<u8>> =
                    (0..size).map(|rank| vec![rank as u8; 10 * rank + round]).collect();
                assert_eq!(all, expected);
                control.barrier("between rounds", DEADLINE).unwrap();
            }
            control.leave();
        });
    }
}

#[test]
fn everyone_knows_everyones_host_and_address() {
    run(4, |control| {
        assert_eq!(control.size(), 4);
        for (rank, peer) in control.peers().iter().enumerate() {
            assert_eq!((peer.rank, peer.host.as_str()), (rank, format!("node-{rank}").as_str()));
            assert_eq!(peer.address, "127.0.0.1");
        }
        assert!(control.local_address().is_loopback());
        control.leave();
    });
}

#[test]
fn nobody_passes_a_barrier_before_all_are_there() {
    let begun = Instant::now();
    run(4, |control| {
        std::thread::sleep(Duration::from_millis(100 * control.rank() as u64));
        control.barrier("start", DEADLINE).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(300));
        control.leave();
    });
}

#[test]
fn large_contributions_arrive_whole() {
    run(3, |control| {
        let mine: Vec<u8> = (0..3_000_000).map(|i| (i * 7 + control.rank()) as u8).collect();
        let all = control.exchange("large", &mine, DEADLINE).unwrap();
        assert_eq!(all[control.rank()], mine);
        assert!(all.iter().all(|part| part.len() == mine.len()));
        let whole = vec![3; MAX_PAYLOAD];
        let data = (control.rank() == 0).then_some(whole.as_slice());
        assert!(control.broadcast_from_root("largest", data, DEADLINE).unwrap() == whole);
        control.leave();
    });
}

#[test]
fn one_byte_too_many_is_misuse() {
    run(2, |control| {
        let error = control.exchange("too large", &vec![0; MAX_PAYLOAD + 1], DEADLINE).unwrap_err();
        assert!(matches!(error, Error::Misuse(_)), "{error}");
        let error = control.barrier(&"x".repeat(2000), DEADLINE).unwrap_err();
        assert!(matches!(error, Error::Misuse(_)), "{error}");
        control.leave();
    });
}

#[test]
fn the_roots_bytes_reach_everyone() {
    run(4, |control| {
        let data = (control.rank() == 0).then_some(b"rules".as_slice());
        assert_eq!(control.broadcast_from_root("rules", data, DEADLINE).unwrap(), b"rules");
        let wrong = if control.rank() == 0 { None } else { Some(b"x".as_slice()) };
        let error = control.broadcast_from_root("rules", wrong, DEADLINE).unwrap_err();
        assert!(matches!(error, Error::Misuse(_)), "{error}");
        control.leave();
    });
}

#[test]
fn a_disagreement_names_the_ranks_alike_everywhere() {
    let errors = run(4, |control| {
        control.agree("the provider", "tcp 1.22", DEADLINE).unwrap();
        let value = if control.rank() == 3 { "shm 1.22" } else { "tcp 1.22" };
        let error = control.agree("the provider", value, DEADLINE).unwrap_err().to_string();
        control.leave();
        error
    });
    assert!(errors.iter().all(|error| *error == errors[0]));
    assert!(errors[0].contains("ranks 0-2 use tcp 1.22, rank 3 (node-3) uses shm 1.22"), "{}", errors[0]);
}

#[test]
fn different_calls_are_an_error_that_names_the_ranks() {
    let errors = run(3, |control| {
        let label = if control.rank() == 1 { "addresses" } else { "facts" };
        let error = control.exchange(label, b"", DEADLINE).unwrap_err();
        // The next operation works again.
        control.barrier("after", DEADLINE).unwrap();
        control.leave();
        error
    });
    for error in errors {
        assert!(matches!(error, Error::Rendezvous(_)), "{error}");
        assert!(
            error.to_string().contains("'facts'") && error.to_string().contains("'addresses'"),
            "{error}"
        );
    }
}

#[test]
fn a_late_rank_is_named_at_the_deadline_and_hears_the_same() {
    let limit = Duration::from_millis(400);
    let errors = run(3, |control| {
        if control.rank() == 2 {
            std::thread::sleep(2 * limit);
        }
        let error = control.barrier("start", limit).unwrap_err();
        control.barrier("after", DEADLINE).unwrap();
        control.leave();
        error
    });
    for error in &errors {
        assert!(matches!(error, Error::Timeout { elapsed, .. } if *elapsed >= limit), "{error}");
        assert!(error.to_string().contains("rank 2 (node-2)"), "{error}");
        assert_eq!(error.to_string(), errors[0].to_string());
    }
}

#[test]
fn a_death_is_seen_by_all_with_its_name() {
    run(4, |control| {
        if control.rank() == 2 {
            // As on an error exit: no goodbye.
            drop(control);
            return;
        }
        let error = control.barrier("with the dead", DEADLINE).unwrap_err();
        assert_eq!(error.peer().map(|peer| (peer.rank, peer.host.as_str())), Some((2, "node-2")), "{error}");
        let liveness = control.liveness();
        assert!(matches!(liveness.status(2), Status::Dead { reason } if reason.contains("without leaving")));
        assert_eq!(liveness.first_dead().unwrap().0.rank, 2);
        assert_eq!(liveness.status(1), if control.rank() == 1 { Status::Alive } else { liveness.status(1) });
        // Later operations fail at once.
        let begun = Instant::now();
        assert!(matches!(control.barrier("again", DEADLINE), Err(Error::PeerLost { .. })));
        assert!(begun.elapsed() < DEADLINE / 2);
        control.leave();
    });
}

#[test]
fn the_death_of_rank_0_is_seen_by_all() {
    run(3, |control| {
        if control.rank() == 0 {
            drop(control);
            return;
        }
        let error = control.barrier("with the dead", DEADLINE).unwrap_err();
        assert_eq!(error.peer().map(|peer| peer.rank), Some(0), "{error}");
        let liveness = control.liveness();
        assert!(matches!(liveness.status(0), Status::Dead { .. }));
        // Nobody would tell of further deaths, so that the whole job ends.
        let cause = liveness.called_off().expect("the job is called off");
        assert!(
            matches!(&cause, CalledOff::Lost { peer, .. } if peer.rank == 0 && peer.host == "node-0"),
            "{cause}"
        );
        control.leave();
    });
}

#[test]
fn a_panicking_rank_is_dead_and_says_so() {
    let controls = connect_all(&jobs(2));
    let mut controls = controls.into_iter();
    let (zero, one) = (controls.next().unwrap(), controls.next().unwrap());
    let panicking = std::thread::spawn(move || {
        let _held = one;
        panic!("as intended by this test");
    });
    assert!(panicking.join().is_err());
    let error = zero.barrier("with the dead", DEADLINE).unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

#[test]
fn whoever_leaves_is_gone_but_not_dead() {
    run(4, |control| {
        let liveness = control.liveness();
        if control.rank() == 3 {
            control.leave();
            return;
        }
        while liveness.status(3) == Status::Alive {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(liveness.status(3), Status::Left);
        assert_eq!(liveness.first_dead(), None);
        let error = control.barrier("without rank 3", DEADLINE).unwrap_err();
        assert!(error.to_string().contains("has left"), "{error}");
        control.leave();
        assert_eq!(liveness.first_dead(), None);
    });
}

#[test]
fn rank_0_may_leave_first_without_being_taken_for_dead() {
    run(3, |control| {
        let liveness = control.liveness();
        if control.rank() > 0 {
            while liveness.status(0) == Status::Alive {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Rank 0 lingers, so the others still hear of one another.
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(liveness.status(0), Status::Left);
        }
        control.leave();
        assert_eq!(liveness.first_dead(), None);
    });
}

#[test]
fn an_abort_ends_everyones_waiting() {
    for culprit in [0, 2] {
        run(3, |control| {
            if control.rank() == culprit {
                control.abort("the input file is broken");
            }
            let error = control.barrier("never", DEADLINE).unwrap_err();
            assert!(matches!(&error, Error::Aborted { by, .. } if by.rank == culprit), "{error}");
            assert!(error.to_string().contains("the input file is broken"), "{error}");
            let (by, reason) = control.liveness().aborted().unwrap();
            assert_eq!((by.rank, reason.as_str()), (culprit, "the input file is broken"));
            control.leave();
        });
    }
}

#[test]
fn a_job_of_one_needs_nothing_and_can_do_everything() {
    run(1, |control| {
        control.barrier("alone", DEADLINE).unwrap();
        control.agree("anything", "x", DEADLINE).unwrap();
        assert_eq!(control.broadcast_from_root("alone", Some(b"y"), DEADLINE).unwrap(), b"y");
        assert!(control.local_address().is_loopback());
        control.abort("enough");
        assert!(matches!(control.barrier("alone", DEADLINE), Err(Error::Aborted { .. })));
    });
}

#[test]
fn times_without_end_are_no_panic() {
    let forever = Duration::MAX;
    let config = ControlConfig {
        heartbeat_period: forever - Duration::from_secs(1),
        silent_after: forever,
        dead_after: forever,
        handshake_limit: forever,
        linger: forever,
    };
    let jobs = jobs(2);
    std::thread::scope(|scope| {
        for job in &jobs {
            let config = &config;
            scope.spawn(move || {
                let control = job.connect(config, forever).unwrap();
                control.barrier("patient", forever).unwrap();
                control.leave();
            });
        }
    });
}

#[test]
fn times_without_order_are_refused() {
    let config = ControlConfig { silent_after: Duration::from_millis(10), ..ControlConfig::default() };
    let error = jobs(1)[0].connect(&config, DEADLINE).unwrap_err();
    assert!(matches!(error, Error::Setting(_)), "{error}");
}

#[test]
fn all_ranks_of_a_run_share_a_secret_and_no_two_runs_do() {
    for keyed in [true, false] {
        let mut members = jobs(3);
        members.iter_mut().filter(|_| !keyed).for_each(|job| job.key = None);
        let mut subkeys = Vec::new();
        for _ in 0..2 {
            let controls = connect_all(&members);
            let all: Vec<_> = controls.iter().map(|control| control.secret().subkey("tags")).collect();
            assert!(all.iter().all(|subkey| *subkey == all[0]));
            subkeys.push(all[0]);
            controls.into_iter().for_each(drop);
        }
        assert_ne!(subkeys[0], subkeys[1]);
    }
}
