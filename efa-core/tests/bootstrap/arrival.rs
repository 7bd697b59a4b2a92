//! How members meet, and what happens when one is missing, doubled, or no member at all.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use efa_core::Error;
use efa_core::bootstrap::{ControlConfig, Job, JobKey, LaunchEnv, Rendezvous};

use super::job::{DEADLINE, connect_all, free_port, jobs, try_connect_all};

/// Connects all and expects all to fail; the messages by rank.
fn all_fail(jobs: &[Job], deadline: Duration) -> Vec<Error> {
    try_connect_all(jobs, deadline).into_iter().map(|result| result.map(drop).unwrap_err()).collect()
}

/// Opens a connection to rank 0, which may not listen yet.
fn knock(job: &Job) -> TcpStream {
    let port = job.rendezvous.as_ref().unwrap().port;
    let begun = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(begun.elapsed() < DEADLINE, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads until the other side closes; fails if it does not do so in time.
fn closed_within(mut stream: &TcpStream, limit: Duration) {
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.is_empty(), "a stranger was answered"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

#[test]
fn a_rank_that_never_comes_is_named_to_all_who_did() {
    let mut members = jobs(4);
    members.remove(2);
    let limit = Duration::from_millis(500);
    let begun = Instant::now();
    let errors = all_fail(&members, limit);
    assert!(begun.elapsed() >= limit);
    for error in &errors {
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(error.to_string().contains("only 3 of 4 ranks arrived"), "{error}");
        assert!(error.to_string().contains("rank 2 did not come"), "{error}");
        assert_eq!(error.to_string(), errors[0].to_string());
    }
}

#[test]
fn a_rank_0_whose_process_ends_before_it_joins_is_not_waited_for() {
    let mut launch = LaunchEnv::new(2).unwrap();
    let mut zero = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    launch.set_root_process(zero.id());
    let variables = launch.variables(1);
    let job =
        Job::from_vars(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())).unwrap();
    let error = std::thread::scope(|scope| {
        let rank = scope.spawn(|| job.connect(&ControlConfig::default(), DEADLINE));
        // As long as its process is there, rank 0 may still come.
        std::thread::sleep(Duration::from_secs(3));
        assert!(!rank.is_finished());
        drop(zero.stdin.take());
        zero.wait().unwrap();
        let begun = Instant::now();
        let error = rank.join().unwrap().map(drop).unwrap_err();
        assert!(begun.elapsed() < DEADLINE / 2, "{:?}", begun.elapsed());
        error
    });
    assert!(matches!(&error, Error::PeerLost { peer, .. } if peer.rank == 0), "{error:?}");
    assert!(error.to_string().contains("ended before it joined"), "{error}");
}

#[test]
fn the_shortest_deadline_counts_for_all() {
    let members = &jobs(3)[..2];
    let begun = Instant::now();
    let config = &ControlConfig::default();
    let errors: Vec<Error> = std::thread::scope(|scope| {
        let limits = [DEADLINE, Duration::from_millis(300)];
        let threads: Vec<_> = members
            .iter()
            .zip(limits)
            .map(|(job, limit)| scope.spawn(move || job.connect(config, limit)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap().map(drop).unwrap_err()).collect()
    });
    assert!(begun.elapsed() < DEADLINE / 2);
    assert!(errors.iter().all(|error| error.to_string().contains("rank 2 did not come")), "{errors:?}");
}

#[test]
fn two_members_with_one_rank_end_the_job_at_once() {
    let mut members = jobs(4);
    members[3].rank = 1;
    let begun = Instant::now();
    let errors = all_fail(&members, DEADLINE);
    assert!(begun.elapsed() < DEADLINE / 2);
    for error in &errors {
        assert!(matches!(error, Error::Rendezvous(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("two members say they are rank 1"), "{text}");
        assert!(text.contains("node-1") && text.contains("node-3"), "{text}");
    }
}

#[test]
fn members_that_disagree_about_the_size_are_told_so() {
    let mut members = jobs(3);
    members[2].size = 5;
    for error in all_fail(&members, DEADLINE) {
        assert!(matches!(error, Error::Rendezvous(_)), "{error}");
        assert!(error.to_string().contains("rank 2 (node-2"), "{error}");
        assert!(error.to_string().contains("says 5, rank 0 says 3"), "{error}");
    }
}

#[test]
fn a_wrong_or_missing_key_is_told_promptly_and_the_others_are_served() {
    let members = jobs(2);
    for key in [Some(JobKey::generate().unwrap()), None] {
        let mut stranger = members[1].clone();
        stranger.key = key;
        std::thread::scope(|scope| {
            let stranger = &stranger;
            let zero = scope.spawn(|| members[0].connect(&ControlConfig::default(), DEADLINE));
            drop(knock(&members[0]));
            let begun = Instant::now();
            let error = stranger.connect(&ControlConfig::default(), DEADLINE).unwrap_err();
            assert!(begun.elapsed() < DEADLINE / 2);
            assert!(matches!(error, Error::Rendezvous(_)), "{error}");
            assert!(error.to_string().contains("wrong or missing job key"), "{error}");

            let one = members[1].connect(&ControlConfig::default(), DEADLINE).unwrap();
            one.leave();
            zero.join().unwrap().unwrap().leave();
        });
    }
}

#[test]
fn garbage_and_silence_on_the_port_neither_kill_nor_block_the_job() {
    let members = jobs(4);
    let quick = ControlConfig { handshake_limit: Duration::from_millis(300), ..ControlConfig::default() };
    std::thread::scope(|scope| {
        let zero = scope.spawn(|| members[0].connect(&quick, DEADLINE));
        let silent = knock(&members[0]);
        let mut half = knock(&members[0]);
        half.write_all(b"efa-job\n\x00").unwrap();
        for garbage in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 3000], b"efa-job\n\xff\xff", b"efa-job\n\x00\x30xxxx"]
        {
            let mut stream = knock(&members[0]);
            // It may be closed before all is written.
            let _ = stream.write_all(garbage);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            closed_within(&stream, DEADLINE);
        }
        closed_within(&silent, DEADLINE);
        closed_within(&half, DEADLINE);
        let others: Vec<_> = members[1..]
            .iter()
            .map(|job| scope.spawn(|| job.connect(&ControlConfig::default(), DEADLINE)))
            .collect();
        let others: Vec<_> = others.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect();
        others.into_iter().for_each(efa_core::bootstrap::Control::leave);
        zero.join().unwrap().unwrap().leave();
    });
}

#[test]
fn an_extra_member_of_a_running_job_is_sent_away_and_the_job_goes_on() {
    let members = jobs(2);
    let controls = connect_all(&members);
    // For a moment it may be of the next program.
    let error = members[1].connect(&ControlConfig::default(), DEADLINE).unwrap_err();
    assert!(error.to_string().contains("two members say they are rank 1"), "{error}");
    std::thread::scope(|scope| {
        for control in controls {
            scope.spawn(|| {
                control.barrier("still here", DEADLINE).unwrap();
                control.leave();
            });
        }
    });
}

#[test]
fn a_member_of_another_job_is_sent_away_and_the_job_goes_on() {
    let members = jobs(2);
    let mut stray = members[1].clone();
    stray.id = "another".into();
    std::thread::scope(|scope| {
        let zero = scope.spawn(|| members[0].connect(&ControlConfig::default(), DEADLINE));
        let error = stray.connect(&ControlConfig::default(), DEADLINE).unwrap_err();
        assert!(error.to_string().contains("'another'") && error.to_string().contains("'test'"), "{error}");
        let one = members[1].connect(&ControlConfig::default(), DEADLINE).unwrap();
        one.leave();
        zero.join().unwrap().unwrap().leave();
    });
}

#[test]
fn a_taken_rendezvous_is_an_error_that_names_it() {
    let members = jobs(2);
    let port = members[0].rendezvous.as_ref().unwrap().port;
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let error = members[0].connect(&ControlConfig::default(), DEADLINE).unwrap_err();
    assert!(matches!(error, Error::System { .. }), "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(error.to_string().contains("another program"), "{error}");
}

#[test]
fn an_unreachable_rank_0_is_named_at_the_deadline() {
    let members = jobs(2);
    let limit = Duration::from_millis(300);
    let begun = Instant::now();
    let error = members[1].connect(&ControlConfig::default(), limit).unwrap_err();
    assert!(begun.elapsed() >= limit && begun.elapsed() < DEADLINE / 2);
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.to_string().contains(&members[1].rendezvous.as_ref().unwrap().to_string()), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.to_string().contains("rank 0 was never reached"), "{error}");
    assert!(error.explanation().remedy.contains("EFA_RENDEZVOUS"), "{error}");
}

#[test]
fn a_wrong_key_is_said_to_be_one_at_rank_0_too() {
    let members = jobs(3);
    let mut stranger = members[1].clone();
    stranger.key = Some(JobKey::generate().unwrap());
    std::thread::scope(|scope| {
        let limit = Duration::from_secs(2);
        let others = [&members[0], &members[2]]
            .map(|job| scope.spawn(move || job.connect(&ControlConfig::default(), limit).unwrap_err()));
        let error = stranger.connect(&ControlConfig::default(), DEADLINE).unwrap_err();
        assert!(error.to_string().contains("different job keys"), "{error}");
        for error in others.map(|other| other.join().unwrap()) {
            assert!(
                error.to_string().contains("rank 1 (node-1) did not come")
                    || error.to_string().contains("rank 1 did not come"),
                "{error}"
            );
            assert!(error.to_string().contains("wrong or missing job key"), "{error}");
            assert!(error.explanation().remedy.contains("EFA_JOB_KEY"), "{error}");
        }
    });
}

#[test]
fn something_else_that_listens_at_the_rendezvous_is_not_taken_for_rank_0() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut job = jobs(2).remove(1);
    job.rendezvous = Some(Rendezvous::new("127.0.0.1", listener.local_addr().unwrap().port()));
    for answer in [&b"SSH-2.0-something\r\n"[..], &[0; 200]] {
        std::thread::scope(|scope| {
            scope.spawn(|| listener.accept().unwrap().0.write_all(answer).unwrap());
            let error = job.connect(&ControlConfig::default(), DEADLINE).unwrap_err();
            assert!(error.to_string().contains("not rank 0 of this job"), "{error}");
        });
    }
}

#[test]
fn a_rank_that_is_turned_away_tries_again_and_does_not_blame_the_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut job = jobs(2).remove(1);
    job.rendezvous = Some(Rendezvous::new("127.0.0.1", listener.local_addr().unwrap().port()));
    std::thread::scope(|scope| {
        let attempts = scope.spawn(|| {
            for _ in 0..5 {
                drop(listener.accept().unwrap());
            }
        });
        let error = job.connect(&ControlConfig::default(), Duration::from_secs(2)).unwrap_err();
        attempts.join().unwrap();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(!error.to_string().contains("key"), "{error}");
    });
}

#[test]
fn a_rank_0_that_accepts_and_says_nothing_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut job = jobs(2).remove(1);
    job.rendezvous = Some(Rendezvous::new("127.0.0.1", listener.local_addr().unwrap().port()));
    let error = job.connect(&ControlConfig::default(), Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

#[test]
fn without_a_key_members_meet_on_loopback_and_nowhere_else() {
    let mut members = jobs(2);
    for job in &mut members {
        job.key = None;
    }
    for control in connect_all(&members) {
        drop(control);
    }
    for job in &mut members {
        job.rendezvous = Some(Rendezvous::new("192.0.2.1", free_port()));
    }
    for error in all_fail(&members, DEADLINE) {
        assert!(matches!(error, Error::Setting(_)), "{error}");
        assert!(error.to_string().contains("EFA_JOB_KEY"), "{error}");
    }
}

#[test]
fn a_job_without_a_rendezvous_is_refused() {
    let mut members = jobs(2);
    for job in &mut members {
        job.rendezvous = None;
    }
    for error in all_fail(&members, DEADLINE) {
        assert!(error.to_string().contains("EFA_RENDEZVOUS"), "{error}");
    }
}

#[test]
fn members_meet_by_name_and_over_ipv6() {
    let ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    for host in ["localhost", "::1"].iter().take(if ipv6 { 2 } else { 1 }) {
        let mut members = jobs(2);
        for job in &mut members {
            job.rendezvous.as_mut().unwrap().host = (*host).to_owned();
        }
        for control in connect_all(&members) {
            assert!(control.local_address().is_loopback(), "{host}");
        }
    }
}

#[test]
fn ranks_may_start_long_before_rank_0() {
    let members = jobs(2);
    std::thread::scope(|scope| {
        let one = scope.spawn(|| members[1].connect(&ControlConfig::default(), DEADLINE).unwrap());
        std::thread::sleep(Duration::from_millis(200));
        let zero = members[0].connect(&ControlConfig::default(), DEADLINE).unwrap();
        one.join().unwrap().leave();
        zero.leave();
    });
}

#[test]
fn what_a_launcher_sets_makes_a_job_and_one_rendezvous_can_serve_again() {
    let launch = LaunchEnv::new(3).unwrap();
    let member = |rank| {
        let variables = launch.variables(rank);
        Job::from_vars(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())).unwrap()
    };
    let members: Vec<Job> = (0..3).map(member).collect();
    for _ in 0..2 {
        let controls = connect_all(&members);
        std::thread::scope(|scope| {
            for control in controls {
                scope.spawn(|| control.leave());
            }
        });
    }
}

/// Runs `count` programs one after the other at every rank of a job, none of which waits for the others' programs to end.
fn in_a_row(members: &[Job], count: usize) {
    std::thread::scope(|scope| {
        for (rank, job) in members.iter().enumerate() {
            scope.spawn(move || {
                for program in 0..count {
                    let control = job
                        .connect(&ControlConfig::default(), DEADLINE)
                        .unwrap_or_else(|error| panic!("rank {rank}, program {program}: {error}"));
                    control.barrier("all have come", DEADLINE).unwrap();
                    control.leave();
                }
            });
        }
    });
}

#[test]
fn programs_that_follow_one_another_at_one_rendezvous_do_not_mix() {
    in_a_row(&jobs(4), 50);
    let mut members = jobs(4);
    members.iter_mut().for_each(|job| job.key = None);
    in_a_row(&members, 50);
}
