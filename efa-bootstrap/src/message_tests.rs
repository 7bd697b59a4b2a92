//! Messages survive the way over the wire, and nothing else is taken for one.

use super::*;
use proptest::prelude::*;

fn time() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..50)
}

fn peer() -> impl Strategy<Value = Peer> {
    (any::<u32>(), text(), text()).prop_map(|(rank, host, address)| Peer {
        rank: rank as usize,
        host,
        address,
    })
}

fn fault() -> impl Strategy<Value = Error> {
    (0..4, peer(), time(), text(), text(), text()).prop_map(|(kind, peer, elapsed, what, why, remedy)| {
        match kind {
            0 => Error::rendezvous(what, why, remedy),
            1 => Error::timeout(elapsed, what, why, remedy),
            2 => Error::peer_lost(peer, what, why, remedy),
            _ => Error::aborted(peer, what, why, remedy),
        }
    })
}

fn message() -> impl Strategy<Value = Message> {
    let greeting = (any::<u64>(), any::<u64>(), text(), text(), any::<IpAddr>(), text(), time()).prop_map(
        |(rank, size, job_id, host, address, library, patience)| {
            let protocol = PROTOCOL_VERSION;
            Message::Greeting(Greeting { protocol, rank, size, job_id, host, address, library, patience })
        },
    );
    let gathering = prop_oneof![
        Just(Gathering::Exchange),
        Just(Gathering::Broadcast),
        Just(Gathering::Barrier),
        Just(Gathering::Failing)
    ];
    let contribute = (any::<u64>(), gathering, text(), time(), bytes()).prop_map(
        |(sequence, gathering, label, patience, data)| Message::Contribute {
            sequence,
            gathering,
            label,
            patience,
            data,
        },
    );
    let parts = (any::<u64>(), any::<u32>(), any::<u32>(), prop::collection::vec(bytes(), 0..5))
        .prop_map(|(sequence, total, first, parts)| Message::Parts { sequence, total, first, parts });
    let health = prop_oneof![
        Just(Health::Alive),
        Just(Health::Left),
        time().prop_map(|quiet| Health::Silent { quiet }),
        text().prop_map(|reason| Health::Dead { reason }),
    ];
    prop_oneof![
        greeting,
        (prop::collection::vec(peer(), 0..5), any::<[u8; 32]>())
            .prop_map(|(peers, bytes)| Message::Welcome { peers, secret: JobSecret::from_bytes(bytes) }),
        fault().prop_map(Message::Refused),
        Just(Message::Admitted),
        prop::option::of(fault()).prop_map(|fault| Message::Later { fault }),
        Just(Message::Heartbeat),
        contribute,
        parts,
        (any::<u64>(), fault()).prop_map(|(sequence, fault)| Message::Failed { sequence, fault }),
        (any::<u32>(), health).prop_map(|(rank, health)| Message::Status { rank, health }),
        (any::<u32>(), any::<Option<u32>>(), text()).prop_map(|(rank, lost, reason)| Message::Abort {
            rank,
            lost,
            reason
        }),
        Just(Message::Leave),
        text().prop_map(|reason| Message::Dying { reason }),
        prop::collection::vec(any::<u32>(), 0..5).prop_map(|ranks| Message::Departed { ranks }),
    ]
}

proptest! {
    #[test]
    fn every_message_survives_the_wire_and_none_is_read_from_a_part_of_it(message in message(), cut in any::<prop::sample::Index>()) {
        let bytes = message.encode();
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
        prop_assert_eq!(Message::decode(&bytes[..cut.index(bytes.len())]), Err(Malformed));
        prop_assert_eq!(Message::decode(&[bytes.as_slice(), &[0]].concat()), Err(Malformed));
    }

    #[test]
    fn any_bytes_are_a_message_or_malformed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes);
    }
}

#[test]
fn a_list_that_claims_more_than_there_is_takes_no_memory() {
    assert_eq!(Message::decode(&[11, 0xff, 0xff, 0xff, 0xff]), Err(Malformed));
}

#[test]
fn a_greeting_in_another_version_still_tells_its_version() {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&(PROTOCOL_VERSION + 1).to_be_bytes());
    bytes.extend_from_slice(b"whatever it says in that version");
    let Ok(Message::Greeting(greeting)) = Message::decode(&bytes) else { panic!("not a greeting") };
    assert_eq!(greeting.protocol, PROTOCOL_VERSION + 1);
}

#[test]
fn an_error_that_lacks_what_its_kind_needs_is_malformed() {
    let refused = |json: &str| [&[2], &(json.len() as u32).to_be_bytes()[..], json.as_bytes()].concat();
    let whole = r#"{"kind":"timeout","what":"a","why":"b","remedy":"c","elapsed":{"secs":1,"nanos":0}}"#;
    let error = Error::timeout(Duration::from_secs(1), "a", "b", "c");
    assert_eq!(Message::decode(&refused(whole)), Ok(Message::Refused(error)));
    let without = r#"{"kind":"timeout","what":"a","why":"b","remedy":"c"}"#;
    assert_eq!(Message::decode(&refused(without)), Err(Malformed));
}
