//! Bytes and texts from outside with changes at random: each is refused, or understood, and nothing panics or grows.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use efa_fuzz::Random;

use super::coordinator::{Coordinator, Output};
use super::frame::{Assembler, MAX_GREETING, MAX_MESSAGE, Records, next_piece, put_record};
use super::inbox::Inbox;
use super::message::{Gathering, Greeting, Health, Message, PROTOCOL_VERSION};
use super::secret::JobSecret;
use super::secure_connection::SecureConnection;
use super::{ControlConfig, Job, JobKey, Liveness, Rendezvous, ancestors, same_user, slurm};
use crate::{Error, Peer};

/// How many members the jobs here have.
const SIZE: usize = 4;

fn peer(rank: usize) -> Peer {
    Peer { rank, host: format!("node-{rank}"), address: "10.0.0.1".into() }
}

fn greeting(rank: u64) -> Greeting {
    Greeting {
        protocol: PROTOCOL_VERSION,
        rank,
        size: SIZE as u64,
        job_id: "job".into(),
        host: "node".into(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        library: env!("CARGO_PKG_VERSION").into(),
        patience: Duration::from_secs(60),
    }
}

/// Returns one message of each kind.
fn messages() -> Vec<Message> {
    let fault = Error::timeout(Duration::from_secs(1), "what", "why", "remedy");
    let contribute = |gathering| Message::Contribute {
        sequence: 1,
        gathering,
        label: "facts".into(),
        patience: Duration::from_secs(5),
        data: vec![1, 2, 3],
    };
    let status = |health| Message::Status { rank: 1, health };
    vec![
        Message::Greeting(greeting(1)),
        Message::Admitted,
        Message::Later { fault: None },
        Message::Welcome { peers: (0..SIZE).map(peer).collect(), secret: JobSecret::from_bytes([7; 32]) },
        Message::Refused(fault.clone()),
        Message::Heartbeat,
        contribute(Gathering::Exchange),
        contribute(Gathering::Broadcast),
        contribute(Gathering::Barrier),
        contribute(Gathering::Failing),
        Message::Parts { sequence: 0, total: 3, first: 0, parts: vec![vec![1], vec![], vec![2, 3]] },
        Message::Failed { sequence: 0, fault },
        status(Health::Alive),
        status(Health::Left),
        status(Health::Silent { quiet: Duration::from_secs(31) }),
        status(Health::Dead { reason: "gone".into() }),
        Message::Departed { ranks: vec![1, 2] },
        Message::Abort { rank: 1, lost: None, reason: "enough".into() },
        Message::Abort { rank: 1, lost: Some(2), reason: "enough".into() },
        Message::Leave,
        Message::Dying { reason: "killed".into() },
    ]
}

/// Returns a message, most often with changes.
fn bytes(random: &mut Random, messages: &[Message]) -> Vec<u8> {
    let bytes = random.pick(messages).encode();
    random.mutate(&bytes)
}

#[test]
fn fuzz_messages_are_malformed_or_survive_the_wire() {
    let messages = messages();
    efa_fuzz::rounds("control messages", 100_000, |random| {
        if let Ok(message) = Message::decode(&bytes(random, &messages)) {
            assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
        }
    });
}

#[test]
fn fuzz_whatever_members_say_rank_0_goes_on() {
    let messages = messages();
    let job = Job { size: SIZE, id: "job".into(), ..Job::alone() };
    let config = ControlConfig::default();
    let (from, to) = (SocketAddr::from(([10, 0, 0, 1], 4000)), IpAddr::V4(Ipv4Addr::LOCALHOST));
    efa_fuzz::rounds("messages to rank 0", 5_000, |random| {
        let mut now = Instant::now();
        let secret = JobSecret::from_bytes([7; 32]);
        let mut coordinator = Coordinator::new(&job, secret, &config, now, Duration::from_secs(60));
        let inbox = Inbox::new(Arc::new(Liveness::alone(SIZE)));
        if random.below(4) > 0 {
            for rank in 1..SIZE as u64 {
                assert_eq!(coordinator.greet(&greeting(rank), from, to, now), Ok(rank as usize));
            }
        }
        for _ in 0..random.below(40) {
            let Ok(message) = Message::decode(&bytes(random, &messages)) else { continue };
            match message {
                Message::Greeting(greeting) => drop(coordinator.greet(&greeting, from, to, now)),
                message => {
                    let rank = random.below(SIZE);
                    if coordinator.is_present(rank) {
                        coordinator.message(rank, message, now);
                    }
                }
            }
            if random.below(8) == 0 {
                now += Duration::from_millis(random.any() % 20_000);
                coordinator.tick(now);
            }
            // What rank 0 says to itself is always understood.
            for output in std::mem::take(&mut coordinator.outputs) {
                match output {
                    Output::Send(0, message) | Output::SendAll(message) => {
                        assert!(inbox.handle(message.clone()), "{message:?}");
                    }
                    Output::Send(rank, _) | Output::Disconnect(rank) => assert!(rank < SIZE),
                }
            }
        }
    });
}

#[test]
fn fuzz_whatever_rank_0_says_a_member_goes_on() {
    let messages = messages();
    efa_fuzz::rounds("messages from rank 0", 20_000, |random| {
        let inbox = Inbox::new(Arc::new(Liveness::alone(SIZE)));
        let begun = Instant::now();
        let sequence = inbox.begin().unwrap();
        for _ in 0..random.below(10) {
            if let Ok(message) = Message::decode(&bytes(random, &messages)) {
                inbox.handle(message);
            }
        }
        let _ = inbox.wait(sequence, "exchange", begun, begun);
        assert_eq!(inbox.liveness.size(), SIZE);
        (0..=SIZE).for_each(|rank| drop(inbox.liveness.status(rank)));
    });
}

#[test]
fn fuzz_frames_are_cut_anywhere_and_never_grow_past_their_limit() {
    efa_fuzz::rounds("frames", 20_000, |random| {
        let (mut wire, mut piece) = (Vec::new(), Vec::new());
        for _ in 0..random.below(4) {
            let message = vec![random.byte(); random.below(300)];
            next_piece(&message, 0, &mut piece);
            put_record(&mut wire, &piece);
        }
        let wire = random.mutate(&wire);
        let limit = random.below(300);
        let (mut records, mut assembler) = (Records::default(), Assembler::new(limit));
        let mut rest = &wire[..];
        'wire: while !rest.is_empty() {
            let (now, later) = rest.split_at(1 + random.below(rest.len()));
            records.feed(now);
            rest = later;
            while let Some(record) = records.next_record() {
                match assembler.push(record) {
                    Ok(Some(message)) => assert!(message.len() <= limit),
                    Ok(None) => {}
                    Err(_) => break 'wire,
                }
            }
            assert!(records.waiting().len() <= wire.len());
        }
    });
}

/// Returns two connected sockets, of which the first does not block.
fn sockets(listener: &TcpListener) -> (mio::net::TcpStream, TcpStream) {
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let theirs = listener.accept().unwrap().0;
    for stream in [&ours, &theirs] {
        stream.set_nonblocking(true).unwrap();
        // Ports that linger after each of a million connections would run out.
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    (mio::net::TcpStream::from_std(ours), theirs)
}

/// Reads everything that is there.
fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    all
}

#[test]
fn fuzz_what_comes_over_a_connection_is_a_message_of_a_member_or_ends_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = [7; 32];
    efa_fuzz::rounds("connections", 500, |random| {
        let now = Instant::now();
        let (ours, mut to_us) = sockets(&listener);
        let (theirs, mut to_them) = sockets(&listener);
        let mut member = SecureConnection::initiator(ours, &key, now).unwrap();
        let mut zero = SecureConnection::responder(theirs, &key, now).unwrap();
        let sent = vec![5; random.below(2000)];
        member.send(Arc::new(sent.clone()));
        // Bytes go through a middleman, who changes them in one direction from some round on.
        let (spoils, forward) = (random.below(4), random.below(2) == 0);
        let mut received = Vec::new();
        let mut changed = false;
        for round in 0..5 {
            if member.flush().is_err() || zero.flush().is_err() {
                break;
            }
            let mut said = [read_all(&mut to_us), read_all(&mut to_them)];
            if round >= spoils {
                let part = &mut said[usize::from(!forward)];
                let other = random.mutate(part);
                changed |= other != *part;
                *part = other;
            }
            to_them.write_all(&said[0]).unwrap();
            to_us.write_all(&said[1]).unwrap();
            let mut answers = Vec::new();
            let outcomes =
                [zero.receive(&mut received, MAX_MESSAGE), member.receive(&mut answers, MAX_MESSAGE)];
            assert!(answers.is_empty(), "nobody has said anything to the member");
            if outcomes.iter().any(Result::is_err) {
                assert!(changed, "{outcomes:?}");
                break;
            }
        }
        // The cipher lets whole messages through as they were, or nothing.
        assert!(received.iter().all(|message| *message == sent) && received.len() <= 1);
        assert!(received.iter().all(|message| message.len() <= MAX_GREETING));
    });
}

#[test]
fn fuzz_environments_are_a_job_that_fits_together_or_an_error_with_a_name() {
    const RANKS: [&[(&str, &str)]; 5] = [
        &[("EFA_RANK", "1"), ("EFA_WORLD_SIZE", "4"), ("EFA_LOCAL_RANK", "1"), ("EFA_LOCAL_WORLD_SIZE", "4")],
        &[
            ("RANK", "1"),
            ("WORLD_SIZE", "4"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "node-a"),
            ("MASTER_PORT", "65535"),
            ("TORCHELASTIC_RUN_ID", "none"),
        ],
        &[
            ("OMPI_COMM_WORLD_RANK", "1"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"),
            ("PMIX_NAMESPACE", "prterun-1@1"),
        ],
        &[
            ("PMI_RANK", "1"),
            ("PMI_SIZE", "4"),
            ("MPI_LOCALRANKID", "1"),
            ("MPI_LOCALNRANKS", "4"),
            ("EFA_LAUNCHER_PID", "17"),
        ],
        &[
            ("SLURM_PROCID", "5"),
            ("SLURM_NTASKS", "11"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_NODEID", "1"),
            ("SLURM_STEP_TASKS_PER_NODE", "4(x2),3"),
            ("SLURM_STEP_NODELIST", "node[003-007,9]"),
            ("SLURM_JOB_ID", "17"),
            ("SLURM_STEP_ID", "0"),
        ],
    ];
    const MORE: [(&str, &str); 5] = [
        ("EFA_RENDEZVOUS", "[2001:db8::1]:4711"),
        ("EFA_RENDEZVOUS_RESERVED", "1"),
        ("EFA_ROOT_PROCESS", "4711 81234 4026531836"),
        ("EFA_JOB_KEY", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
        ("EFA_JOB_ID", "job"),
    ];
    efa_fuzz::rounds("environments", 30_000, |random| {
        let mut variables: Vec<(&str, String)> = Vec::new();
        for _ in 0..=random.below(2) {
            variables.extend(random.pick(&RANKS).iter().map(|&(name, value)| (name, value.to_owned())));
        }
        for (name, value) in MORE {
            if random.below(3) == 0 {
                variables.push((name, value.to_owned()));
            }
        }
        for _ in 0..random.below(4) {
            let index = random.below(variables.len());
            match random.below(3) {
                0 => drop(variables.remove(index)),
                1 => variables[index].1 = random.number().to_string(),
                _ => variables[index].1 = random.mutate_text(&variables[index].1),
            }
            if variables.is_empty() {
                break;
            }
        }
        let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        match Job::from_vars(&lookup) {
            Ok(job) => {
                job.validate().unwrap();
                assert!(job.rank < job.size && job.local_rank < job.local_size, "{job:?}");
                assert!(job.rendezvous.is_none_or(|rendezvous| rendezvous.port > 0));
            }
            Err(error) => assert!(matches!(error, Error::Setting(_)), "{error}"),
        }
    });
}

#[test]
fn fuzz_texts_from_outside_are_read_or_refused() {
    let key = "0f".repeat(32);
    let texts = [
        "node-a:4711",
        "[2001:db8::1]:1",
        "node[003-007,9],login1",
        "r[1-2]n[01-16]",
        "4(x2),3",
        "12 (hydra_pmi_proxy) S 7 12 12 0",
        "         0          0 4294967295\n",
        &key,
    ];
    efa_fuzz::rounds("texts of launchers and of the system", 50_000, |random| {
        let text = random.pick(&texts);
        let text = random.mutate_text(text);
        if let Ok(rendezvous) = text.parse::<Rendezvous>() {
            assert_eq!(rendezvous.to_string().parse::<Rendezvous>().unwrap(), rendezvous);
        }
        if let Ok(key) = JobKey::from_hex("test", &text) {
            assert_eq!(key.to_hex(), text.trim().to_lowercase());
        }
        assert!(slurm::first_host(&text).is_none_or(|host| !host.is_empty()));
        let _ = slurm::tasks_on_node(&text, random.number() as usize);
        let _ = ancestors::name_and_parent(&text);
        let _ = same_user::check_user(65_534, &text);
    });
}

#[test]
fn fuzz_answers_from_the_key_socket_are_a_key_or_nothing() {
    efa_fuzz::rounds("answers with a key", 20_000, |random| {
        let mut answer = [random.byte(); same_user::ANSWER_BYTES];
        answer[..same_user::MAGIC.len()].copy_from_slice(&same_user::MAGIC);
        let changed = random.mutate(&answer);
        if let Ok(changed) = changed.try_into() {
            let _ = same_user::decode(&changed);
        }
    });
}
