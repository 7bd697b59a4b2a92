//! Each fault of the plan: what a user of the device sees of it, and what the log says.

// Modules inside a test are nobody's interface.
#![allow(unreachable_pub)]

mod common;

use std::time::{Duration, Instant};

use common::{Endpoint, Options, finish, run, say, start};

/// Runs a scenario under a plan.
fn under(plan: &str, scenario: &str) -> Vec<String> {
    run(scenario, &[("EFA_EMULATOR_PLAN", plan), ("EFA_EMULATOR_DEVICES", "2")])
}

#[test]
fn without_a_plan_messages_keep_their_order() {
    let order: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(under("", "order"), [order.join(" ")]);
}

#[test]
fn reordering_loses_nothing_and_depends_on_the_seed_only() {
    let plan = |seed: u32| format!("seed={seed}; reorder=0.3");
    let said = under(&plan(1), "order");
    let order: Vec<u32> = said[0].split(' ').map(|n| n.parse().unwrap()).collect();
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(sorted, (0..200).collect::<Vec<u32>>());
    assert_ne!(order, sorted, "nothing was overtaken");
    assert_eq!(under(&plan(1), "held"), under(&plan(1), "held"));
    assert_ne!(under(&plan(1), "held"), under(&plan(2), "held"));
}

#[test]
fn a_delayed_message_takes_its_time() {
    let took: u64 = under("delay=1,50000", "one_message")[0].parse().unwrap();
    assert!((50..5000).contains(&took), "{took} ms");
}

#[test]
fn a_receiver_that_is_not_ready_is_retried_as_often_as_allowed() {
    assert_eq!(under("rnr=1,3", "retries_0"), ["10"]);
    assert_eq!(under("rnr=1,3", "retries_2"), ["10"]);
    assert_eq!(under("rnr=1,3", "retries_3"), ["0"]);
    assert_eq!(under("rnr=1,30", "retries_7"), ["0"]);
}

#[test]
fn a_bad_key_fails_reads_and_writes_and_no_sends() {
    assert_eq!(under("badkey=1", "all_operations"), ["send 0", "write 7", "read 7"]);
    assert_eq!(under("", "all_operations"), ["send 0", "write 0", "read 0"]);
}

#[test]
fn an_unreachable_peer_is_told_at_once_and_one_way() {
    let said = two("unreachable=0>1");
    assert_eq!(said[0], "to 1: 15");
    assert_eq!(said[1], "to 0: 0");
}

#[test]
fn an_unresponsive_peer_is_told_after_the_timeout() {
    let before = Instant::now();
    let said = two("unresponsive=1>0; timeout=200");
    assert_eq!(said[0], "to 1: 0");
    assert_eq!(said[1], "to 0: 13");
    assert!(before.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_device_that_goes_away_fails_its_work_and_leaves_the_other() {
    assert_eq!(
        under("device-gone=0@3", "lost_device"),
        [
            "first 0",
            "second 0",
            "third 1",
            "port 1",
            "open no",
            "peer 13",
            "other device 0",
            "posted receive 1"
        ]
    );
}

#[test]
fn a_killed_process_is_noticed_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let plan = ("EFA_EMULATOR_PLAN", "kill=1@5");
    let survivor = start(dir.path(), "survivor", &[plan, ("EFA_RANK", "0")]);
    let victim = start(dir.path(), "victim", &[plan, ("EFA_RANK", "1")]);
    let ended = victim.wait_with_output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status), Some(libc::SIGKILL));
    assert_eq!(finish(survivor).0, ["received 4", "then 9"]);
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("efa-emulator"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_wrong_plan_is_explained_and_there_are_no_devices() {
    for plan in ["reorder=2", "nonsense", "kill=1", "@/nonexistent/plan"] {
        let dir = tempfile::tempdir().unwrap();
        let (said, stderr) = finish(start(dir.path(), "no_devices", &[("EFA_EMULATOR_PLAN", plan)]));
        assert_eq!(said, [format!("0 devices, errno {}", libc::EINVAL)], "{plan}");
        assert!(stderr.contains("EFA_EMULATOR_PLAN") && stderr.contains(plan), "{stderr}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_plan_may_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan");
    std::fs::write(&file, "# everything fails\nbadkey=1\n").unwrap();
    assert_eq!(under(&format!("@{}", file.display()), "all_operations"), ["send 0", "write 7", "read 7"]);
}

#[test]
fn the_log_tells_what_the_device_saw() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log-%r");
    run(
        "all_operations",
        &[("EFA_EMULATOR_LOG", log.to_str().unwrap()), ("EFA_EMULATOR_PLAN", "badkey=1"), ("EFA_RANK", "3")],
    );
    let text = std::fs::read_to_string(dir.path().join("log-3")).unwrap();
    let events: Vec<&str> = text.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    for event in
        ["open", "create", "register", "post", "fault", "done", "receive", "deregister", "destroy", "close"]
    {
        assert!(events.contains(&event), "no {event} in\n{text}");
    }
    let find = |what: &str| {
        text.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what} in\n{text}"))
    };
    assert!(find("kind=Write").contains("to=3"));
    assert!(find("status=7").contains("done"));
    assert!(find(" receive ").contains("from=3"));
    let times: Vec<u128> =
        text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted());
}

/// Two processes send to each other under a plan; says what each got.
fn two(plan: &str) -> [String; 2] {
    let dir = tempfile::tempdir().unwrap();
    let plan = ("EFA_EMULATOR_PLAN", plan);
    let a = start(dir.path(), "rank_0_of_2", &[plan, ("EFA_RANK", "0")]);
    let b = start(dir.path(), "rank_1_of_2", &[plan, ("EFA_RANK", "1")]);
    [finish(a).0[0].clone(), finish(b).0[0].clone()]
}

#[test]
#[ignore = "run by the others, in a process of its own"]
fn scenarios() {
    match std::env::var("SCENARIO").unwrap().as_str() {
        "order" => scenario::order(),
        "held" => scenario::held(),
        "one_message" => scenario::one_message(),
        "retries_0" => scenario::retries(0),
        "retries_2" => scenario::retries(2),
        "retries_3" => scenario::retries(3),
        "retries_7" => scenario::retries(7),
        "all_operations" => scenario::all_operations(),
        "rank_0_of_2" => scenario::rank_of_2(0),
        "rank_1_of_2" => scenario::rank_of_2(1),
        "lost_device" => scenario::lost_device(),
        "survivor" => scenario::survivor(),
        "victim" => scenario::victim(),
        "no_devices" => scenario::no_devices(),
        other => panic!("no scenario {other}"),
    }
}

mod scenario {
    use efa_emulator::abi::verbs::{IBV_PORT_DOWN, ibv_port_attr};
    use efa_emulator::verbs::{context, devices};

    use super::*;
    use crate::common::{DEADLINE, Name, ask, tell};

    const COUNT: u32 = 200;

    fn open() -> (Endpoint, Name) {
        let mut endpoint = Endpoint::open(Options { depth: 256, ..Options::default() });
        let name = endpoint.name();
        endpoint.meet(&name);
        (endpoint, name)
    }

    /// Sends numbered messages to itself; the numbers as they arrived.
    fn numbers() -> Vec<u32> {
        let (mut e, me) = open();
        for n in 0..COUNT {
            assert_eq!(e.post_receive(u64::from(n), 4096 + 64 * n as usize, 64), 0);
        }
        for n in 0..COUNT {
            e.buffer[..4].copy_from_slice(&n.to_le_bytes());
            assert_eq!(e.send(&me, u64::from(n), 0, 4), 0);
        }
        let mut got = Vec::new();
        while got.len() < COUNT as usize {
            let done = e.poll_received();
            let at = 4096 + 64 * done.wr_id as usize;
            got.push(u32::from_le_bytes(e.buffer[at..at + 4].try_into().unwrap()));
        }
        got
    }

    pub fn order() {
        let text: Vec<String> = numbers().iter().map(u32::to_string).collect();
        say(text.join(" "));
    }

    /// Which sends the device held back, from its log.
    pub fn held() {
        let dir = tempfile::tempdir().unwrap();
        // SAFETY: the only other thread is the test harness's, which doesn't read the environment now.
        unsafe { std::env::set_var("EFA_EMULATOR_LOG", dir.path().join("log")) };
        numbers();
        let log = dir.path().join(format!("log.{}", std::process::id()));
        let text = std::fs::read_to_string(log).unwrap();
        let faults = text.lines().filter(|line| line.split(' ').nth(1) == Some("fault"));
        say(faults.map(|line| line.split_once(' ').unwrap().1).collect::<Vec<_>>().join("; "));
    }

    pub fn one_message() {
        let (mut e, me) = open();
        e.post_receive(1, 4096, 64);
        let before = Instant::now();
        e.send(&me, 2, 0, 4);
        assert_eq!(e.poll_received().status, 0);
        say(before.elapsed().as_millis());
    }

    pub fn retries(count: u8) {
        let mut e = Endpoint::open(Options { retries: count, ..Options::default() });
        let me = e.name();
        e.post_receive(1, 4096, 64);
        e.send(&me, 2, 0, 4);
        say(e.poll_sent().status);
    }

    pub fn all_operations() {
        let (mut e, me) = open();
        e.post_receive(1, 4096, 64);
        e.send(&me, 2, 0, 4);
        let (sent, _) = e.poll_both();
        say(format!("send {}", sent.status));
        e.write(&me, 3, 4, None);
        say(format!("write {}", e.poll_sent().status));
        e.read(&me, 4, 4);
        say(format!("read {}", e.poll_sent().status));
    }

    pub fn rank_of_2(rank: u32) {
        let (mut e, me) = open();
        e.post_receive(1, 4096, 64);
        tell(&rank.to_string(), &me.text());
        let peer = Name::parse(&ask(&(1 - rank).to_string()));
        e.send(&peer, 2, 0, 4);
        say(format!("to {}: {}", 1 - rank, e.poll_sent().status));
        tell(&format!("done-{rank}"), "");
        ask(&format!("done-{}", 1 - rank));
    }

    pub fn lost_device() {
        let (mut e, me) = open();
        let mut other = Endpoint::open(Options { device: 1, ..Options::default() });
        let there = other.name();
        for n in 0..8 {
            e.post_receive(n, 4096, 64);
            other.post_receive(n, 4096, 64);
        }
        for which in ["first", "second", "third"] {
            e.send(&me, 1, 0, 4);
            say(format!("{which} {}", e.poll_sent().status));
        }
        // SAFETY: an attribute structure of integers, a valid context and device list.
        unsafe {
            let mut port: ibv_port_attr = std::mem::zeroed();
            let query = context::ibv_query_port(e.context, 1, &mut port);
            say(format!("port {}", port.state));
            assert_eq!((query, port.state), (0, IBV_PORT_DOWN));
            let list = devices::ibv_get_device_list(std::ptr::null_mut());
            say(if context::ibv_open_device(*list).is_null() { "open no" } else { "open yes" });
        }
        other.send(&me, 1, 0, 4);
        say(format!("peer {}", other.poll_sent().status));
        other.send(&there, 1, 0, 4);
        say(format!("other device {}", other.poll_sent().status));
        say(format!("posted receive {}", e.poll_received().status));
    }

    pub fn survivor() {
        let (mut e, me) = open();
        for n in 0..16 {
            e.post_receive(n, 4096, 64);
        }
        tell("survivor", &me.text());
        let victim = Name::parse(&ask("victim"));
        let mut received = 0;
        while received < 4 {
            e.poll_received();
            received += 1;
        }
        say(format!("received {received}"));
        // The victim's receives may still take a few; then the device knows.
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            e.send(&victim, 1, 0, 4);
            match e.poll_sent().status {
                0 => assert!(Instant::now() < deadline, "the victim still receives"),
                status => break status,
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        say(format!("then {status}"));
    }

    pub fn victim() {
        let (mut e, me) = open();
        for n in 0..16 {
            e.post_receive(n, 4096, 64);
        }
        tell("victim", &me.text());
        let survivor = Name::parse(&ask("survivor"));
        for n in 0..10 {
            e.send(&survivor, n, 0, 4);
            e.poll_sent();
        }
        say("still here");
    }

    pub fn no_devices() {
        let mut count = 7;
        // SAFETY: `count` may be written.
        let list = unsafe { devices::ibv_get_device_list(&mut count) };
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap();
        assert!(list.is_null());
        say(format!("{count} devices, errno {errno}"));
    }
}
