//! What the device does when nothing goes wrong, and what it answers to mistakes: an endpoint that talks to itself.

// Modules inside a test are nobody's interface.
#![allow(unreachable_pub)]

mod common;

use std::time::{Duration, Instant};

use common::{DEADLINE, Endpoint, Options, QKEY, run, say};
use efa_emulator::abi::queue::*;
use efa_emulator::abi::verbs::*;
use efa_emulator::verbs::regions::ibv_reg_mr;

/// Every test runs its scenario in a process and a folder of its own.
macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run(stringify!($name), &[("EFA_EMULATOR_DEVICES", "2")]); })*

        #[test]
        #[ignore = "run by the others, in a process of its own"]
        fn scenarios() {
            match std::env::var("SCENARIO").unwrap().as_str() {
                $(stringify!($name) => scenario::$name(),)*
                "no_more_queue_pairs" => scenario::no_more_queue_pairs(),
                "what_the_device_cannot_do_is_refused" => scenario::what_the_device_cannot_do_is_refused(),
                other => panic!("no scenario {other}"),
            }
            say("done");
        }
    };
}

scenarios! {
    a_message_arrives_with_its_length_and_sender
    inline_data_is_taken_at_once
    immediate_data_comes_along
    long_messages_and_two_pieces
    a_sender_without_handle_is_told_by_address
    without_a_receive_a_send_waits_or_fails
    a_receive_that_is_too_short
    wrong_queue_pairs_and_keys
    reads_and_writes_move_bytes
    reads_and_writes_are_checked
    a_write_with_immediate_data_takes_a_receive
    unsolicited_writes_take_none
    a_peer_without_handle_is_refused_remote_access
    local_keys_are_checked
    page_rights_are_checked_at_registration
    queues_have_a_depth
    sends_may_be_posted_while_polling
    datagrams_are_lost_without_a_receive
    events_wake_a_sleeper
    a_destroyed_queue_pair_is_gone
    devices_are_apart
    the_old_poll_call_works
}

#[test]
fn a_device_has_so_many_queue_pairs_and_one_more_is_refused() {
    run("no_more_queue_pairs", &[("EFA_EMULATOR_QUEUE_PAIRS", "3"), ("EFA_EMULATOR_DEVICES", "2")]);
}

#[test]
fn a_device_without_remote_access_refuses_it() {
    run("what_the_device_cannot_do_is_refused", &[("EFA_EMULATOR_RDMA", "none")]);
}

mod scenario {
    use super::*;

    fn open() -> (Endpoint, common::Name) {
        with(Options::default())
    }

    fn with(options: Options) -> (Endpoint, common::Name) {
        let mut endpoint = Endpoint::open(options);
        let name = endpoint.name();
        endpoint.meet(&name);
        (endpoint, name)
    }

    pub fn a_message_arrives_with_its_length_and_sender() {
        let (mut e, me) = open();
        e.buffer[..5].copy_from_slice(b"hello");
        assert_eq!(e.post_receive(7, 4096, 100), 0);
        assert_eq!(e.send(&me, 8, 0, 5), 0);
        let (sent, got) = e.poll_both();
        assert_eq!((sent.wr_id, sent.status, sent.opcode), (8, 0, IBV_WC_SEND));
        assert_eq!((got.wr_id, got.status, got.opcode, got.len), (7, 0, IBV_WC_RECV, 5));
        assert_eq!((got.imm, got.source_qp, got.source_gid), (None, me.qpn, None));
        assert_eq!(got.source_handle, u32::from(e.handle_number(&me)));
        assert_eq!(&e.buffer[4096..4102], b"hello\0");
        assert_eq!(e.try_poll(), None);
    }

    pub fn inline_data_is_taken_at_once() {
        let (mut e, me) = open();
        e.post_receive(1, 4096, 100);
        let mut text = *b"now";
        let list = [
            ibv_data_buf { addr: text.as_mut_ptr().cast(), length: 2 },
            ibv_data_buf { addr: text[2..].as_mut_ptr().cast(), length: 1 },
        ];
        // SAFETY: `post` passes a queue pair that is being built on.
        let posted = e.post(&me, 2, |qp| unsafe {
            (*qp).wr_send.unwrap()(qp);
            (*qp).wr_set_inline_data_list.unwrap()(qp, 2, list.as_ptr());
        });
        text.fill(b'x');
        assert_eq!(posted, 0);
        assert_eq!(e.poll_received().len, 3);
        assert_eq!(&e.buffer[4096..4099], b"now");
        let long = [ibv_data_buf { addr: text.as_mut_ptr().cast(), length: 33 }];
        // SAFETY: as above; the length is refused before the memory is read.
        let refused = e.post(&me, 2, |qp| unsafe {
            (*qp).wr_send.unwrap()(qp);
            (*qp).wr_set_inline_data_list.unwrap()(qp, 1, long.as_ptr());
        });
        assert_eq!(refused, libc::EINVAL);
    }

    pub fn immediate_data_comes_along() {
        let (mut e, me) = open();
        e.post_receive(1, 4096, 100);
        let piece = e.piece(0, 4);
        // SAFETY: `post` passes a queue pair that is being built on.
        e.post(&me, 2, |qp| unsafe {
            (*qp).wr_send_imm.unwrap()(qp, 0xdead_beef);
            (*qp).wr_set_sge_list.unwrap()(qp, 1, &piece);
        });
        let got = e.poll_received();
        assert_eq!((got.imm, got.len), (Some(0xdead_beef), 4));
    }

    pub fn long_messages_and_two_pieces() {
        let (mut e, me) = open();
        for (i, byte) in e.buffer[..8928].iter_mut().enumerate() {
            *byte = i as u8;
        }
        e.post_receive(1, 16384, 8928);
        let pieces = [e.piece(0, 100), e.piece(100, 8828)];
        // SAFETY: `post` passes a queue pair that is being built on.
        e.post(&me, 2, |qp| unsafe {
            (*qp).wr_send.unwrap()(qp);
            (*qp).wr_set_sge_list.unwrap()(qp, 2, pieces.as_ptr());
        });
        assert_eq!(e.poll_both().1.len, 8928);
        assert!(e.buffer[16384..].iter().take(8928).enumerate().all(|(i, b)| *b == i as u8));
        e.post_receive(1, 16384, 10_000);
        e.send(&me, 3, 0, 8929);
        assert_eq!(e.poll_sent().status, 6, "longer than the device takes");
    }

    pub fn a_sender_without_handle_is_told_by_address() {
        let mut a = Endpoint::open(Options::default());
        let b = Endpoint::open(Options { device: 1, ..Options::default() });
        b.post_receive(1, 0, 64);
        let to = b.name();
        a.send(&to, 1, 0, 4);
        let got = b.poll_received();
        assert_eq!((got.source_handle, got.source_gid), (0xffff, Some(a.name().gid)));
    }

    pub fn without_a_receive_a_send_waits_or_fails() {
        let (mut patient, me) = open();
        patient.send(&me, 1, 0, 4);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(patient.try_poll(), None);
        patient.post_receive(2, 4096, 64);
        assert_eq!(patient.poll_sent().status, 0);
        let (mut hasty, name) = with(Options { retries: 0, ..Options::default() });
        hasty.send(&name, 1, 0, 4);
        assert_eq!(hasty.poll_sent().status, 10);
        hasty.modify(IBV_QPS_RTS, IBV_QP_RNR_RETRY, 3);
        hasty.send(&name, 1, 0, 4);
        assert_eq!(hasty.poll_sent().status, 10);
    }

    pub fn a_receive_that_is_too_short() {
        let (mut e, me) = open();
        e.post_receive(1, 4096, 3);
        e.send(&me, 2, 0, 4);
        assert_eq!(e.poll_sent().status, 11);
        e.send(&me, 3, 0, 3);
        assert_eq!(e.poll_received().wr_id, 1, "the receive is still there");
    }

    pub fn wrong_queue_pairs_and_keys() {
        let (mut e, me) = open();
        e.post_receive(1, 4096, 64);
        let piece = e.piece(0, 4);
        // SAFETY: `post_to` passes a queue pair that is being built on.
        let send = |qp: *mut ibv_qp_ex| unsafe {
            (*qp).wr_send.unwrap()(qp);
            (*qp).wr_set_sge_list.unwrap()(qp, 1, &piece);
        };
        e.post_to(&me, QKEY + 1, 1, send);
        assert_eq!(e.poll_sent().status, 9, "another process's queue key");
        e.post_to(&common::Name { qpn: me.qpn ^ 1, ..me }, QKEY, 1, send);
        assert_eq!(e.poll_sent().status, 9, "no such queue pair");
        e.post_to(&common::Name { qpn: 1 << 20, ..me }, QKEY, 1, send);
        assert_eq!(e.poll_sent().status, 9, "not a number of 16 bits");
        // SAFETY: integers, for which all zeroes is a value.
        let mut attr: ibv_ah_attr = unsafe { std::mem::zeroed() };
        attr.grh.dgid.raw = [0x20; 16];
        // SAFETY: a valid protection domain.
        let ah = unsafe { efa_emulator::verbs::handles::ibv_create_ah(e.pd, &mut attr) };
        assert!(ah.is_null(), "not an address of ours");
    }

    pub fn reads_and_writes_move_bytes() {
        let (mut e, me) = open();
        let far = common::Name { buffer: me.buffer + (512 << 10), ..me };
        for length in [0usize, 1, 4096, 300_000] {
            e.buffer[..length].fill(length as u8 | 1);
            e.write(&far, 5, length as u32, None);
            let done = e.poll();
            assert_eq!((done.wr_id, done.status, done.opcode), (5, 0, IBV_WC_RDMA_WRITE));
            assert!(e.buffer[512 << 10..].iter().take(length).all(|b| *b == length as u8 | 1));
            e.buffer[..length].fill(0);
            e.read(&far, 6, length as u32);
            let done = e.poll();
            assert_eq!(
                (done.wr_id, done.status, done.opcode),
                (6, 0, IBV_WC_SEND),
                "reads complete like sends"
            );
            assert!(e.buffer[..length].iter().all(|b| *b == length as u8 | 1));
        }
    }

    pub fn reads_and_writes_are_checked() {
        let (mut e, me) = open();
        let wrong_key = common::Name { key: me.key + (1 << 16), ..me };
        let beyond = common::Name { buffer: me.buffer + (1 << 20) - 3, ..me };
        let before = common::Name { buffer: me.buffer - 1, ..me };
        for name in [wrong_key, beyond, before] {
            e.write(&name, 1, 4, None);
            assert_eq!(e.poll().status, 7);
            e.read(&name, 1, 4);
            assert_eq!(e.poll().status, 7);
        }
        let (mut local_only, name) = with(Options { access: 1, ..Options::default() });
        local_only.write(&name, 1, 4, None);
        assert_eq!(local_only.poll().status, 7);
        local_only.read(&name, 1, 4);
        assert_eq!(local_only.poll().status, 7);
    }

    pub fn a_write_with_immediate_data_takes_a_receive() {
        let (mut e, me) = with(Options { retries: 0, ..Options::default() });
        let far = common::Name { buffer: me.buffer + 4096, ..me };
        e.write(&far, 1, 8, Some(3));
        assert_eq!(e.poll_sent().status, 10, "no receive posted");
        e.post_receive(9, 8192, 1);
        e.buffer[..8].fill(7);
        e.write(&far, 1, 8, Some(0x0102_0304));
        let got = e.poll_received();
        assert_eq!((got.wr_id, got.opcode, got.len), (9, IBV_WC_RECV_RDMA_WITH_IMM, 8));
        assert_eq!((got.imm, got.unsolicited), (Some(0x0102_0304), false));
        assert_eq!(e.buffer[4096..4104], [7; 8]);
    }

    pub fn unsolicited_writes_take_none() {
        let (mut e, me) = with(Options { unsolicited: true, retries: 0, ..Options::default() });
        let far = common::Name { buffer: me.buffer + 4096, ..me };
        for n in 0..60 {
            e.write(&far, 1, 8, Some(n));
        }
        for n in 0..60 {
            let got = e.poll_received();
            assert_eq!((got.imm, got.unsolicited, got.opcode), (Some(n), true, IBV_WC_RECV_RDMA_WITH_IMM));
        }
    }

    pub fn a_peer_without_handle_is_refused_remote_access() {
        let mut a = Endpoint::open(Options::default());
        let mut b = Endpoint::open(Options { device: 1, ..Options::default() });
        let to = b.name();
        a.write(&to, 1, 8, None);
        assert_eq!(a.poll().status, 14);
        b.meet(&a.name());
        a.write(&to, 1, 8, None);
        assert_eq!(a.poll().status, 0);
    }

    pub fn local_keys_are_checked() {
        let (mut e, me) = open();
        e.post_receive(1, 4096, 64);
        let outside = ibv_sge { length: 8, ..e.piece((1 << 20) - 4, 4) };
        let no_key = ibv_sge { lkey: 0, ..e.piece(0, 4) };
        for piece in [outside, no_key] {
            // SAFETY: `post` passes a queue pair that is being built on.
            e.post(&me, 2, |qp| unsafe {
                (*qp).wr_send.unwrap()(qp);
                (*qp).wr_set_sge_list.unwrap()(qp, 1, &piece);
            });
            assert_eq!(e.poll_sent().status, 5);
        }
    }

    pub fn page_rights_are_checked_at_registration() {
        let (e, _) = open();
        let map = |rights| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a fresh mapping at an address of the kernel's choice.
            unsafe { libc::mmap(std::ptr::null_mut(), 8192, rights, flags, -1, 0) }
        };
        let answer = |memory, access: u32| {
            // SAFETY: a valid protection domain; what is wrong with the memory is to be refused.
            let region = unsafe { ibv_reg_mr(e.pd, memory, 8192, access as i32) };
            let error = std::io::Error::last_os_error().raw_os_error();
            if region.is_null() { error } else { None }
        };
        let (local, read, write) = (IBV_ACCESS_LOCAL_WRITE, IBV_ACCESS_REMOTE_READ, IBV_ACCESS_REMOTE_WRITE);
        let (both, constant) = (map(libc::PROT_READ | libc::PROT_WRITE), map(libc::PROT_READ));
        assert_eq!(answer(both, local | read | write), None);
        assert_eq!(answer(constant, read), None);
        assert_eq!(answer(constant, local), Some(libc::EFAULT));
        assert_eq!(answer(constant, local | write), Some(libc::EFAULT));
        assert_eq!(answer(both, write), Some(libc::EINVAL), "a remote write is a local one, too");
        // SAFETY: the mapping is ours, and nobody uses it.
        unsafe { libc::munmap(constant, 8192) };
        assert_eq!(answer(constant, 0), Some(libc::EFAULT));
    }

    pub fn no_more_queue_pairs() {
        let endpoints: Vec<_> = (0..3).map(|_| open()).collect();
        let refused = std::panic::catch_unwind(|| drop(open())).unwrap_err();
        let text = refused.downcast_ref::<String>().unwrap();
        assert!(text.contains(&format!("(os error {})", libc::ENOMEM)), "{text}");
        // The other device has its own.
        drop(with(Options { device: 1, ..Options::default() }));
        // SAFETY: destroyed once, and not used any more.
        assert_eq!(unsafe { efa_emulator::verbs::queues::ibv_destroy_qp(endpoints[0].0.qp) }, 0);
        std::mem::forget(open());
        endpoints.into_iter().for_each(std::mem::forget);
    }

    pub fn what_the_device_cannot_do_is_refused() {
        let (mut e, me) = with(Options { access: IBV_ACCESS_LOCAL_WRITE as i32, ..Options::default() });
        for access in [IBV_ACCESS_REMOTE_READ, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE] {
            // SAFETY: a valid protection domain, and memory of ours.
            let region = unsafe { ibv_reg_mr(e.pd, e.buffer.as_mut_ptr().cast(), 64, access as i32) };
            assert!(region.is_null());
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EOPNOTSUPP));
        }
        e.write(&me, 1, 8, None);
        assert_eq!(e.poll_sent().status, 3);
    }

    pub fn queues_have_a_depth() {
        let (mut e, me) = with(Options { depth: 4, ..Options::default() });
        assert!((0..4).all(|n| e.post_receive(n, 4096, 64) == 0));
        assert_eq!(e.post_receive(4, 4096, 64), libc::ENOMEM);
        assert!((0..4).all(|n| e.send(&me, n, 0, 4) == 0));
        assert_eq!(e.send(&me, 4, 0, 4), libc::ENOMEM);
        e.poll_sent();
        assert_eq!(e.send(&me, 4, 0, 4), 0);
    }

    pub fn sends_may_be_posted_while_polling() {
        let (mut e, me) = open();
        for n in 0..8 {
            e.post_receive(n, 4096, 64);
        }
        e.send(&me, 100, 0, 4);
        let mut attr = ibv_poll_cq_attr { comp_mask: 0 };
        let (cq, mut seen) = (e.cq, 1);
        // SAFETY: a valid queue, polled by this thread.
        unsafe {
            assert_eq!((*cq).start_poll.unwrap()(cq, &mut attr), 0);
            for n in 1..8 {
                assert_eq!(e.send(&me, 100 + n, 0, 4), 0);
            }
            while (*cq).next_poll.unwrap()(cq) == 0 {
                assert_eq!((*cq).status, 0);
                seen += 1;
            }
            (*cq).end_poll.unwrap()(cq);
        }
        assert_eq!(seen, 16);
    }

    pub fn datagrams_are_lost_without_a_receive() {
        let (mut e, me) = with(Options { unreliable: true, ..Options::default() });
        e.buffer[..4].copy_from_slice(b"data");
        e.send(&me, 1, 0, 4);
        assert_eq!(e.poll_sent().status, 0);
        e.post_receive(2, 4096, 44);
        e.send(&me, 3, 0, 4);
        let (_, got) = e.poll_both();
        assert_eq!((got.wr_id, got.len, got.route_header), (2, 44, true));
        assert_eq!(&e.buffer[4096 + 8..4096 + 24], me.gid);
        assert_eq!(&e.buffer[4096 + 40..4096 + 44], b"data");
        assert_eq!(e.try_poll(), None);
    }

    pub fn events_wake_a_sleeper() {
        let (mut e, me) = with(Options { channel: true, ..Options::default() });
        let notify = |e: &Endpoint| {
            // SAFETY: a valid context and queue.
            assert_eq!(unsafe { (*e.context).ops.req_notify_cq.unwrap()(e.cq.cast(), 0) }, 0);
        };
        let wait = |e: &Endpoint, milliseconds| {
            // SAFETY: a valid channel.
            let mut ready = libc::pollfd { fd: unsafe { (*e.channel).fd }, events: libc::POLLIN, revents: 0 };
            // SAFETY: one descriptor.
            unsafe { libc::poll(&mut ready, 1, milliseconds) == 1 }
        };
        let take = |e: &Endpoint| {
            let (mut cq, mut context) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: a valid channel.
            let code = unsafe {
                efa_emulator::verbs::completions::ibv_get_cq_event(e.channel, &mut cq, &mut context)
            };
            assert_eq!((code, cq), (0, e.cq.cast()));
        };
        notify(&e);
        assert!(!wait(&e, 20), "nothing happened yet");
        e.post_receive(1, 4096, 64);
        assert_eq!(e.send(&me, 2, 0, 4), 0);
        assert!(wait(&e, 5000));
        take(&e);
        assert!(!wait(&e, 20), "one event per request");
        e.poll_received();
        while e.try_poll().is_some() {}
        // A message of another thread, while this one sleeps.
        notify(&e);
        e.post_receive(1, 4096, 64);
        let before = Instant::now();
        std::thread::scope(|s| {
            let sender = common_sender();
            s.spawn(move || sender(me));
            assert!(wait(&e, 5000));
        });
        assert!(before.elapsed() < DEADLINE);
        take(&e);
        e.poll_received();
    }

    /// Sends once from another device, after a moment.
    fn common_sender() -> impl FnOnce(common::Name) + Send {
        |to| {
            std::thread::sleep(Duration::from_millis(30));
            let mut other = Endpoint::open(Options { device: 1, ..Options::default() });
            other.send(&to, 1, 0, 4);
            assert_eq!(other.poll_sent().status, 0);
        }
    }

    pub fn a_destroyed_queue_pair_is_gone() {
        let mut a = Endpoint::open(Options::default());
        let b = Endpoint::open(Options { device: 1, ..Options::default() });
        b.post_receive(1, 0, 64);
        let to = b.name();
        a.send(&to, 1, 0, 4);
        assert_eq!(a.poll_sent().status, 0);
        drop(b);
        a.send(&to, 1, 0, 4);
        assert_eq!(a.poll_sent().status, 9);
    }

    pub fn devices_are_apart() {
        let mut a = Endpoint::open(Options::default());
        let mut b = Endpoint::open(Options { device: 1, ..Options::default() });
        let (an, bn) = (a.name(), b.name());
        assert_ne!(an.gid, bn.gid);
        b.meet(&an);
        a.meet(&an);
        // A region of the other device doesn't count.
        a.write(&common::Name { qpn: bn.qpn, gid: bn.gid, key: an.key, buffer: an.buffer }, 1, 4, None);
        assert_eq!(a.poll().status, 7);
    }

    pub fn the_old_poll_call_works() {
        let (mut e, me) = open();
        e.post_receive(1, 4096, 64);
        e.send(&me, 2, 0, 4);
        let mut wc = [ibv_wc::default(); 4];
        // SAFETY: room for four.
        let n = unsafe { (*e.context).ops.poll_cq.unwrap()(e.cq.cast(), 4, wc.as_mut_ptr()) };
        assert_eq!(n, 2);
        let mut ids: Vec<_> = wc[..2].iter().map(|c| (c.wr_id, c.status, c.opcode)).collect();
        ids.sort();
        assert_eq!(ids, [(1, 0, IBV_WC_RECV), (2, 0, IBV_WC_SEND)]);
    }
}
