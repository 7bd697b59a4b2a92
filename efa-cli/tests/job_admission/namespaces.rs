//! Network namespaces that stand in for hosts, joined by virtual cables.

use std::ffi::OsString;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::launch::Seen;

/// Where rank 0 listens in its namespace.
pub(crate) const PORT: u16 = 4711;

/// Namespaces that go when this does.
pub(crate) struct Namespaces {
    names: Vec<String>,
}

impl Namespaces {
    /// So many namespaces, each with a loopback interface; `None` where that is not permitted, which is told.
    pub(crate) fn new(count: usize) -> Option<Self> {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut made = Self { names: Vec::new() };
        for number in 0..count {
            made.names.push(format!("efa-{}-{serial}-{number}", std::process::id()));
            let name = &made.names[number];
            // To make one is not enough: where mounts are not permitted, nothing can be run in it.
            if !ip(&["netns", "add", name]) || !ip(&["netns", "exec", name, "true"]) {
                println!("NOT TESTED: network namespaces need root, the right to mount, and iproute2");
                return None;
            }
        }
        for number in 0..count {
            made.run(number, &["ip", "link", "set", "lo", "up"]);
        }
        Some(made)
    }

    /// Joins two namespaces by a cable with these addresses, such as `10.9.0.1/24`, at its ends.
    pub(crate) fn cable(&self, one: (usize, &str), other: (usize, &str)) {
        let (here, there) = (format!("c{}", one.0), format!("c{}", other.0));
        let (ours, theirs) = (&self.names[one.0], &self.names[other.0]);
        assert!(ip(&[
            "-n", ours, "link", "add", &there, "type", "veth", "peer", "name", &here, "netns", theirs
        ]));
        for ((number, address), interface) in [(one, &there), (other, &here)] {
            self.run(number, &["ip", "address", "add", address, "dev", interface]);
            self.run(number, &["ip", "link", "set", interface, "up"]);
        }
    }

    /// Runs a command in a namespace.
    pub(crate) fn run(&self, number: usize, command: &[&str]) {
        assert!(ip(&[&["netns", "exec", &self.names[number]], command].concat()), "{command:?}");
    }

    /// Starts a rank of a job in each of the first namespaces; rank 0 waits at `rendezvous`.
    pub(crate) fn ranks(
        &self,
        size: usize,
        rendezvous: &str,
        command: &[OsString],
        variables: &[(&str, &str)],
    ) -> Vec<Seen> {
        let start = |rank: usize| -> Child {
            Command::new("ip")
                .args(["netns", "exec", &self.names[rank]])
                .args(command)
                .envs(variables.iter().copied())
                .envs([("EFA_RANK", rank.to_string()), ("EFA_WORLD_SIZE", size.to_string())])
                .envs([("EFA_LOCAL_RANK", "0"), ("EFA_LOCAL_WORLD_SIZE", "1")])
                .envs([("EFA_RENDEZVOUS", format!("{rendezvous}:{PORT}")), ("EFA_JOB_KEY", "5a".repeat(32))])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("ip starts")
        };
        let ranks: Vec<Child> = (0..size).map(start).collect();
        ranks.into_iter().map(|rank| rank.wait_with_output().expect("it ends").into()).collect()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> bool {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}
