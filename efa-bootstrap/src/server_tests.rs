//! Rank 0 against members that hold the key but do not keep to the protocol.

use std::collections::VecDeque;
use std::net::TcpStream;

use super::super::frame::MAX_GREETING;
use super::super::key::{JobKey, pre_shared_key};
use super::super::message::{Gathering, Greeting, PROTOCOL_VERSION};
use super::*;
use crate::{Control, LaunchEnv};

const LIMIT: Duration = Duration::from_secs(60);
const LINGER: Duration = Duration::from_secs(3);

/// Returns a job of two, of which rank 1 is to be played by the test.
fn job() -> Job {
    let port = LaunchEnv::new(1).unwrap().rendezvous().port();
    Job {
        size: 2,
        local_size: 2,
        rendezvous: Some(Rendezvous::new("127.0.0.1", port)),
        key: Some(JobKey::generate().unwrap()),
        id: "test".into(),
        ..Job::alone()
    }
}

fn greeting() -> Greeting {
    Greeting {
        protocol: PROTOCOL_VERSION,
        rank: 1,
        size: 2,
        job_id: "test".into(),
        host: "node-1".into(),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        library: env!("CARGO_PKG_VERSION").into(),
        patience: LIMIT,
    }
}

/// Rank 1, played by hand, with what has come and was not looked at.
struct Raw(SecureConnection, VecDeque<Message>);

impl Raw {
    fn connect(job: &Job) -> Self {
        let begun = Instant::now();
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", job.rendezvous.as_ref().unwrap().port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < LIMIT, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        stream.set_nonblocking(true).unwrap();
        let stream = mio::net::TcpStream::from_std(stream);
        let psk = pre_shared_key(job.key.as_ref().unwrap());
        Self(SecureConnection::initiator(stream, &psk, begun).unwrap(), VecDeque::new())
    }

    /// Sends bytes as a message, whether they are one or not.
    fn send(&mut self, bytes: Vec<u8>) -> &mut Self {
        self.0.send(Arc::new(bytes));
        self
    }

    /// Returns the next message that isn't a heartbeat, or how the connection ended.
    fn next_message(&mut self) -> Result<Message, ConnectionError> {
        let begun = Instant::now();
        let mut inbox = Vec::new();
        loop {
            let outcome = self.0.receive(&mut inbox, usize::MAX).and_then(|_| self.0.flush());
            for bytes in inbox.drain(..) {
                match Message::decode(&bytes).unwrap() {
                    Message::Heartbeat => {}
                    message => self.1.push_back(message),
                }
            }
            if let Some(message) = self.1.pop_front() {
                return Ok(message);
            }
            outcome?;
            assert!(begun.elapsed() < LIMIT, "rank 0 does not answer");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Returns rank 0's outcome, while the test plays rank 1.
fn meet<T>(play: impl FnOnce(&Job) -> T) -> (crate::Result<Control>, T) {
    meet_with(&ControlConfig::default(), play)
}

fn meet_with<T>(config: &ControlConfig, play: impl FnOnce(&Job) -> T) -> (crate::Result<Control>, T) {
    let job = job();
    std::thread::scope(|scope| {
        let zero = scope.spawn(|| job.connect(config, LIMIT));
        let played = play(&job);
        (zero.join().unwrap(), played)
    })
}

/// Both have met, and rank 1 is played by the test from here.
fn met() -> (Control, Raw) {
    met_with(&ControlConfig::default())
}

fn met_with(config: &ControlConfig) -> (Control, Raw) {
    let (zero, one) = meet_with(config, |job| {
        let mut raw = Raw::connect(job);
        let answer = raw.send(Message::Greeting(greeting()).encode()).next_message().unwrap();
        assert_eq!(answer, Message::Admitted);
        let next = raw.next_message().unwrap();
        assert!(matches!(next, Message::Welcome { .. }), "{next:?}");
        raw
    });
    (zero.unwrap(), one)
}

/// Returns why rank 0 takes rank 1 for dead.
fn death(zero: &Control) -> String {
    let error = zero.barrier("with the dead", LIMIT).unwrap_err();
    assert_eq!(error.peer().map(|peer| peer.rank), Some(1), "{error}");
    zero.liveness().first_dead().unwrap().1
}

#[test]
fn another_version_of_the_protocol_is_an_error_on_both_sides() {
    let (zero, answer) = meet(|job| {
        let other = Greeting { protocol: PROTOCOL_VERSION + 1, ..greeting() };
        Raw::connect(job).send(Message::Greeting(other).encode()).next_message().unwrap()
    });
    let error = zero.unwrap_err().to_string();
    assert!(error.contains("another version of this library"), "{error}");
    let Message::Refused(fault) = answer else { panic!("{answer:?}") };
    assert_eq!(fault.to_string(), error);
}

#[test]
fn a_key_holder_that_does_not_greet_or_says_too_much_is_sent_away_and_the_job_goes_on() {
    let (zero, one) = meet(|job| {
        for bytes in [vec![], vec![99], Message::Leave.encode(), vec![0; MAX_GREETING + 1]] {
            assert!(Raw::connect(job).send(bytes).next_message().is_err());
        }
        let mut one = Raw::connect(job);
        one.send(Message::Greeting(greeting()).encode()).next_message().unwrap();
        one
    });
    assert_eq!(zero.unwrap().peers()[1].host, "node-1");
    drop(one);
}

#[test]
fn a_member_that_sends_nonsense_is_dead_and_the_reason_says_so() {
    let (zero, mut one) = met();
    one.send(vec![99, 1, 2, 3]);
    while one.next_message().is_ok() {}
    assert!(death(&zero).contains("makes no sense"));
}

#[test]
fn a_member_that_disappears_in_the_middle_of_a_frame_is_dead_and_the_reason_says_so() {
    let (zero, mut one) = met();
    let message = Message::Contribute {
        sequence: 0,
        gathering: Gathering::Exchange,
        label: "facts".into(),
        patience: LIMIT,
        data: vec![1; 1 << 20],
    };
    one.send(message.encode());
    one.0.send_half();
    drop(one);
    assert!(death(&zero).contains("in the middle of a frame"));
}

#[test]
fn an_oversized_frame_costs_its_sender_the_connection() {
    let (zero, mut one) = met();
    one.send(vec![4; super::super::frame::MAX_MESSAGE + 1]);
    while one.next_message().is_ok() {}
    assert!(death(&zero).contains("longer than the limit"));
}

#[test]
fn rank_0_leaves_in_time_although_a_member_reads_nothing() {
    let (zero, mut one) = met_with(&ControlConfig { linger: LINGER, ..ControlConfig::default() });
    let contribution = Message::Contribute {
        sequence: 0,
        gathering: Gathering::Broadcast,
        label: "weights".into(),
        patience: LIMIT,
        data: Vec::new(),
    };
    one.send(contribution.encode()).0.flush().unwrap();
    // More than the two sockets hold, and rank 1 never reads.
    zero.broadcast_from_root("weights", Some(&vec![1; 16 << 20]), LIMIT).unwrap();
    let begun = Instant::now();
    zero.leave();
    assert!(begun.elapsed() < LINGER + Duration::from_secs(2), "{:?}", begun.elapsed());
}
