//! The host itself as the source of facts: enough off EC2, never on EC2.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use if_addrs::{IfAddr, Interface};

use crate::facts::{Facts, HostFacts, InterfaceFacts, InterfaceKind, MemberFacts, PlacementFacts, Site};
use efa_error::{Error, Result};

/// Amazon's number as a PCI vendor.
const AMAZON_VENDOR: &str = "0x1d0f";
/// The capability to lock memory beyond the limit, as a bit of the sets in `/proc/self/status`; see
/// `capabilities(7)`.
const CAP_IPC_LOCK: u64 = 1 << 14;

/// Returns `true` if this machine is an EC2 instance, by what its firmware says.
pub fn on_ec2() -> bool {
    on_ec2_at(Path::new("/"))
}

/// Returns the facts of the member that this process is, by what the host itself tells. `address` is the one that the
/// job reaches the process at; `None` stands for loopback, the choice of a job on one machine.
///
/// # Errors
/// [`Error::Refused`] on EC2, where the host itself is not enough; an address that the host doesn't have; a system
/// that doesn't answer.
pub fn facts(rank: usize, address: Option<IpAddr>) -> Result<Facts> {
    if on_ec2() {
        return Err(Error::refused(
            true,
            format!("cannot tell who rank {rank} is [identity-unknown]"),
            "this is an EC2 instance, where the host's own addresses say nothing about subnet and security groups",
            "judge the job from files with 'efa doctor --members FILE --security-groups FILE'",
        ));
    }
    let interfaces = if_addrs::get_if_addrs().map_err(|source| {
        Error::system(source, "cannot list this host's addresses", "check that the process may open a socket")
    })?;
    facts_at(Path::new("/"), rank, address, &interfaces)
}

/// Returns what EFA depends on in this machine: locked memory and devices.
///
/// # Errors
/// When `/proc` doesn't tell the limits.
pub fn host_facts() -> Result<HostFacts> {
    host_facts_at(Path::new("/"))
}

/// Returns the name of this host.
pub(super) fn name() -> Option<String> {
    read_word(Path::new("/"), "proc/sys/kernel/hostname").ok()
}

/// Returns the id of this EC2 instance, by what its firmware says; it shows in containers too.
pub(super) fn instance_id() -> Option<String> {
    instance_id_at(Path::new("/"))
}

fn instance_id_at(root: &Path) -> Option<String> {
    let tag = read_word(root, "sys/devices/virtual/dmi/id/board_asset_tag").ok()?;
    tag.starts_with("i-").then_some(tag)
}

fn on_ec2_at(root: &Path) -> bool {
    let vendor = fs::read_to_string(root.join("sys/devices/virtual/dmi/id/sys_vendor"));
    vendor.is_ok_and(|vendor| vendor.trim() == "Amazon EC2")
}

fn facts_at(root: &Path, rank: usize, address: Option<IpAddr>, interfaces: &[Interface]) -> Result<Facts> {
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let Some(interface) = interfaces.iter().find(|interface| holds(interface, address)) else {
        let mut known: Vec<String> = interfaces.iter().map(|interface| interface.ip().to_string()).collect();
        known.sort_unstable();
        return Err(Error::setting(
            format!("cannot use the address {address}"),
            "no interface of this host has it",
            format!("choose one of {}", known.join(", ")),
        ));
    };
    let host = read_word(root, "proc/sys/kernel/hostname")?;
    let boot = read_word(root, "proc/sys/kernel/random/boot_id")?;
    let (ipv4, ipv6) = match address {
        IpAddr::V4(v4) => (vec![v4], Vec::new()),
        IpAddr::V6(v6) => (Vec::new(), vec![v6]),
    };
    let member = MemberFacts {
        rank,
        instance_id: machine_name(&host, &boot),
        host: Some(host),
        instance_type: None,
        availability_zone_id: None,
        placement: None::<PlacementFacts>,
        interfaces: vec![InterfaceFacts {
            interface_id: Some(interface.name.clone()),
            mac: fs::read_to_string(root.join("sys/class/net").join(&interface.name).join("address"))
                .ok()
                .map(|mac| mac.trim().to_owned()),
            kind: InterfaceKind::Interface,
            network_card: None,
            device_number: None,
            subnet_id: network(&interface.addr, address),
            vpc_id: None,
            security_groups: None,
            ipv4,
            ipv6,
        }],
    };
    Ok(Facts { site: Site::Host, member, host: Some(host_facts_at(root)?), failure: None, bound: None })
}

/// Returns `true` if the interface has the address. All of 127.0.0.0/8 is the loopback interface's, whatever it lists.
fn holds(interface: &Interface, address: IpAddr) -> bool {
    interface.ip() == address
        || (interface.is_loopback() && interface.ip().is_ipv4() && address.is_ipv4() && address.is_loopback())
}

/// Returns the network of the interface, such as `192.0.2.0/24`.
fn network(interface: &IfAddr, address: IpAddr) -> String {
    match (interface, address) {
        (IfAddr::V4(v4), IpAddr::V4(address)) => {
            let mask = u32::from(v4.netmask);
            format!("{}/{}", Ipv4Addr::from(u32::from(address) & mask), mask.count_ones())
        }
        (IfAddr::V6(v6), IpAddr::V6(address)) => {
            let mask = u128::from(v6.netmask);
            format!("{}/{}", std::net::Ipv6Addr::from(u128::from(address) & mask), mask.count_ones())
        }
        (_, address) => address.to_string(),
    }
}

/// Returns a name that no other running machine has: its host name for people, and the number that the kernel drew when
/// it started, since host names and machine ids come along in images.
fn machine_name(host: &str, boot: &str) -> String {
    let host: String = host
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' })
        .collect();
    let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    format!("{host}.{boot}")
}

fn read_word(root: &Path, path: &str) -> Result<String> {
    read(root, path).map(|text| text.trim().to_owned())
}

fn read(root: &Path, path: &str) -> Result<String> {
    let path = root.join(path);
    fs::read_to_string(&path).map_err(|source| Error::file(source, &path))
}

fn host_facts_at(root: &Path) -> Result<HostFacts> {
    let memlock_bytes = match may_lock_without_limit(root) {
        true => u64::MAX,
        false => memlock_limit(&read(root, "proc/self/limits")?).ok_or_else(|| {
            Error::system(
                io::Error::from(io::ErrorKind::InvalidData),
                format!(
                    "cannot find the limit of locked memory in {}",
                    root.join("proc/self/limits").display()
                ),
                "check that /proc is the kernel's own",
            )
        })?,
    };
    Ok(HostFacts {
        memlock_bytes: Some(memlock_bytes),
        efa_devices: efa_devices(root),
        providers: Vec::new(),
    })
}

/// Returns the soft limit in the text of `/proc/self/limits`.
fn memlock_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        bytes => bytes.parse().ok(),
    }
}

/// Returns `true` if the process has the capability that lifts the limit. It counts only in the first user namespace,
/// which maps every user to itself.
fn may_lock_without_limit(root: &Path) -> bool {
    let Ok(status) = fs::read_to_string(root.join("proc/self/status")) else { return false };
    let Ok(users) = fs::read_to_string(root.join("proc/self/uid_map")) else { return false };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let first_namespace = users.split_whitespace().eq(["0", "0", "4294967295"]);
    capabilities & CAP_IPC_LOCK != 0 && first_namespace
}

/// Returns how many devices of Amazon's are bound to the efa driver.
fn efa_devices(root: &Path) -> usize {
    let Ok(devices) = fs::read_dir(root.join("sys/class/infiniband")) else { return 0 };
    let is_efa = |device: &Path| {
        let vendor = fs::read_to_string(device.join("vendor")).is_ok_and(|it| it.trim() == AMAZON_VENDOR);
        let driver = fs::read_link(device.join("driver"));
        vendor && driver.is_ok_and(|driver| driver.file_name().is_some_and(|name| name == "efa"))
    };
    devices.flatten().filter(|entry| is_efa(&entry.path().join("device"))).count()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::os::unix::fs::symlink;

    use if_addrs::{IfOperStatus, Ifv4Addr, Ifv6Addr};

    use super::*;

    /// Returns a folder that stands in for `/`, with the given files in it.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a scratch folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a path below the root")).expect("a writable folder");
            fs::write(path, text).expect("a writable folder");
        }
        root
    }

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max processes             127853               127853               processes \n\
                          Max locked memory         8388608              unlimited            bytes     \n";
    const STATUS: &str = "Name:\tjob\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000004000\n";

    fn machine() -> Vec<(&'static str, &'static str)> {
        vec![
            ("proc/sys/kernel/hostname", "node_a\n"),
            ("proc/sys/kernel/random/boot_id", "0123abcd-4567-89ab-cdef-0123456789ab\n"),
            ("proc/self/limits", LIMITS),
            ("sys/class/net/eth0/address", "02:00:00:00:00:01\n"),
        ]
    }

    fn interface(name: &str, addr: IfAddr) -> Interface {
        Interface { name: name.into(), addr, index: Some(1), oper_status: IfOperStatus::Up, is_p2p: false }
    }

    fn v4(name: &str, ip: [u8; 4], prefixlen: u8) -> Interface {
        let netmask = Ipv4Addr::from(u32::MAX << (32 - u32::from(prefixlen)));
        interface(name, IfAddr::V4(Ifv4Addr { ip: ip.into(), netmask, prefixlen, broadcast: None }))
    }

    fn v6(name: &str, ip: &str, prefixlen: u8) -> Interface {
        let netmask = Ipv6Addr::from(u128::MAX << (128 - u32::from(prefixlen)));
        let ip = ip.parse().expect("an address");
        interface(name, IfAddr::V6(Ifv6Addr { ip, netmask, prefixlen, broadcast: None }))
    }

    fn interfaces() -> Vec<Interface> {
        vec![v4("lo", [127, 0, 0, 1], 8), v4("eth0", [192, 0, 2, 77], 26), v6("eth0", "2001:db8::7", 64)]
    }

    #[test]
    fn ec2_is_recognised_by_its_firmware() {
        let vendor = "sys/devices/virtual/dmi/id/sys_vendor";
        assert!(on_ec2_at(root(&[(vendor, "Amazon EC2\n")]).path()));
        assert!(!on_ec2_at(root(&[(vendor, "QEMU\n")]).path()));
        assert!(!on_ec2_at(root(&[]).path()));
    }

    #[test]
    fn the_subnet_is_the_network_of_the_address_in_use() {
        let root = root(&machine());
        let cases = [
            (None, "lo", "127.0.0.0/8"),
            (Some("127.0.0.5"), "lo", "127.0.0.0/8"),
            (Some("192.0.2.77"), "eth0", "192.0.2.64/26"),
            (Some("2001:db8::7"), "eth0", "2001:db8::/64"),
        ];
        for (address, name, network) in cases {
            let address = address.map(|address| address.parse().expect("an address"));
            let facts = facts_at(root.path(), 3, address, &interfaces()).expect("facts");
            let interface = &facts.member.interfaces[0];
            assert_eq!(
                (interface.interface_id.as_deref(), interface.subnet_id.as_str()),
                (Some(name), network)
            );
            assert_eq!(facts.member.instance_id, "node-a.0123abcd4567");
            assert_eq!((facts.site, facts.member.rank), (Site::Host, 3));
        }
    }

    #[test]
    fn an_address_of_another_host_is_refused_with_those_there_are() {
        let root = root(&machine());
        for address in ["192.0.2.78", "0.0.0.0", "::1"] {
            let address = Some(address.parse().expect("an address"));
            let error =
                facts_at(root.path(), 0, address, &interfaces()).expect_err("no such address").to_string();
            assert!(error.contains("choose one of 127.0.0.1, 192.0.2.77, 2001:db8::7"), "{error}");
        }
    }

    #[test]
    fn the_limit_of_locked_memory_is_the_soft_one_unless_a_capability_lifts_it() {
        let limit = |files: &[(&str, &str)]| host_facts_at(root(files).path()).expect("facts").memlock_bytes;
        let limits = ("proc/self/limits", LIMITS);
        let status = ("proc/self/status", STATUS);
        assert_eq!(limit(&[limits]), Some(8 << 20));
        assert_eq!(limit(&[limits, status, ("proc/self/uid_map", "0 0 4294967295\n")]), Some(u64::MAX));
        assert_eq!(limit(&[limits, status, ("proc/self/uid_map", "0 1000 1\n")]), Some(8 << 20));
        let unlimited = LIMITS.replace("8388608  ", "unlimited");
        assert_eq!(limit(&[("proc/self/limits", &unlimited)]), Some(u64::MAX));
        host_facts_at(root(&[("proc/self/limits", "nothing")]).path()).expect_err("no limit");
        host_facts_at(root(&[]).path()).expect_err("no file");
    }

    #[test]
    fn a_device_counts_when_it_is_amazons_and_bound_to_the_efa_driver() {
        let files = [
            ("proc/self/limits", LIMITS),
            ("sys/class/infiniband/efa_0/device/vendor", "0x1d0f\n"),
            ("sys/class/infiniband/efa_1/device/vendor", "0x1d0f\n"),
            ("sys/class/infiniband/mlx5_0/device/vendor", "0x15b3\n"),
        ];
        let root = root(&files);
        for (device, driver) in [("efa_0", "efa"), ("efa_1", "vfio-pci"), ("mlx5_0", "efa")] {
            let target = format!("../../../../bus/pci/drivers/{driver}");
            let link = root.path().join("sys/class/infiniband").join(device).join("device/driver");
            symlink(target, link).expect("a link");
        }
        assert_eq!(host_facts_at(root.path()).expect("facts").efa_devices, 1);
    }

    #[test]
    fn the_firmware_of_an_instance_says_its_id() {
        let tag = "sys/devices/virtual/dmi/id/board_asset_tag";
        assert_eq!(instance_id_at(root(&[(tag, "i-0a\n")]).path()).as_deref(), Some("i-0a"));
        assert_eq!(instance_id_at(root(&[(tag, "Not Specified\n")]).path()), None);
        assert_eq!(instance_id_at(root(&[]).path()), None);
    }
}
