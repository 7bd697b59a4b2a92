//! Rank 0's decisions, with made-up members and a made-up clock.

use super::super::message::Gathering;
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// Returns a job of `size` with the times of this test's own.
fn coordinator(size: usize, now: Instant) -> Coordinator {
    let job = Job { size, host: "node-0".into(), id: "test".into(), ..Job::alone() };
    let config = ControlConfig {
        heartbeat_period: Duration::from_secs(1),
        silent_after: Duration::from_secs(30),
        dead_after: Duration::from_secs(120),
        ..ControlConfig::default()
    };
    Coordinator::new(&job, JobSecret::from_bytes([7; 32]), &config, now, LIMIT)
}

fn greeting(rank: usize, size: usize) -> Greeting {
    Greeting {
        protocol: PROTOCOL_VERSION,
        rank: rank as u64,
        size: size as u64,
        job_id: "test".into(),
        host: format!("node-{rank}"),
        address: IpAddr::from([10, 0, 0, rank as u8]),
        library: env!("CARGO_PKG_VERSION").into(),
        patience: LIMIT,
    }
}

fn from(rank: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, rank as u8], 4000))
}

const ROOT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));

/// Returns the refusal of a member that can't join.
fn refused(coordinator: &mut Coordinator, greeting: &Greeting, rank: usize, now: Instant) -> Error {
    match *coordinator.greet(greeting, from(rank), ROOT, now).unwrap_err() {
        Message::Refused(fault) => fault,
        other => panic!("{other:?}"),
    }
}

/// Returns a coordinator whose members have all arrived, its outputs taken.
fn running(size: usize, now: Instant) -> Coordinator {
    let mut coordinator = coordinator(size, now);
    for rank in 1..size {
        assert_eq!(coordinator.greet(&greeting(rank, size), from(rank), ROOT, now), Ok(rank));
        assert!(coordinator.outputs.contains(&Output::Send(rank, Message::Admitted)));
    }
    assert!(matches!(coordinator.outputs.last(), Some(Output::SendAll(Message::Welcome { .. }))));
    coordinator.outputs.clear();
    coordinator
}

fn barrier(sequence: u64, patience: Duration) -> Message {
    let (gathering, label) = (Gathering::Barrier, "b".into());
    Message::Contribute { sequence, gathering, label, patience, data: Vec::new() }
}

/// Returns the health that the only output announces, and of whom.
fn only_status(coordinator: &mut Coordinator) -> (u32, Health) {
    match std::mem::take(&mut coordinator.outputs).as_slice() {
        [Output::SendAll(Message::Status { rank, health })] => (*rank, health.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_on_the_loopback_interface_are_reached_at_rank_0s_address() {
    let now = Instant::now();
    let mut coordinator = coordinator(3, now);
    let mut near = greeting(1, 3);
    near.address = IpAddr::from([127, 0, 1, 1]);
    coordinator.greet(&near, from(1), IpAddr::from([127, 0, 1, 1]), now).unwrap();
    coordinator.greet(&greeting(2, 3), from(2), ROOT, now).unwrap();
    let Some(Output::SendAll(Message::Welcome { peers, .. })) = coordinator.outputs.last() else {
        panic!("{:?}", coordinator.outputs)
    };
    let addresses: Vec<&str> = peers.iter().map(|peer| peer.address.as_str()).collect();
    assert_eq!(addresses, ["10.0.0.100", "10.0.0.100", "10.0.0.2"]);
}

#[test]
fn other_versions_are_named() {
    let now = Instant::now();
    for (greeting, says) in [
        (Greeting { protocol: 99, ..greeting(1, 2) }, "speaks version 99"),
        (Greeting { library: "9.9.9".into(), ..greeting(1, 2) }, "it has version 9.9.9"),
        (Greeting { rank: 2, ..greeting(1, 2) }, "counted from 0"),
        (Greeting { rank: u64::MAX, ..greeting(1, 2) }, "counted from 0"),
    ] {
        let mut coordinator = coordinator(2, now);
        let fault = refused(&mut coordinator, &greeting, 1, now);
        assert!(fault.explanation().why.contains(says), "{fault:?}");
        assert!(coordinator.has_failed());
        assert_eq!(coordinator.outputs, [Output::SendAll(Message::Refused(fault))]);
    }
}

#[test]
fn latecomers_of_a_failed_arrival_hear_why_it_failed() {
    let now = Instant::now();
    let mut coordinator = coordinator(4, now);
    coordinator.greet(&greeting(1, 4), from(1), ROOT, now).unwrap();
    let fault = refused(&mut coordinator, &greeting(1, 4), 2, now);
    assert_eq!(refused(&mut coordinator, &greeting(3, 4), 3, now), fault);
}

#[test]
fn a_rank_that_has_left_and_comes_again_belongs_to_the_next_program() {
    let now = Instant::now();
    let mut coordinator = running(3, now);
    coordinator.message(1, Message::Leave, now);
    let again = coordinator.greet(&greeting(1, 3), from(1), ROOT, now).unwrap_err();
    assert_eq!(*again, Message::Later { fault: None });
    // Of this one the news that it has left is still on its way, or somebody started it twice.
    match *coordinator.greet(&greeting(2, 3), from(2), ROOT, now).unwrap_err() {
        Message::Later { fault: Some(fault) } => {
            assert!(fault.explanation().what.contains("two members say they are rank 2"), "{fault:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!coordinator.has_failed());
}

#[test]
fn a_rank_that_comes_again_after_a_failed_arrival_belongs_to_the_next_program() {
    let now = Instant::now();
    let mut coordinator = coordinator(3, now);
    coordinator.greet(&greeting(1, 3), from(1), ROOT, now).unwrap();
    coordinator.lost(1, "it was killed".into());
    let again = coordinator.greet(&greeting(1, 3), from(1), ROOT, now).unwrap_err();
    assert!(matches!(*again, Message::Later { .. }), "{again:?}");
    refused(&mut coordinator, &greeting(2, 3), 2, now);
    assert!(coordinator.all_came());
}

#[test]
fn a_member_lost_before_all_arrived_ends_the_job_with_its_name() {
    let now = Instant::now();
    let mut coordinator = coordinator(3, now);
    coordinator.greet(&greeting(2, 3), from(2), ROOT, now).unwrap();
    coordinator.lost(2, "it was killed".into());
    let [_, Output::SendAll(Message::Refused(fault)), Output::Disconnect(2)] = &coordinator.outputs[..]
    else {
        panic!("{:?}", coordinator.outputs)
    };
    assert!(fault.explanation().what.contains("rank 2 (node-2, 10.0.0.2:4000)"), "{fault:?}");
}

#[test]
fn an_accept_error_is_told_with_who_is_missing() {
    let now = Instant::now();
    let mut coordinator = coordinator(2, now);
    coordinator.accept_error = Some("too many open files".into());
    for seconds in 1..=LIMIT.as_secs() {
        coordinator.tick(now + Duration::from_secs(seconds));
    }
    let [Output::SendAll(Message::Refused(fault))] = &coordinator.outputs[..] else {
        panic!("{:?}", coordinator.outputs)
    };
    assert!(
        fault.explanation().why.contains("rank 1") && fault.explanation().why.contains("too many open files"),
        "{fault:?}"
    );
}

#[test]
fn silence_is_reported_once_then_taken_back_or_taken_for_death() {
    let start = Instant::now();
    let mut coordinator = running(2, start);
    let mut now = start;
    let mut wait = |coordinator: &mut Coordinator, seconds: u64| {
        for _ in 0..seconds {
            now += Duration::from_secs(1);
            coordinator.tick(now);
        }
        now
    };
    wait(&mut coordinator, 30);
    assert!(coordinator.outputs.is_empty());
    let now = wait(&mut coordinator, 20);
    assert!(matches!(only_status(&mut coordinator), (1, Health::Silent { .. })));
    coordinator.heard(1, now);
    assert_eq!(only_status(&mut coordinator), (1, Health::Alive));
    wait(&mut coordinator, 31);
    assert!(matches!(only_status(&mut coordinator), (1, Health::Silent { .. })));
    wait(&mut coordinator, 90);
    let [
        Output::SendAll(Message::Status { rank: 1, health: Health::Dead { reason } }),
        Output::Disconnect(1),
    ] = &coordinator.outputs[..]
    else {
        panic!("{:?}", coordinator.outputs)
    };
    assert!(reason.contains("120 s") || reason.contains("121 s"), "{reason}");
}

#[test]
fn members_are_not_blamed_for_a_pause_of_rank_0_itself() {
    let start = Instant::now();
    let mut coordinator = running(2, start);
    coordinator.tick(start + Duration::from_secs(1));
    coordinator.tick(start + Duration::from_secs(1000));
    assert!(coordinator.outputs.is_empty(), "{:?}", coordinator.outputs);
}

#[test]
fn time_for_which_rank_0_was_stopped_counts_against_no_deadline() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut running = running(2, start);
    running.message(0, barrier(0, LIMIT), start);
    let mut arriving = coordinator(2, start);
    for seconds in (1..3).chain(1000..1007) {
        running.tick(after(seconds));
        arriving.tick(after(seconds));
        assert!(running.outputs.is_empty() && arriving.is_arriving(), "{seconds}: {:?}", running.outputs);
    }
    // Time that passes counts.
    for seconds in 1007..1012 {
        running.tick(after(seconds));
        arriving.tick(after(seconds));
    }
    assert!(
        matches!(&running.outputs[..], [Output::Send(0, Message::Failed { .. })]),
        "{:?}",
        running.outputs
    );
    assert!(!arriving.is_arriving());
}

#[test]
fn an_operation_with_somebody_who_is_gone_fails_at_once_for_all_who_wait() {
    let now = Instant::now();
    let mut coordinator = running(3, now);
    coordinator.message(0, barrier(0, LIMIT), now);
    coordinator.message(2, Message::Leave, now);
    let failed = |output: &Output, to: usize| match output {
        Output::Send(rank, Message::Failed { sequence: 0, fault }) => {
            *rank == to && fault.peer().unwrap().rank == 2
        }
        _ => false,
    };
    assert!(failed(&coordinator.outputs[1], 0), "{:?}", coordinator.outputs);
    coordinator.outputs.clear();
    coordinator.message(1, barrier(0, LIMIT), now);
    assert!(
        failed(&coordinator.outputs[0], 1) && coordinator.outputs.len() == 1,
        "{:?}",
        coordinator.outputs
    );
    assert!(coordinator.gathers.is_empty(), "all have heard, so nothing is kept");
}

#[test]
fn a_rank_that_fails_and_dies_before_it_speaks_leaves_nobody_waiting() {
    let now = Instant::now();
    let mut coordinator = running(3, now);
    for (rank, gathering) in [(0, Gathering::Barrier), (1, Gathering::Failing), (2, Gathering::Barrier)] {
        let label = "the end".into();
        let part = Message::Contribute { sequence: 0, gathering, patience: LIMIT, label, data: Vec::new() };
        coordinator.message(rank, part, now);
    }
    let told = |outputs: &[Output]| -> Vec<usize> {
        let told = outputs.iter().filter_map(|output| match output {
            Output::Send(rank, Message::Failed { sequence: 0, .. }) => Some(*rank),
            _ => None,
        });
        told.collect()
    };
    // The others are to hear from that rank why the job ends.
    assert_eq!(told(&std::mem::take(&mut coordinator.outputs)), [1]);
    coordinator.lost(1, "it was killed".into());
    assert_eq!(told(&coordinator.outputs), [0, 2]);
    assert!(coordinator.gathers.is_empty());
}

#[test]
fn those_who_leave_are_announced_together_and_rank_0_at_once() {
    let now = Instant::now();
    let mut coordinator = running(4, now);
    for rank in [3, 1] {
        coordinator.message(rank, Message::Leave, now);
        assert_eq!(std::mem::take(&mut coordinator.outputs), [Output::Disconnect(rank)]);
    }
    coordinator.tick(now);
    assert_eq!(
        std::mem::take(&mut coordinator.outputs),
        [Output::SendAll(Message::Departed { ranks: vec![3, 1] })]
    );
    coordinator.message(0, Message::Leave, now);
    assert!(
        coordinator.outputs.contains(&Output::SendAll(Message::Departed { ranks: vec![0] })),
        "{:?}",
        coordinator.outputs
    );
}

#[test]
fn whoever_had_contributed_before_it_left_does_not_spoil_the_operation() {
    let now = Instant::now();
    let mut coordinator = running(2, now);
    coordinator.message(1, barrier(0, LIMIT), now);
    coordinator.message(1, Message::Leave, now);
    coordinator.outputs.clear();
    coordinator.message(0, barrier(0, LIMIT), now);
    assert!(
        matches!(&coordinator.outputs[..], [Output::SendAll(Message::Parts { total: 0, .. })]),
        "{:?}",
        coordinator.outputs
    );
}

#[test]
fn the_next_deadline_is_the_earliest_of_those_that_count() {
    let now = Instant::now();
    let mut coordinator = running(2, now);
    assert_eq!(coordinator.next_deadline(), None);
    coordinator.message(0, barrier(0, Duration::from_secs(9)), now);
    coordinator.message(0, barrier(1, Duration::from_secs(5)), now);
    assert_eq!(coordinator.next_deadline(), Some(now + Duration::from_secs(5)));
    coordinator.tick(now + Duration::from_secs(5));
    assert_eq!(coordinator.next_deadline(), Some(now + Duration::from_secs(9)));
}

#[test]
fn a_member_that_speaks_as_rank_0_is_cut_off() {
    let now = Instant::now();
    let mut coordinator = running(2, now);
    coordinator.message(1, Message::Status { rank: 0, health: Health::Left }, now);
    assert!(coordinator.outputs.contains(&Output::Disconnect(1)));
    assert!(!coordinator.is_present(1) && coordinator.is_deserted());
}
