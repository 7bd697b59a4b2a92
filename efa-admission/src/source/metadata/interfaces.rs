//! The network interfaces in the metadata, read with few requests.
//!
//! AWS lets an instance exchange 1,024 packets a second with all link-local services together, and a large instance has
//! 33 interfaces. So a listing of each interface says which keys there are, keys that decide nothing are read while
//! the [budget](REQUESTS) lasts, and the VPC is read once for each subnet.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::client::Client;
use crate::facts::{InterfaceFacts, InterfaceKind};
use crate::failure::MetadataFailure;

/// More interfaces than any instance has; keeps a wrong list from being followed for long.
const MOST_INTERFACES: usize = 256;
/// From this number of requests on, only what decides the verdict is read.
const REQUESTS: usize = 112;

const LIST: &str = "network/interfaces/macs/";

/// One interface with the keys that the service lists for it.
struct Seen {
    keys: Vec<String>,
    facts: InterfaceFacts,
}

pub(super) fn interfaces(client: &mut Client<'_>) -> Result<Vec<InterfaceFacts>, MetadataFailure> {
    let macs = client.required(LIST)?;
    let macs: Vec<&str> = macs.lines().map(|line| line.trim().trim_end_matches('/')).collect();
    let is_mac =
        |mac: &&str| !mac.is_empty() && mac.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    if macs.len() > MOST_INTERFACES || !macs.iter().all(is_mac) {
        return Err(MetadataFailure::Malformed(LIST.into()));
    }
    let primary = client.optional("mac")?.unwrap_or_default();
    let mut vpcs = BTreeMap::new();
    let mut seen = Vec::with_capacity(macs.len());
    for mac in macs {
        seen.push(Seen::read(client, mac, &mut vpcs)?);
    }
    // The primary interface comes first, then those that may or may not be EFAs.
    seen.sort_by_key(|it| {
        let mac = it.facts.mac.as_deref().unwrap_or_default();
        (mac != primary, it.facts.kind == InterfaceKind::EfaOnly)
    });
    for interface in &mut seen {
        interface.read_addresses(client)?;
    }
    for interface in &mut seen {
        interface.read_place(client)?;
    }
    let mut all: Vec<InterfaceFacts> = seen.into_iter().map(|it| it.facts).collect();
    all.sort_by_cached_key(|it| {
        (it.network_card.is_none(), it.network_card, it.device_number, it.mac.clone())
    });
    Ok(all)
}

impl Seen {
    /// Reads what decides: subnet, VPC, security groups, and whether the interface has an address.
    fn read(
        client: &mut Client<'_>,
        mac: &str,
        vpcs: &mut BTreeMap<String, String>,
    ) -> Result<Self, MetadataFailure> {
        let key = |name: &str| format!("{LIST}{mac}/{name}");
        let keys: Vec<String> =
            list(&client.required(&key(""))?).iter().map(|key| key.trim_end_matches('/').into()).collect();
        let has = |name: &str| keys.iter().any(|key| key == name);
        let subnet_id = client.required(&key("subnet-id"))?;
        let vpc_id = match vpcs.get(&subnet_id) {
            Some(vpc) => vpc.clone(),
            None => {
                let vpc = client.required(&key("vpc-id"))?;
                vpcs.insert(subnet_id.clone(), vpc.clone());
                vpc
            }
        };
        let security_groups = list(&client.required(&key("security-group-ids"))?);
        // Every interface but an efa-only one has an address.
        let kind = match has("local-ipv4s") || has("ipv6s") {
            true => InterfaceKind::Unknown,
            false => InterfaceKind::EfaOnly,
        };
        let facts = InterfaceFacts {
            interface_id: None,
            mac: Some(mac.to_owned()),
            kind,
            network_card: None,
            device_number: None,
            subnet_id,
            vpc_id: Some(vpc_id),
            security_groups: Some(security_groups),
            ipv4: Vec::new(),
            ipv6: Vec::new(),
        };
        Ok(Self { keys, facts })
    }

    /// Returns the key's path, if the service lists it and the budget lasts.
    fn key(&self, client: &Client<'_>, name: &str) -> Option<String> {
        let listed = self.keys.iter().any(|key| key == name);
        let mac = self.facts.mac.as_deref().unwrap_or_default();
        (listed && client.requests() < REQUESTS).then(|| format!("{LIST}{mac}/{name}"))
    }

    fn read_addresses(&mut self, client: &mut Client<'_>) -> Result<(), MetadataFailure> {
        if let Some(key) = self.key(client, "interface-id") {
            self.facts.interface_id = Some(client.required(&key)?);
        }
        if let Some(key) = self.key(client, "local-ipv4s") {
            self.facts.ipv4 = addresses(client, &key)?;
        }
        if let Some(key) = self.key(client, "ipv6s") {
            self.facts.ipv6 = addresses(client, &key)?;
        }
        Ok(())
    }

    fn read_place(&mut self, client: &mut Client<'_>) -> Result<(), MetadataFailure> {
        if let Some(key) = self.key(client, "device-number") {
            self.facts.device_number = number(client, &key)?;
        }
        // The service has used both names; an interface without either is on the first card.
        let names = ["network-card", "network-card-index"];
        match names.iter().find(|name| self.keys.iter().any(|key| key == *name)) {
            None => self.facts.network_card = Some(0),
            Some(name) => {
                if let Some(key) = self.key(client, name) {
                    self.facts.network_card = number(client, &key)?;
                }
            }
        }
        Ok(())
    }
}

/// Tells more kinds by the number of EFA devices that the kernel has: where the interfaces without an address account
/// for all of them, the others are plain; where there are as many devices as interfaces, all are EFAs.
pub(super) fn tell_kinds(interfaces: &mut [InterfaceFacts], devices: usize) {
    let certain = interfaces.iter().filter(|it| it.kind == InterfaceKind::EfaOnly).count();
    let kind = match devices {
        0 => return,
        all if all == interfaces.len() => InterfaceKind::Efa,
        some if some == certain => InterfaceKind::Interface,
        _ => return,
    };
    for interface in interfaces.iter_mut().filter(|it| it.kind == InterfaceKind::Unknown) {
        interface.kind = kind;
    }
}

fn list(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

pub(super) fn number(client: &mut Client<'_>, key: &str) -> Result<Option<u32>, MetadataFailure> {
    let text = client.optional(key)?;
    text.map(|text| text.parse().map_err(|_| MetadataFailure::Malformed(key.into()))).transpose()
}

fn addresses<T: FromStr>(client: &mut Client<'_>, key: &str) -> Result<Vec<T>, MetadataFailure> {
    let text = client.optional(key)?.unwrap_or_default();
    let parsed: Result<Vec<T>, _> = list(&text).iter().map(|address| address.parse()).collect();
    parsed.map_err(|_| MetadataFailure::Malformed(key.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(before: &[InterfaceKind], devices: usize) -> Vec<InterfaceKind> {
        let mut interfaces: Vec<InterfaceFacts> = before
            .iter()
            .map(|kind| {
                let text = r#"{"subnet_id": "subnet-1"}"#;
                let facts: InterfaceFacts = serde_json::from_str(text).expect("a good interface");
                InterfaceFacts { kind: *kind, ..facts }
            })
            .collect();
        tell_kinds(&mut interfaces, devices);
        interfaces.into_iter().map(|it| it.kind).collect()
    }

    #[test]
    fn the_number_of_devices_tells_the_kind_of_interfaces_with_addresses() {
        use InterfaceKind::{Efa, EfaOnly, Interface, Unknown};
        let split = [Unknown, EfaOnly, EfaOnly];
        assert_eq!(kinds(&split, 2), [Interface, EfaOnly, EfaOnly]);
        assert_eq!(kinds(&split, 3), [Efa, EfaOnly, EfaOnly]);
        assert_eq!(kinds(&split, 1), split);
        assert_eq!(kinds(&split, 0), split);
        assert_eq!(kinds(&[Unknown, Unknown], 1), [Unknown, Unknown]);
        assert_eq!(kinds(&[Unknown, Unknown], 2), [Efa, Efa]);
    }
}
