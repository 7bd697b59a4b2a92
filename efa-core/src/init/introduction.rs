//! What members tell each other when they meet.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::admission::{Facts, source};
use crate::error::{Error, Result};
use crate::fabric::{self, Library, Provider, ProviderChoice};
use crate::input;

/// What a member says about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Introduction {
    pub(super) facts: Facts,
    /// Equal for two members that share memory.
    pub(super) host: String,
    /// The libfabric that it uses.
    pub(super) libfabric: Library,
    /// Why it has no EFA that libfabric can use; `None` if it has one.
    pub(super) no_efa: Option<String>,
    /// The processors that it may use, as Linux lists them (`0-3,8`); empty where that isn't known.
    processors: String,
}

impl Introduction {
    /// Looks at this process; the arguments are those of [`this_member`].
    pub(super) fn of_this_process(rank: usize, address: Option<IpAddr>) -> Result<Self> {
        let libfabric = fabric::library()?;
        log::debug!("libfabric {libfabric}");
        let mut facts = source::of_this_machine(rank, address)?;
        let no_efa = facts.host.as_mut().and_then(|host| {
            let attached = host.efa_devices;
            host.efa_devices = fabric::device_count(Provider::Efa);
            host.providers = fabric::available().into_iter().map(str::to_owned).collect();
            if fabric::is_emulated() {
                // It locks no memory.
                host.memlock_bytes = None;
            }
            (host.efa_devices == 0).then(|| why_no_efa(attached, &libfabric))
        });
        Ok(Self { facts, host: host_identity(), libfabric, no_efa, processors: processors() })
    }

    /// Returns `true` if it has an EFA that libfabric can use.
    pub(super) fn has_efa(&self) -> bool {
        self.facts.host.as_ref().is_some_and(|host| host.efa_devices > 0)
    }
}

/// Why libfabric offers no EFA where the system has so many.
fn why_no_efa(attached: usize, libfabric: &Library) -> String {
    let filter = input::variable("FI_PROVIDER").filter(|_| attached > 0 || fabric::is_emulated());
    match filter {
        Some(list) => format!("libfabric offers none with FI_PROVIDER={list}"),
        None if fabric::is_emulated() => {
            format!("{} offers no emulated one", libfabric.in_brief())
        }
        None if attached > 0 => {
            let efas = if attached == 1 { "the EFA".into() } else { format!("any of the {attached} EFAs") };
            format!("{} does not offer {efas} of the host", libfabric.in_brief())
        }
        None => "the host has none".into(),
    }
}

/// The facts of the member that this process is, as [`source::of_this_machine`] has them, with what libfabric sees: its
/// EFA devices, which may be fewer than the system's or emulated ones, and its providers. `address` is the one that the
/// job reaches the process at; `None` stands for loopback.
///
/// # Errors
/// As those of [`source::of_this_machine`] and [`fabric::library`].
pub fn this_member(rank: usize, address: Option<IpAddr>) -> Result<Facts> {
    Ok(Introduction::of_this_process(rank, address)?.facts)
}

/// Understands what a rank has sent.
pub(super) fn parse<T: for<'a> Deserialize<'a>>(rank: usize, wire: &[u8]) -> Result<T> {
    serde_json::from_slice(wire).map_err(|error| {
        Error::rendezvous(
            format!("cannot understand rank {rank}"),
            error.to_string(),
            "use the same version of this library on all ranks",
        )
    })
}

/// The best provider that all members have.
pub(super) fn choose_provider(choice: ProviderChoice, members: &[Introduction]) -> Provider {
    match choice {
        ProviderChoice::Only(provider) => provider,
        ProviderChoice::Auto if members.iter().all(Introduction::has_efa) => Provider::Efa,
        ProviderChoice::Auto if members.iter().all(|member| member.host == members[0].host) => Provider::Shm,
        ProviderChoice::Auto => Provider::Tcp,
    }
}

/// How many members run on the same processors as this one, this one too: each that is bound to others is left out.
pub(super) fn sharers(members: &[Introduction], rank: usize) -> usize {
    let mine = &members[rank];
    let shares =
        |other: &&Introduction| other.host == mine.host && overlap(&other.processors, &mine.processors);
    members.iter().filter(shares).count()
}

/// The processors that this process may use.
fn processors() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap_or_default().trim().to_owned()
}

/// Whether two lists have a processor in common. A list that can't be read stands for all.
fn overlap(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (Some(a), Some(b)) = (ranges(a), ranges(b)) else { return true };
    a.iter().any(|(from, to)| b.iter().any(|(start, end)| from <= end && start <= to))
}

fn ranges(list: &str) -> Option<Vec<(u32, u32)>> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some((from.parse().ok()?, to.parse().ok()?))
    };
    list.split(',').map(range).collect()
}

/// Two processes with the same identity run on one kernel, see each other's memory and share /dev/shm.
fn host_identity() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let pids = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let shm = std::fs::metadata("/dev/shm")
        .map(|shm| std::os::unix::fs::MetadataExt::dev(&shm))
        .unwrap_or_default();
    format!("{} {} {shm}", boot.trim(), pids.display())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::admission::{self, Policy, SecurityGroups};

    /// A member on a host, with so many EFAs.
    pub(in crate::init) fn member(rank: usize, host: &str, efas: usize) -> Introduction {
        let mut facts = source::host::facts(rank, Some([127, 0, 0, 1].into())).unwrap();
        facts.member.instance_id = host.into();
        facts.host.as_mut().unwrap().efa_devices = efas;
        let libfabric = Library {
            version: "1.22".into(),
            origin: "built-in".into(),
            path: "/program".into(),
            reason: "this host has no EFA".into(),
            skipped: Vec::new(),
        };
        let no_efa = (efas == 0).then(|| why_no_efa(0, &libfabric));
        Introduction { facts, host: host.into(), libfabric, no_efa, processors: String::new() }
    }

    #[test]
    fn fuzz_what_members_say_about_themselves_is_refused_with_their_rank_or_a_member() {
        let plain = serde_json::to_value(member(1, "a", 1)).unwrap();
        efa_fuzz::rounds("introductions", 1_000, |random| {
            let json = random.mutate_json(&plain).to_string();
            let wire = if random.below(3) == 0 { random.mutate(json.as_bytes()) } else { json.into_bytes() };
            match parse::<Introduction>(7, &wire) {
                Ok(other) => {
                    let has_efa = other.has_efa();
                    let members = [member(0, "a", 1), other];
                    let chosen = choose_provider(ProviderChoice::Auto, &members);
                    assert!(chosen != Provider::Efa || has_efa);
                    let facts = members.map(|member| member.facts);
                    let _ = admission::evaluate(&facts, &SecurityGroups::none(), &Policy::strict());
                }
                Err(error) => assert!(error.to_string().contains("rank 7"), "{error}"),
            }
        });
    }

    #[test]
    fn auto_takes_efa_only_where_every_rank_has_one() {
        let auto = ProviderChoice::Auto;
        assert_eq!(choose_provider(auto, &[member(0, "a", 1), member(1, "b", 1)]), Provider::Efa);
        assert_eq!(choose_provider(auto, &[member(0, "a", 1), member(1, "b", 0)]), Provider::Tcp);
        assert_eq!(choose_provider(auto, &[member(0, "a", 1), member(1, "a", 0)]), Provider::Shm);
    }

    #[test]
    fn ranks_that_are_bound_to_other_processors_do_not_count() {
        let count = |lists: [(&str, &str); 4], rank| {
            let bound = lists.map(|(host, processors)| Introduction {
                processors: processors.into(),
                ..member(0, host, 0)
            });
            sharers(&bound, rank)
        };
        assert_eq!(count([("a", "0-1"), ("a", "0-1"), ("a", "0-1"), ("b", "0-1")], 0), 3);
        assert_eq!(count([("a", "0"), ("a", "1"), ("a", "2,4-7"), ("a", "5")], 0), 1);
        assert_eq!(count([("a", "0"), ("a", "1"), ("a", "2,4-7"), ("a", "5")], 3), 2);
        assert_eq!(count([("a", "0"), ("a", ""), ("a", "x"), ("a", "1")], 0), 3);
    }

    #[test]
    fn a_provider_asked_for_by_name_is_never_replaced() {
        let tcp = ProviderChoice::Only(Provider::Tcp);
        assert_eq!(choose_provider(tcp, &[member(0, "a", 1), member(1, "a", 1)]), Provider::Tcp);
    }
}
