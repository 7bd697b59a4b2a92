//! Several processes: the wire between them, the ways around what isn't allowed, and what is left behind.

// Modules inside a test are nobody's interface.
#![allow(unreachable_pub)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Endpoint, Name, Options, ask, finish, say, start, tell};

fn left(dir: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("efa-emulator")).collect()
}

/// Runs one scenario in two processes and returns what each said.
fn pair(a: &str, b: &str, environment: &[(&str, &str)]) -> [Vec<String>; 2] {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (start(dir.path(), a, environment), start(dir.path(), b, environment));
    let said = [finish(a).0, finish(b).0];
    assert_eq!(left(dir.path()), Vec::<String>::new());
    said
}

#[test]
fn messages_and_memory_cross_between_processes() {
    let [a, b] = pair("active", "passive", &[]);
    assert_eq!(a, ["sent 100", "wrote 0", "read 0", "refused 7"]);
    assert_eq!(b, ["received 100", "saw the write"]);
}

#[test]
fn memory_crosses_by_letter_where_direct_access_is_denied() {
    let [a, b] = pair("active", "passive", &[("EFA_EMULATOR_CMA", "off")]);
    assert_eq!(a, ["sent 100", "wrote 0", "read 0", "refused 7"]);
    assert_eq!(b, ["received 100", "saw the write"]);
}

#[test]
fn both_sides_may_read_by_letter_at_once() {
    let [a, b] = pair("reader_0", "reader_1", &[("EFA_EMULATOR_CMA", "off")]);
    assert_eq!((a, b), (vec!["all read".to_owned()], vec!["all read".to_owned()]));
}

#[test]
fn a_sleeping_process_is_woken_by_another() {
    let [a, b] = pair("sleeper", "waker", &[]);
    assert_eq!((a, b), (vec!["woken".to_owned()], vec!["sent 0".to_owned()]));
}

#[test]
fn jobs_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let a = start(dir.path(), "stranger_a", &[("EFA_EMULATOR_JOB", "one")]);
    let b = start(dir.path(), "stranger_b", &[("EFA_EMULATOR_JOB", "two")]);
    assert_eq!(finish(a).0, ["9"]);
    finish(b);
    assert_eq!(left(dir.path()), Vec::<String>::new());
}

#[test]
fn what_a_killed_process_left_is_gone_once_the_next_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut killed = start(dir.path(), "holder", &[("EFA_EMULATOR_JOB", "old")]);
    wait_for(dir.path(), "holder");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(left(dir.path()).len(), 1);
    assert!(bytes_in(dir.path()) < 300 << 10, "the queue's memory is still there: {}", bytes_in(dir.path()));
    finish(start(dir.path(), "one_line", &[("EFA_EMULATOR_JOB", "new")]));
    assert_eq!(left(dir.path()), Vec::<String>::new());
}

/// What a folder's files take, links not followed.
fn bytes_in(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let sizes = std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        about.blocks() * 512 + if about.is_dir() { bytes_in(&path) } else { 0 }
    });
    sizes.sum()
}

#[test]
fn queue_pairs_of_all_processes_count() {
    let limit = [("EFA_EMULATOR_QUEUE_PAIRS", "1")];
    let dir = tempfile::tempdir().unwrap();
    let mut holder = start(dir.path(), "holder", &limit);
    wait_for(dir.path(), "holder");
    assert_eq!(finish(start(dir.path(), "full", &limit)).0, [format!("no queue pair: {}", libc::ENOMEM)]);
    // Those of the dead don't.
    holder.kill().unwrap();
    holder.wait().unwrap();
    finish(start(dir.path(), "one_line", &limit));
}

#[test]
fn with_names_for_files_all_is_as_without() {
    let [a, b] = pair("active", "passive", &[("EFA_EMULATOR_FILES", "named")]);
    assert_eq!(a, ["sent 100", "wrote 0", "read 0", "refused 7"]);
    assert_eq!(b, ["received 100", "saw the write"]);
}

#[test]
fn a_child_by_fork_neither_disturbs_its_parent_nor_keeps_it_alive() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(finish(start(dir.path(), "parent", &[])).0, ["child 0", "parent 0"]);
    assert_eq!(left(dir.path()), Vec::<String>::new());
}

#[test]
fn a_killed_process_is_dead_although_its_child_lives() {
    let dir = tempfile::tempdir().unwrap();
    let mut killed = start(dir.path(), "mother", &[("EFA_EMULATOR_JOB", "old")]);
    wait_for(dir.path(), "child");
    killed.kill().unwrap();
    killed.wait().unwrap();
    finish(start(dir.path(), "one_line", &[("EFA_EMULATOR_JOB", "new")]));
    assert!(!dir.path().join("fact-child-done").exists(), "the child ended too soon to show anything");
    assert_eq!(left(dir.path()), Vec::<String>::new());
    std::fs::write(dir.path().join("fact-enough"), "").unwrap();
    wait_for(dir.path(), "child-done");
}

#[test]
fn wrong_settings_are_explained() {
    for (name, value) in [
        ("EFA_EMULATOR_DEVICES", "0"),
        ("EFA_EMULATOR_DEVICES", "33"),
        ("EFA_EMULATOR_DEVICES", "two"),
        ("EFA_EMULATOR_JOB", "../up"),
        ("EFA_EMULATOR_CMA", "perhaps"),
        ("EFA_EMULATOR_RDMA", "atomics"),
        ("EFA_EMULATOR_QUEUE_PAIRS", "0"),
        ("EFA_EMULATOR_QUEUE_PAIRS", "many"),
        ("EFA_EMULATOR_FILES", "some"),
        ("EFA_RANK", "first"),
        ("EFA_EMULATOR_LOG", "/nonexistent/log"),
        ("EFA_EMULATOR_DIR", "/nonexistent"),
        ("EFA_EMULATOR_DIR", "/proc"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (said, stderr) = finish(start(dir.path(), "no_devices", &[(name, value)]));
        assert_eq!(said, ["none"], "{name}={value}");
        assert!(stderr.contains("efa-emulator:") && stderr.contains(name), "{name}={value}: {stderr}");
        assert_eq!(left(dir.path()), Vec::<String>::new(), "{name}={value}");
    }
}

#[test]
fn a_full_folder_is_an_error_and_not_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    // A file system of one megabyte, if this user may mount one.
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(dir.path())
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("not checked: mounting a small file system isn't allowed");
        return;
    }
    let (said, _) = finish(start(dir.path(), "full", &[]));
    let unmounted = std::process::Command::new("umount").arg(dir.path()).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(said, [format!("no queue pair: {}", libc::ENOSPC)]);
}

#[test]
fn four_processes_on_few_processors_all_get_through() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..4).map(|rank| start(dir.path(), &format!("ring_{rank}"), &[])).collect();
    for child in children {
        assert_eq!(finish(child).0, ["passed 500"]);
    }
    assert_eq!(left(dir.path()), Vec::<String>::new());
}

fn wait_for(dir: &Path, what: &str) {
    let deadline = std::time::Instant::now() + common::DEADLINE;
    while !dir.join(format!("fact-{what}")).exists() {
        assert!(std::time::Instant::now() < deadline, "nobody told {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "run by the others, in a process of its own"]
fn scenarios() {
    match std::env::var("SCENARIO").unwrap().as_str() {
        "active" => scenario::active(),
        "passive" => scenario::passive(),
        "reader_0" => scenario::reader(0),
        "reader_1" => scenario::reader(1),
        "sleeper" => scenario::sleeper(),
        "waker" => scenario::waker(),
        "stranger_a" => scenario::stranger_a(),
        "stranger_b" => scenario::stranger_b(),
        "holder" => scenario::holder(),
        "one_line" => say(Endpoint::open(Options::default()).name().text()),
        "parent" => scenario::parent(),
        "mother" => scenario::mother(),
        "no_devices" => scenario::no_devices(),
        "full" => scenario::full(),
        ring => scenario::ring(ring.strip_prefix("ring_").unwrap().parse().unwrap()),
    }
}

mod scenario {
    use efa_emulator::verbs::devices;

    use super::*;

    /// Meets the other process under two names.
    fn meet(own: &str, other: &str, options: Options) -> (Endpoint, Name) {
        let mut e = Endpoint::open(options);
        for n in 0..options.depth as u64 {
            assert_eq!(e.post_receive(n, (512 << 10) + 4096 * n as usize, 4096), 0);
        }
        tell(own, &e.name().text());
        let peer = Name::parse(&ask(other));
        e.meet(&peer);
        tell(&format!("{own}-met"), "");
        ask(&format!("{other}-met"));
        (e, peer)
    }

    pub fn active() {
        let (mut e, peer) = meet("a", "b", Options::default());
        for n in 0..100u64 {
            e.buffer[..3000].fill(n as u8);
            assert_eq!(e.send(&peer, n, 0, 3000), 0);
            assert_eq!(e.poll_sent().status, 0);
        }
        say("sent 100");
        e.buffer[..200_000].fill(0xab);
        e.write(&peer, 1, 200_000, None);
        say(format!("wrote {}", e.poll_sent().status));
        e.buffer.fill(0);
        e.read(&peer, 2, 200_000);
        say(format!("read {}", e.poll_sent().status));
        assert!(e.buffer[..200_000].iter().all(|b| *b == 0xab));
        e.write(&Name { key: peer.key ^ (1 << 20), ..peer }, 3, 100, None);
        say(format!("refused {}", e.poll_sent().status));
        tell("written", "");
        ask("seen");
    }

    pub fn passive() {
        let (e, _) = meet("b", "a", Options::default());
        for n in 0..100 {
            let got = e.poll_received();
            let at = (512 << 10) + 4096 * got.wr_id as usize;
            assert_eq!((got.len, got.status), (3000, 0));
            assert!(e.buffer[at..at + 3000].iter().all(|b| *b == n as u8));
            e.post_receive(got.wr_id, at, 4096);
        }
        say("received 100");
        // No polling: the device needs no help from the program.
        ask("written");
        assert!(e.buffer[..200_000].iter().all(|b| *b == 0xab) && e.buffer[200_000] == 0);
        say("saw the write");
        tell("seen", "");
    }

    pub fn reader(rank: u8) {
        let names = ["a", "b"];
        let (own, other) = (names[usize::from(rank)], names[1 - usize::from(rank)]);
        let (mut e, peer) = meet(own, other, Options::default());
        let far = Name { buffer: peer.buffer + (300 << 10), ..peer };
        e.buffer[300 << 10..500 << 10].fill(rank + 1);
        tell(&format!("{own}-ready"), "");
        ask(&format!("{other}-ready"));
        for n in 0..20 {
            e.buffer[..150_000].fill(0);
            e.read(&far, n, 150_000);
            assert_eq!(e.poll_sent().status, 0);
            assert!(e.buffer[..150_000].iter().all(|b| *b == 2 - rank));
        }
        say("all read");
        tell(&format!("{own}-done"), "");
        ask(&format!("{other}-done"));
    }

    pub fn sleeper() {
        let (e, _) = meet("a", "b", Options { channel: true, ..Options::default() });
        // SAFETY: a valid context, queue and channel.
        unsafe {
            assert_eq!((*e.context).ops.req_notify_cq.unwrap()(e.cq.cast(), 0), 0);
            let mut ready = libc::pollfd { fd: (*e.channel).fd, events: libc::POLLIN, revents: 0 };
            tell("asleep", "");
            assert_eq!(libc::poll(&mut ready, 1, 10_000), 1, "nobody woke us");
        }
        assert_eq!(e.poll_received().status, 0);
        say("woken");
        tell("awake", "");
    }

    pub fn waker() {
        let (mut e, peer) = meet("b", "a", Options::default());
        ask("asleep");
        std::thread::sleep(Duration::from_millis(30));
        e.send(&peer, 1, 0, 4);
        say(format!("sent {}", e.poll_sent().status));
        ask("awake");
    }

    pub fn stranger_a() {
        let mut e = Endpoint::open(Options::default());
        let peer = Name::parse(&ask("b"));
        e.send(&peer, 1, 0, 4);
        say(e.poll_sent().status);
        tell("a-done", "");
    }

    pub fn stranger_b() {
        let e = Endpoint::open(Options::default());
        e.post_receive(1, 0, 64);
        tell("b", &e.name().text());
        ask("a-done");
    }

    pub fn holder() {
        let _e = Endpoint::open(Options::default());
        tell("holder", "");
        std::thread::sleep(common::DEADLINE);
    }

    pub fn parent() {
        let mut e = Endpoint::open(Options::default());
        let me = e.name();
        // SAFETY: the child only uses the device and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let answer = std::panic::catch_unwind(|| {
                let mut own = Endpoint::open(Options::default());
                let name = own.name();
                assert_ne!(name.gid, me.gid);
                own.post_receive(1, 4096, 64);
                own.send(&name, 2, 0, 4);
                assert_eq!(own.poll_sent().status, 0);
            });
            // SAFETY: ends the child with its exit handlers, as a program would.
            unsafe { libc::exit(i32::from(answer.is_err())) };
        }
        let mut status = 0;
        // SAFETY: `status` may be written.
        unsafe { libc::waitpid(child, &mut status, 0) };
        say(format!("child {status}"));
        e.post_receive(1, 4096, 64);
        e.send(&me, 2, 0, 4);
        say(format!("parent {}", e.poll_sent().status));
    }

    pub fn mother() {
        let _e = Endpoint::open(Options::default());
        // SAFETY: the child only waits and ends.
        if unsafe { libc::fork() } == 0 {
            tell("child", "");
            ask("enough");
            tell("child-done", "");
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) };
        }
        std::thread::sleep(common::DEADLINE);
    }

    pub fn no_devices() {
        // SAFETY: the count isn't asked for.
        let list = unsafe { devices::ibv_get_device_list(std::ptr::null_mut()) };
        say(if list.is_null() { "none" } else { "some" });
    }

    pub fn full() {
        let opened =
            std::panic::catch_unwind(|| drop(Endpoint::open(Options { depth: 512, ..Options::default() })));
        let message = opened.unwrap_err();
        let text = message.downcast_ref::<String>().unwrap();
        let (_, code) = text.rsplit_once("os error ").unwrap_or_else(|| panic!("{text}"));
        say(format!("no queue pair: {}", code.trim_end_matches(')')));
    }

    pub fn ring(rank: usize) {
        let mut e = Endpoint::open(Options::default());
        for n in 0..64 {
            e.post_receive(n, 4096, 64);
        }
        tell(&format!("ring-{rank}"), &e.name().text());
        let next = Name::parse(&ask(&format!("ring-{}", (rank + 1) % 4)));
        for other in 0..4 {
            ask(&format!("ring-{other}"));
        }
        for n in 0..500 {
            if rank == 0 || n > 0 {
                e.send(&next, n, 0, 8);
            }
            let got = e.poll_received();
            e.post_receive(got.wr_id, 4096, 64);
        }
        if rank != 0 {
            e.send(&next, 500, 0, 8);
        }
        say("passed 500");
        tell(&format!("ring-done-{rank}"), "");
        for other in 0..4 {
            ask(&format!("ring-done-{other}"));
        }
    }
}
