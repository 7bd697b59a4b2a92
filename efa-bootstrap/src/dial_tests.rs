//! Whom a rank takes for its rank 0, which the test plays.

use std::net::TcpListener;

use super::super::secret::JobSecret;
use super::*;
use crate::{Control, Peer};

const LIMIT: Duration = Duration::from_secs(60);

/// Returns rank 1 of a job of two, and the port where it looks for rank 0.
fn job() -> (Job, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rendezvous = Rendezvous::new("127.0.0.1", listener.local_addr().unwrap().port());
    let key = Some(JobKey::generate().unwrap());
    (Job { rank: 1, size: 2, rendezvous: Some(rendezvous), key, ..Job::alone() }, listener)
}

/// Takes one connection, sends these in answer to the greeting, and returns the connection.
fn answer(job: &Job, listener: &TcpListener, answers: &[Message]) -> SecureConnection {
    answer_on(listener.accept().unwrap().0, job, answers)
}

fn answer_on(stream: std::net::TcpStream, job: &Job, answers: &[Message]) -> SecureConnection {
    stream.set_nonblocking(true).unwrap();
    let psk = pre_shared_key(job.key.as_ref().unwrap());
    let begun = Instant::now();
    let mut secure = SecureConnection::responder(TcpStream::from_std(stream), &psk, begun).unwrap();
    let mut messages = Vec::new();
    while messages.is_empty() {
        assert!(begun.elapsed() < LIMIT, "no greeting came");
        secure.receive(&mut messages, usize::MAX).unwrap();
        secure.flush().unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(Message::decode(&messages[0]), Ok(Message::Greeting(_))), "{messages:?}");
    for answer in answers {
        secure.send(Arc::new(answer.encode()));
    }
    secure.flush().unwrap();
    secure
}

/// Returns what becomes of rank 1 while the test plays rank 0.
fn connect_while(play: impl FnOnce(&Job, TcpListener)) -> Result<Control> {
    let (job, listener) = job();
    std::thread::scope(|scope| {
        let rank = scope.spawn(|| job.connect(&ControlConfig::default(), LIMIT));
        play(&job, listener);
        rank.join().unwrap()
    })
}

fn welcome() -> Message {
    let peer = |rank| Peer { rank, host: format!("node-{rank}"), address: "127.0.0.1".into() };
    Message::Welcome { peers: vec![peer(0), peer(1)], secret: JobSecret::from_bytes([7; 32]) }
}

fn fault() -> Error {
    Error::rendezvous(
        "two members say they are rank 1",
        "one is on node-a, the other on node-b",
        "start each once",
    )
}

#[test]
fn a_rank_that_comes_upon_the_program_before_comes_again() {
    let control = connect_while(|job, listener| {
        // It had just closed its port, was about to, knows that our rank has ended, or does not know it yet.
        let first = listener;
        drop(first.accept().unwrap());
        drop(answer(job, &first, &[]));
        drop(answer(job, &first, &[Message::Later { fault: None }]));
        drop(answer(job, &first, &[Message::Later { fault: Some(fault()) }]));
        let place = first.local_addr().unwrap();
        drop(first);
        // The program before takes its time to end.
        std::thread::sleep(Duration::from_secs(3));
        answer(job, &TcpListener::bind(place).unwrap(), &[Message::Admitted, welcome()]);
    });
    assert_eq!(control.unwrap().peers()[1].host, "node-1");
}

#[test]
fn a_rank_whose_place_stays_taken_is_told_so() {
    let (job, listener) = job();
    let error = std::thread::scope(|scope| {
        let rank = scope.spawn(|| job.connect(&ControlConfig::default(), LIMIT));
        listener.set_nonblocking(true).unwrap();
        while !rank.is_finished() {
            match listener.accept() {
                Ok((stream, _)) => drop(answer_on(stream, &job, &[Message::Later { fault: Some(fault()) }])),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        rank.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, Error::Rendezvous(_)), "{error:?}");
    assert!(error.to_string().contains("two members say they are rank 1"), "{error}");
}

#[test]
fn a_rank_0_that_goes_away_once_it_has_admitted_a_rank_is_not_waited_for() {
    let begun = Instant::now();
    let error =
        connect_while(|job, listener| drop(answer(job, &listener, &[Message::Admitted]))).unwrap_err();
    assert!(matches!(&error, Error::PeerLost { peer, .. } if peer.rank == 0), "{error:?}");
    assert!(error.to_string().contains("went away before all members"), "{error}");
    assert!(begun.elapsed() < LIMIT / 2, "{:?}", begun.elapsed());
}
