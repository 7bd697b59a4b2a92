//! A members file in place of metadata, for a job that is running: pods whose instance metadata is out of reach.

use std::net::IpAddr;
use std::path::Path;

use super::{file, host};
use crate::facts::{Facts, MemberFacts, known};
use efa_error::{Error, Result};

/// Names the members file of a running job.
pub(super) const VARIABLE: &str = "EFA_MEMBERS";

/// What is known of this machine without metadata.
struct Machine {
    instance_id: Option<String>,
    host: Option<String>,
    addresses: Vec<IpAddr>,
}

/// Returns the facts of the member that this process is, by the entry of the file that is about this machine.
pub(super) fn facts(path: &Path, rank: usize, address: Option<IpAddr>) -> Result<Facts> {
    let described = file::read_described(path, None)?;
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = interfaces.iter().map(if_addrs::Interface::ip).filter(|address| !address.is_loopback());
    let machine = Machine {
        instance_id: host::instance_id(),
        host: host::name(),
        addresses: addresses.chain(address).filter(|address| !address.is_loopback()).collect(),
    };
    let Some(found) = machine.find(&described.members, rank) else {
        return Err(Error::setting(
            format!("cannot find this host in {VARIABLE}={}", path.display()),
            format!("no member of it is {}", machine.named()),
            "list every instance of the job with its instance_id, host or addresses",
        ));
    };
    let member = MemberFacts { rank, ..found.member.clone() };
    Ok(Facts { member, host: Some(host::host_facts()?), bound: address, ..found.clone() })
}

impl Machine {
    /// Returns the entry about this machine: by instance id, else by host name, else by address; of several the one
    /// with the rank.
    fn find<'a>(&self, members: &'a [Facts], rank: usize) -> Option<&'a Facts> {
        let by_instance = |facts: &Facts| self.instance_id.as_ref() == Some(&facts.member.instance_id);
        let by_host = |facts: &Facts| {
            let theirs = known(&facts.member.host);
            theirs.is_some() && theirs.map(label) == self.host.as_deref().map(label)
        };
        let by_address = |facts: &Facts| {
            let interfaces = &facts.member.interfaces;
            interfaces.iter().any(|interface| self.addresses.iter().any(|address| interface.has(*address)))
        };
        pick(members, rank, by_instance)
            .or_else(|| pick(members, rank, by_host))
            .or_else(|| pick(members, rank, by_address))
    }

    fn named(&self) -> String {
        let parts = [
            self.instance_id.as_ref().map(|id| format!("instance {id}")),
            self.host.as_ref().map(|host| format!("host {host}")),
            self.addresses.first().map(|address| format!("at {address}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" or ")
    }
}

/// Returns the host name without its domain.
fn label(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

fn pick(members: &[Facts], rank: usize, is_here: impl Fn(&Facts) -> bool) -> Option<&Facts> {
    let here = || members.iter().filter(|facts| is_here(facts));
    here().find(|facts| facts.member.rank == rank).or_else(|| here().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Site;

    fn member(rank: usize, id: &str, host: &str, address: &str) -> Facts {
        let text = format!(
            r#"{{"rank": {rank}, "instance_id": "{id}", "host": "{host}",
                "interfaces": [{{"subnet_id": "subnet-1", "ipv4": ["{address}"]}}]}}"#
        );
        let member = serde_json::from_str(&text).expect("a good member");
        Facts { site: Site::File, member, host: None, failure: None, bound: None }
    }

    #[test]
    fn a_machine_is_found_by_instance_then_host_then_address() {
        let members = [
            member(0, "i-0a", "node-a.ec2.internal", "10.0.0.1"),
            member(1, "i-0b", "node-b", "10.0.0.2"),
            member(2, "i-0b", "node-b", "10.0.0.2"),
        ];
        let machine = |id: Option<&str>, host: &str, address: &str| Machine {
            instance_id: id.map(str::to_owned),
            host: Some(host.into()),
            addresses: vec![address.parse().expect("an address")],
        };
        let found = |machine: Machine, rank| machine.find(&members, rank).map(|it| it.member.rank);
        assert_eq!(found(machine(Some("i-0b"), "node-a", "10.0.0.1"), 2), Some(2));
        assert_eq!(found(machine(Some("i-0b"), "node-a", "10.0.0.1"), 7), Some(1));
        assert_eq!(found(machine(None, "node-a", "10.0.0.2"), 0), Some(0));
        assert_eq!(found(machine(Some("i-0c"), "pod-7", "10.0.0.2"), 1), Some(1));
        assert_eq!(found(machine(None, "pod-7", "10.0.0.9"), 1), None);
    }
}
