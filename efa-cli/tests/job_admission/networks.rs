//! tcp between namespaces that stand in for hosts: a link that drops data, and networks with a router between.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::launch::{Seen, myself, program};
use crate::namespaces::{Namespaces, PORT};

const JOIN: [(&str, &str); 2] = [("EFA_PROVIDER", "tcp"), (crate::launch::PART, "join")];

fn doctor() -> Vec<OsString> {
    vec![program().into(), "doctor".into(), "--provider".into(), "tcp".into(), "--json".into()]
}

/// Two hosts on one link: 10.9.0.1 with rank 0, and 10.9.0.2 with rank 1.
fn neighbours() -> Option<Namespaces> {
    let hosts = Namespaces::new(2)?;
    hosts.cable((0, "10.9.0.1/24"), (1, "10.9.0.2/24"));
    Some(hosts)
}

/// Lets nothing but the control connection, which comes from the rendezvous' port, go from rank 0's host to rank 1's.
fn drop_data(hosts: &Namespaces) {
    let port = PORT.to_string();
    // 6 is tcp, by whose name it is known only where /etc/protocols is.
    let control = [
        "ip", "rule", "add", "pref", "10", "to", "10.9.0.2", "ipproto", "6", "sport", &port, "lookup", "main",
    ];
    hosts.run(0, &control);
    hosts.run(0, &["ip", "rule", "add", "pref", "20", "to", "10.9.0.2", "blackhole"]);
}

fn all(seen: &[Seen]) -> String {
    seen.iter().map(ToString::to_string).collect()
}

#[test]
fn two_hosts_on_one_link_join() {
    let Some(hosts) = neighbours() else { return };
    let seen = hosts.ranks(2, "10.9.0.1", &myself(), &JOIN);
    assert!(
        seen.iter().all(|it| it.status == Some(0) && it.stdout.contains("joined on tcp")),
        "{}",
        all(&seen)
    );
}

#[test]
fn a_link_that_drops_data_refuses_the_job_by_name_and_nobody_hangs() {
    let Some(hosts) = neighbours() else { return };
    drop_data(&hosts);
    let begun = Instant::now();
    let seen = hosts.ranks(2, "10.9.0.1", &myself(), &JOIN);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}: {}", begun.elapsed(), all(&seen));
    assert!(seen.iter().all(|it| it.status == Some(1)), "{}", all(&seen));
    let [first, second] = &seen[..] else { unreachable!("two ranks") };
    assert_eq!(first.stderr.matches("path-closed").count(), 1, "{first}");
    assert!(first.stderr.contains("10.9.0.1 in 10.9.0.0/24"), "{first}");
    assert!(first.stderr.contains("10.9.0.2 in 10.9.0.0/24"), "{first}");
    assert!(first.stderr.contains("iptables -I INPUT"), "{first}");
    assert!(!second.stderr.contains("path-closed") && second.stderr.contains("tells why"), "{second}");
}

#[test]
fn the_doctor_reports_the_dropped_link_once() {
    let Some(hosts) = neighbours() else { return };
    drop_data(&hosts);
    let seen = hosts.ranks(2, "10.9.0.1", &doctor(), &[]);
    assert!(seen.iter().all(|it| it.status == Some(1)), "{}", all(&seen));
    assert!(seen[1].stdout.is_empty() && seen[1].stderr.is_empty(), "{}", all(&seen));
    let report = crate::doctor::json(&seen[0]);
    let pairs = crate::doctor::pairs(&report);
    assert!(pairs.len() == 2 && pairs.iter().any(|pair| pair.2 == Some(false)), "{report}");
    assert_eq!(report["findings"][0]["code"], "path-closed");
}

#[test]
fn tcp_crosses_networks_only_when_the_policy_says_so() {
    let Some(hosts) = Namespaces::new(3) else { return };
    const ROUTER: usize = 2;
    hosts.cable((0, "10.9.1.2/24"), (ROUTER, "10.9.1.1/24"));
    hosts.cable((1, "10.9.2.2/24"), (ROUTER, "10.9.2.1/24"));
    hosts.run(0, &["ip", "route", "add", "default", "via", "10.9.1.1"]);
    hosts.run(1, &["ip", "route", "add", "default", "via", "10.9.2.1"]);
    hosts.run(ROUTER, &["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    let strict = hosts.ranks(2, "10.9.1.2", &doctor(), &[]);
    assert!(strict.iter().all(|it| it.status == Some(1)), "{}", all(&strict));
    let report = crate::doctor::json(&strict[0]);
    assert_eq!(report["findings"][0]["code"], "different-subnet", "{report}");
    let chosen = hosts.ranks(2, "10.9.1.2", &doctor(), &[("EFA_POLICY", "tcp-across-subnets")]);
    assert!(chosen.iter().all(|it| it.status == Some(0)), "{}", all(&chosen));
    let report = crate::doctor::json(&chosen[0]);
    assert_eq!(report["findings"][0]["severity"], "warning", "{report}");
    assert!(report["findings"][0]["why"].as_str().is_some_and(|why| why.contains("was chosen")), "{report}");
    assert!(crate::doctor::pairs(&report).iter().all(|pair| pair.2 == Some(true)), "{report}");
}
