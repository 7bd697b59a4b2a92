//! What members tell each other when they meet.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::admission::{Facts, source};
use crate::bootstrap::Control;
use crate::error::{Error, Result};
use crate::fabric::{self, Provider, ProviderChoice};

/// What a member says about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Introduction {
    pub(super) facts: Facts,
    /// Equal for two members that share memory.
    pub(super) host: String,
    /// Whether it has an EFA that libfabric can use.
    pub(super) efa: bool,
}

impl Introduction {
    pub(super) fn of_this_process(control: &Control) -> Result<Self> {
        let facts = this_member(control.rank(), Some(control.local_address()))?;
        let efa = facts.host.as_ref().is_some_and(|host| host.efa_devices > 0);
        Ok(Self { facts, host: host_identity(), efa })
    }
}

/// The facts of the member that this process is, as [`source::of_this_machine`] has them, with what libfabric sees: its
/// EFA devices, which may be fewer than the system's or emulated ones, and its providers. `address` is the one that the
/// job reaches the process at; `None` stands for loopback.
///
/// # Errors
/// As those of [`source::of_this_machine`] and [`fabric::library`].
pub fn this_member(rank: usize, address: Option<IpAddr>) -> Result<Facts> {
    log::info!("libfabric {}", fabric::library()?);
    let mut facts = source::of_this_machine(rank, address)?;
    if let Some(host) = &mut facts.host {
        host.efa_devices = fabric::device_count(Provider::Efa);
        host.providers = fabric::available().into_iter().map(str::to_owned).collect();
        if fabric::is_emulated() {
            // It locks no memory.
            host.memlock_bytes = None;
        }
    }
    Ok(facts)
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
        ProviderChoice::Auto if members.iter().all(|member| member.efa) => Provider::Efa,
        ProviderChoice::Auto if members.iter().all(|member| member.host == members[0].host) => Provider::Shm,
        ProviderChoice::Auto => Provider::Tcp,
    }
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
mod tests {
    use super::*;

    fn member(host: &str, efa: bool) -> Introduction {
        let facts = source::host::facts(0, Some([127, 0, 0, 1].into())).unwrap();
        Introduction { facts, host: host.into(), efa }
    }

    #[test]
    fn auto_takes_efa_only_where_every_rank_has_one() {
        let auto = ProviderChoice::Auto;
        assert_eq!(choose_provider(auto, &[member("a", true), member("b", true)]), Provider::Efa);
        assert_eq!(choose_provider(auto, &[member("a", true), member("b", false)]), Provider::Tcp);
        assert_eq!(choose_provider(auto, &[member("a", true), member("a", false)]), Provider::Shm);
    }

    #[test]
    fn a_provider_asked_for_by_name_is_never_replaced() {
        let tcp = ProviderChoice::Only(Provider::Tcp);
        assert_eq!(choose_provider(tcp, &[member("a", true), member("a", true)]), Provider::Tcp);
    }
}
