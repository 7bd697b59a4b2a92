//! Messages that come before anybody has asked for them, or that are longer than what they are received into.

use std::time::{Duration, Instant};

use efa_core::Error;
use efa_core::fabric::Provider;

use super::common::{both, config, endpoints, meet, pattern, provider, ranks};

fn is_built_in() -> bool {
    efa_core::fabric::library().unwrap().is_built_in()
}

#[test]
fn a_receive_of_no_bytes_tells_that_the_message_is_longer() {
    if !matches!(provider(), Provider::Tcp | Provider::Shm) || !is_built_in() {
        return;
    }
    const ROUNDS: usize = 20;
    // Such a receive must end by the message that it meets, not by this.
    let (mut ranks, _) = endpoints(2, config().timeout(Duration::from_secs(10)));
    let (one, zero) = (ranks.pop().unwrap(), ranks.pop().unwrap());
    for (round, len) in (0..ROUNDS).flat_map(|round| [1, 9, 5000].map(|len| (round, len))) {
        let comes_first = round % 2 == 0;
        let receive = || zero.recv(1, 1u32, vec![0u8; 0]);
        let early = (!comes_first).then(receive);
        let sends = [one.send(0, 1u32, pattern(len, round)), one.send(0, 2u32, pattern(len, round + 1))];
        let late = early.unwrap_or_else(|| {
            std::thread::sleep(Duration::from_millis(2));
            receive()
        });
        let (result, _) = both(late.wait());
        assert!(matches!(result, Err(Error::Truncated { .. })), "{len} bytes: {result:?}");
        let mut next = vec![0u8; len];
        zero.recv_blocking(1, 2u32, &mut next).unwrap();
        assert!(next == pattern(len, round + 1));
        sends.into_iter().for_each(|send| assert_eq!(send.wait().unwrap().0.bytes, len));
    }
}

#[test]
fn thousands_of_messages_can_be_taken_in_reverse() {
    const LEN: usize = 64 << 10;
    let count = match provider() {
        Provider::Tcp if is_built_in() => 4000,
        // A long message waits with its sender, which has as many under way as its queue takes.
        Provider::Shm => 1000,
        _ => 50,
    };
    ranks(2, |endpoint| {
        if endpoint.rank() == 1 {
            let sends: Vec<_> =
                (0..count).map(|number| endpoint.send(0, number as u32, pattern(LEN, number))).collect();
            meet(&endpoint);
            sends.into_iter().for_each(|send| assert_eq!(send.wait().unwrap().0.bytes, LEN));
        } else {
            let begun = Instant::now();
            let mut got = vec![0u8; LEN];
            for number in (0..count).rev() {
                endpoint.recv_blocking(1, number as u32, &mut got).unwrap();
                assert!(got == pattern(LEN, number), "message {number}");
            }
            meet(&endpoint);
            assert!(begun.elapsed() < Duration::from_secs(60));
        }
    });
}
