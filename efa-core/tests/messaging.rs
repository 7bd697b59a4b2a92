//! Messages between ranks: what is sent arrives, and only where it was meant to.

mod common;

use std::sync::Arc;

use common::{provider, ranks};
use efa_core::fabric::Provider;
use efa_core::{Error, Source, Tag, TagMatch};

#[test]
fn a_message_arrives_whole_at_any_size() {
    ranks(2, |endpoint| {
        let inject = endpoint.limits().inject_size;
        for size in [0, 1, 8, inject.saturating_sub(1), inject, inject + 1, 4096, 65_536, 1 << 20, 5_000_001]
        {
            let pattern: Vec<u8> = (0..size).map(|index| (index * 31 + size) as u8).collect();
            if endpoint.rank() == 0 {
                endpoint.send_blocking(1, 1u32, &pattern).unwrap();
            } else {
                let mut got = vec![0u8; size];
                let completion = endpoint.recv_blocking(0, 1u32, &mut got).unwrap();
                assert_eq!((completion.bytes, completion.peer), (size, 0));
                assert!(got == pattern, "{size} bytes differ");
            }
        }
    });
}

#[test]
fn a_receive_takes_the_message_with_its_tag_whatever_the_order() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            for tag in [1u32, 2, 3] {
                endpoint.send_blocking(1, tag, &[tag]).unwrap();
            }
        } else {
            for tag in [3u32, 1, 2] {
                let mut got = [0u32];
                endpoint.recv_blocking(0, tag, &mut got).unwrap();
                assert_eq!(got[0], tag);
            }
        }
    });
}

#[test]
fn a_masked_tag_matches_outside_its_mask_only() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            endpoint.send_blocking(1, 0x105u32, &[1u8]).unwrap();
            endpoint.send_blocking(1, 0x20Au32, &[2u8]).unwrap();
        } else {
            let mut got = [0u8];
            let tag = TagMatch::masked(Tag::from(0x200), 0xff);
            let completion = endpoint.recv_blocking(0, tag, &mut got).unwrap();
            assert_eq!((got[0], completion.tag), (2, Tag::from(0x20A)));
            let completion = endpoint.recv_blocking(0, TagMatch::ANY, &mut got).unwrap();
            assert_eq!((got[0], completion.tag), (1, Tag::from(0x105)));
        }
    });
}

#[test]
fn a_receive_from_any_tells_who_sent() {
    ranks(4, |endpoint| {
        if endpoint.rank() == 0 {
            let mut seen = [false; 4];
            for _ in 0..3 {
                let mut got = [0usize];
                let completion = endpoint.recv_blocking(Source::Any, 9u32, &mut got).unwrap();
                assert_eq!(completion.peer, got[0]);
                seen[got[0]] = true;
            }
            assert_eq!(seen, [false, true, true, true]);
        } else {
            endpoint.send_blocking(0, 9u32, &[endpoint.rank()]).unwrap();
        }
    });
}

#[test]
fn a_rank_can_send_to_itself() {
    ranks(1, |endpoint| {
        let receive = endpoint.recv(0, 5u32, vec![0u64; 4096]);
        let send = endpoint.send(0, 5u32, vec![7u64; 4096]);
        let (completion, got) = receive.wait().unwrap();
        assert_eq!(completion.bytes, 32_768);
        assert!(got.iter().all(|&value| value == 7));
        send.wait().unwrap();
    });
}

#[test]
fn messages_of_one_tag_keep_their_order() {
    ranks(2, |endpoint| {
        const COUNT: u32 = 2000;
        if endpoint.rank() == 0 {
            for number in 0..COUNT {
                // Long and short ones take different ways through a provider.
                let len = if number % 7 == 0 { 3000 } else { 1 };
                endpoint.send_blocking(1, 1u32, &vec![number; len]).unwrap();
            }
        } else {
            let mut got = vec![0u32; 3000];
            for number in 0..COUNT {
                endpoint.recv_blocking(0, 1u32, &mut got).unwrap();
                assert_eq!(got[0], number);
            }
        }
    });
}

#[test]
fn a_message_is_gathered_and_scattered() {
    ranks(2, |endpoint| {
        let whole: Vec<u32> = (0..3000).collect();
        if endpoint.limits().send_segments < 3 {
            let (one, rest) = whole.split_at(1000);
            let error = endpoint.send_gathered(1 - endpoint.rank(), 1u32, &[one, rest, one]).unwrap_err();
            assert!(matches!(error, Error::Misuse(_)), "{error}");
        } else if endpoint.rank() == 0 {
            endpoint.send_gathered(1, 1u32, &[&whole[..1], &whole[1..2000], &whole[2000..]]).unwrap();
        } else {
            let (mut one, mut two) = ([0u32; 1500], [0u32; 1500]);
            let completion = endpoint.recv_scattered(0, 1u32, &mut [&mut one[..], &mut two[..]]).unwrap();
            assert_eq!(completion.bytes, 12_000);
            assert_eq!([one, two].concat(), whole);
        }
    });
}

#[test]
fn more_pieces_than_the_provider_takes_are_refused() {
    ranks(1, |endpoint| {
        let piece = [1u8; 4];
        let pieces = vec![&piece[..]; endpoint.limits().send_segments + 1];
        let error = endpoint.send_gathered(0, 1u32, &pieces).unwrap_err();
        assert!(error.to_string().contains("pieces"), "{error}");
    });
}

#[test]
fn a_probe_tells_the_size_of_what_is_there_and_leaves_it() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            assert_eq!(endpoint.probe(1, 8u32).unwrap(), None);
            endpoint.send_blocking(1, 7u32, &[1u8; 100]).unwrap();
            endpoint.recv_blocking(1, 9u32, &mut [0u8]).unwrap();
        } else {
            let found = loop {
                if let Some(found) = endpoint.probe(Source::Any, 7u32).unwrap() {
                    break found;
                }
            };
            assert_eq!((found.peer, found.bytes), (0, 100));
            let mut got = vec![0u8; found.bytes];
            endpoint.recv_blocking(found.peer, found.tag, &mut got).unwrap();
            assert_eq!(got, [1; 100]);
            endpoint.send_blocking(0, 9u32, &[0u8]).unwrap();
        }
    });
}

#[test]
fn a_message_longer_than_the_buffer_is_an_error_and_the_next_one_arrives() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            endpoint.send_blocking(1, 1u32, &[1u8; 64]).unwrap();
            endpoint.send_blocking(1, 2u32, &[2u8; 16]).unwrap();
        } else {
            let mut small = [0u8; 16];
            let error = endpoint.recv_blocking(0, 1u32, &mut small).unwrap_err();
            match error {
                Error::Truncated { capacity, .. } => assert_eq!(capacity, 16),
                other => panic!("{other}"),
            }
            endpoint.recv_blocking(0, 2u32, &mut small).unwrap();
            assert_eq!(small, [2; 16]);
        }
    });
}

#[test]
fn ranks_outside_the_job_are_refused() {
    ranks(2, |endpoint| {
        for error in [
            endpoint.send_blocking(2, 1u32, &[0u8]).unwrap_err(),
            endpoint.recv_blocking(7, 1u32, &mut [0u8]).unwrap_err(),
            endpoint.send(9, 1u32, vec![0u8]).wait().unwrap_err().error,
        ] {
            assert!(matches!(error, Error::Misuse(_)), "{error}");
        }
    });
}

#[test]
fn many_threads_share_one_endpoint() {
    const THREADS: u32 = 8;
    ranks(2, |endpoint| {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let endpoint = &endpoint;
                scope.spawn(move || {
                    for round in 0..200u32 {
                        let value = [thread, round];
                        let mut got = [0u32; 2];
                        if endpoint.rank() == 0 {
                            endpoint.send_blocking(1, thread, &value).unwrap();
                            endpoint.recv_blocking(1, thread, &mut got).unwrap();
                        } else {
                            endpoint.recv_blocking(0, thread, &mut got).unwrap();
                            endpoint.send_blocking(0, thread, &value).unwrap();
                        }
                        assert_eq!(got, value);
                    }
                });
            }
        });
    });
}

#[test]
fn a_thousand_operations_at_once_wait_their_turn() {
    ranks(2, |endpoint| {
        const COUNT: usize = 3000;
        if endpoint.rank() == 0 {
            let sends: Vec<_> =
                (0..COUNT).map(|number| endpoint.send(1, 1u32, vec![number as u64; 600])).collect();
            for send in sends {
                send.wait().unwrap();
            }
        } else {
            let receives: Vec<_> = (0..COUNT).map(|_| endpoint.recv(0, 1u32, vec![0u64; 600])).collect();
            for (number, receive) in receives.into_iter().enumerate() {
                let (_, got) = receive.wait().unwrap();
                assert!(got.iter().all(|&value| value == number as u64));
            }
        }
    });
}

#[test]
fn a_provider_that_is_not_here_is_an_error_that_lists_what_is() {
    if provider() == Provider::Efa {
        return;
    }
    let admission = {
        let facts = [efa_core::admission::source::host::facts(0, None).unwrap()];
        let policy = efa_core::admission::Policy::strict();
        efa_core::admission::evaluate(&facts, &efa_core::admission::SecurityGroups::none(), &policy)
            .admit()
            .unwrap()
    };
    let mut config = common::config();
    config.device = Some("no-such-device".into());
    let error = efa_core::Endpoint::open(&admission, config).unwrap_err();
    assert!(matches!(error, Error::Provider(_)), "{error}");
}

#[test]
fn pieces_of_a_registered_buffer_arrive_and_go_on_in_place() {
    ranks(3, |endpoint| {
        let me = endpoint.rank();
        let mut buffer = endpoint.allocate::<u32>(1000).unwrap();
        if me == 0 {
            buffer.iter_mut().zip(0..).for_each(|(element, value)| *element = value);
        }
        assert_eq!(buffer.pieces_mut(300).map(|piece| piece.len()).collect::<Vec<_>>(), [300, 300, 300, 100]);
        endpoint.scope(|scope| {
            let mut ready: Vec<_> = buffer.pieces_mut(300).collect();
            if me > 0 {
                let receives: Vec<_> = ready.drain(..).map(|piece| scope.recv(me - 1, 1u32, piece)).collect();
                for receive in receives {
                    let (_, piece) = receive.wait().unwrap();
                    ready.push(piece);
                }
            }
            if me < 2 {
                let sends: Vec<_> = ready.into_iter().map(|piece| scope.send(me + 1, 1u32, piece)).collect();
                for send in sends {
                    send.wait().unwrap();
                }
            }
        });
        assert!(buffer.iter().copied().eq(0..1000));
    });
}

#[test]
fn text_and_arrays_on_the_heap_are_buffers() {
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            endpoint.send(1, 1u32, String::from("text")).wait().unwrap();
            endpoint.send(1, 2u32, Box::new([1.5f64; 3])).wait().unwrap();
            endpoint.send(1, 3u32, Arc::new([7u16; 600])).wait().unwrap();
            endpoint.send(1, 4u32, "static text").wait().unwrap();
            let array = [9u8; 5];
            endpoint.scope(|scope| scope.send(1, 5u32, &array).wait()).unwrap();
        } else {
            let (completion, text) = endpoint.recv(0, 1u32, Box::new([0u8; 8])).wait().unwrap();
            assert_eq!(&text[..completion.bytes], b"text");
            assert_eq!(*endpoint.recv(0, 2u32, Box::new([0f64; 3])).wait().unwrap().1, [1.5; 3]);
            assert_eq!(*endpoint.recv(0, 3u32, Box::new([0u16; 600])).wait().unwrap().1, [7; 600]);
            assert_eq!(endpoint.recv(0, 4u32, vec![0u8; 11]).wait().unwrap().1, b"static text");
            let mut array = [0u8; 5];
            endpoint.scope(|scope| scope.recv(0, 5u32, &mut array).wait().map(drop)).unwrap();
            assert_eq!(array, [9; 5]);
        }
    });
}

#[cfg(feature = "bytes")]
#[test]
fn buffers_of_the_crate_bytes_are_sent_in_place() {
    use bytes::{Bytes, BytesMut};

    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let whole = Bytes::from(vec![3u8; 10_000]);
            let parts = [whole.slice(..100), whole.slice(100..), Bytes::new(), Bytes::from_static(b"end")];
            for part in parts {
                endpoint.send(1, 1u32, part).wait().unwrap();
            }
        } else {
            for expected in [vec![3; 100], vec![3; 9900], Vec::new(), b"end".to_vec()] {
                let (completion, got) = endpoint.recv(0, 1u32, BytesMut::zeroed(10_000)).wait().unwrap();
                assert_eq!(got[..completion.bytes], expected);
            }
        }
    });
}
