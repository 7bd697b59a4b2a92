//! Two ends of a connection on the loopback interface.

use std::net::TcpListener;
use std::time::Duration;

use super::*;

const KEY: [u8; 32] = [7; 32];

/// Returns two connected sockets that don't block.
fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let b = listener.accept().unwrap().0;
    for stream in [&a, &b] {
        stream.set_nonblocking(true).unwrap();
    }
    (TcpStream::from_std(a), TcpStream::from_std(b))
}

/// Returns both ends before the handshake, with these keys.
fn ends(a: &[u8; 32], b: &[u8; 32]) -> (SecureConnection, SecureConnection) {
    let (first, second) = sockets();
    let now = Instant::now();
    (
        SecureConnection::initiator(first, a, now).unwrap(),
        SecureConnection::responder(second, b, now).unwrap(),
    )
}

/// What each end has received, and how it fares.
type Pumped = ([Vec<Vec<u8>>; 2], [Result<(), ConnectionError>; 2]);

/// Moves bytes both ways until `done` or one end fails.
fn pump(
    a: &mut SecureConnection,
    b: &mut SecureConnection,
    done: impl Fn(&[Vec<u8>], &[Vec<u8>]) -> bool,
) -> Pumped {
    let begun = Instant::now();
    let mut inboxes = [Vec::new(), Vec::new()];
    loop {
        let step = |secure: &mut SecureConnection, inbox: &mut Vec<Vec<u8>>| {
            secure.receive(inbox, usize::MAX).and_then(|_| secure.flush())
        };
        let outcomes = [step(a, &mut inboxes[0]), step(b, &mut inboxes[1])];
        if outcomes.iter().any(Result::is_err) || done(&inboxes[0], &inboxes[1]) {
            return (inboxes, outcomes);
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the two ends do not get anywhere");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns both ends after the handshake.
fn established() -> (SecureConnection, SecureConnection) {
    let (mut a, mut b) = ends(&KEY, &KEY);
    a.send(Arc::new(b"hello".to_vec()));
    let ([_, received], _) = pump(&mut a, &mut b, |_, at_b| !at_b.is_empty());
    assert_eq!(received, [b"hello"]);
    assert!(a.is_established() && b.is_established());
    (a, b)
}

#[test]
fn messages_of_all_lengths_go_both_ways() {
    let (mut a, mut b) = established();
    a.trust();
    b.trust();
    let messages: Vec<Vec<u8>> =
        [0, 1, 65_517, 65_518, 65_519, 300_000].iter().map(|&n| (0..n).map(|i| i as u8).collect()).collect();
    for message in &messages {
        a.send(Arc::new(message.clone()));
        b.send(Arc::new(message.clone()));
    }
    let (received, _) = pump(&mut a, &mut b, |at_a, at_b| at_a.len() == 6 && at_b.len() == 6);
    assert_eq!(received, [messages.clone(), messages]);
    assert!(a.is_flushed() && b.is_flushed());
}

#[test]
fn different_keys_do_not_get_past_the_handshake() {
    let (mut a, mut b) = ends(&KEY, &[8; 32]);
    a.send(Arc::new(b"secret".to_vec()));
    let ([_, received], [_, outcome]) = pump(&mut a, &mut b, |_, _| false);
    assert!(received.is_empty());
    assert!(matches!(outcome, Err(ConnectionError::WrongKey)), "{outcome:?}");
}

#[test]
fn a_connection_that_ends_in_a_message_is_truncated_and_between_two_is_closed() {
    let (mut a, mut b) = established();
    a.send(Arc::new(vec![1; 100_000]));
    a.send_half();
    drop(a);
    let begun = Instant::now();
    let outcome = loop {
        let outcome = b.receive(&mut Vec::new(), usize::MAX);
        if outcome.is_err() || begun.elapsed() > Duration::from_secs(60) {
            break outcome;
        }
    };
    assert!(matches!(outcome, Err(ConnectionError::Truncated)), "{outcome:?}");

    let (mut a, mut b) = established();
    a.close_sending();
    let (_, [_, outcome]) = pump(&mut a, &mut b, |_, _| false);
    assert!(matches!(outcome, Err(ConnectionError::Closed)), "{outcome:?}");
}

#[test]
fn a_message_over_the_limit_ends_the_connection() {
    let (mut a, mut b) = established();
    // The owner of the other end is not known yet, so only a greeting is allowed.
    a.send(Arc::new(vec![0; MAX_GREETING + 1]));
    let (_, [_, outcome]) = pump(&mut a, &mut b, |_, _| false);
    assert!(matches!(outcome, Err(ConnectionError::Frame(FrameError::TooLong { .. }))), "{outcome:?}");
}

#[test]
fn an_altered_byte_is_noticed() {
    let (mut a, mut b) = established();
    a.send(Arc::new(b"pay 10".to_vec()));
    assert!(a.encrypt_next().unwrap());
    *a.wire.last_mut().unwrap() ^= 1;
    let ([_, received], [_, outcome]) = pump(&mut a, &mut b, |_, _| false);
    assert!(received.is_empty());
    assert!(matches!(outcome, Err(ConnectionError::Corrupt)), "{outcome:?}");
}

#[test]
fn what_does_not_begin_with_the_preamble_is_no_member() {
    for (sent, expected) in [(&b"GET /"[..], true), (b"efa-j", false), (b"efa-job\n\x00\x31", true)] {
        let (mut stranger, accepted) = sockets();
        let mut secure = SecureConnection::responder(accepted, &KEY, Instant::now()).unwrap();
        stranger.write_all(sent).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let outcome = secure.receive(&mut Vec::new(), usize::MAX);
        assert_eq!(matches!(outcome, Err(ConnectionError::NotAMember)), expected, "{outcome:?}");
    }
}
