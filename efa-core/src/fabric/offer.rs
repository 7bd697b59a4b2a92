//! What libfabric offers, and taking the right offer.

use std::net::IpAddr;

use serde::Serialize;

use super::{Library, Provider, shm};
use crate::error::{Code, Error, Explanation, Result};
use crate::ffi::{self, Capabilities, Info, MemoryModes, Wanted};
use crate::input;

/// A device that a provider can use.
#[derive(Clone, Debug, Serialize)]
pub struct Offer {
    /// The provider.
    pub provider: Provider,
    /// The provider's version.
    pub provider_version: String,
    /// The device, by libfabric's domain name.
    pub device: String,
    /// The fabric that the device is on.
    pub fabric: String,
    /// The device's PCI address, where it has one.
    pub pci_address: Option<String>,
    /// The link's speed in bits per second, where the device tells.
    pub link_speed: Option<u64>,
    /// What the provider can do at most.
    pub limits: Limits,
}

/// What a provider can do at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// The longest message, in bytes. A provider without a limit of its own gives the largest number there is; in JSON the
    /// value is `null` then.
    #[serde(serialize_with = "serialize_size")]
    pub max_message_size: usize,
    /// Up to how many bytes a send is copied at once, so that it is over when it returns. On efa no send is: it is over when the device
    /// has the receiver's word for it. Nor is one on tcp with a libfabric that does not tell of lost messages.
    pub inject_size: usize,
    /// From how many pieces a message can be gathered.
    pub send_segments: usize,
    /// Over how many pieces a message can be scattered.
    pub receive_segments: usize,
    /// How many sends, remote reads and writes the device holds at a time.
    pub send_depth: usize,
    /// How many receives the device holds at a time.
    pub receive_depth: usize,
    /// How many bytes of immediate data a remote write carries.
    pub immediate_size: usize,
    /// How many endpoints there can be on the device. On efa each takes one of the device's queue pairs (`max_qp` in
    /// `ibv_query_device(3)`), which all processes of a host share.
    pub endpoints: usize,
    /// Whether there are remote atomics.
    pub atomics: bool,
    /// Whether memory must be registered for local use, too.
    pub local_registration: bool,
}

/// From this size on a provider's limit is none: no machine has as much memory.
const UNLIMITED: u64 = 1 << 48;

/// Writes a size that is no limit as `null`: many readers of JSON round numbers beyond 2^53.
fn serialize_size<S: serde::Serializer>(size: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    let size = Some(*size as u64).filter(|&size| size < UNLIMITED);
    size.serialize(serializer)
}

impl Limits {
    pub(crate) fn of(info: &Info) -> Self {
        let (send_segments, receive_segments) = info.segments();
        Self {
            max_message_size: info.max_message_size(),
            inject_size: info.inject_size(),
            send_segments: send_segments.clamp(1, ffi::MAX_SEGMENTS),
            receive_segments: receive_segments.clamp(1, ffi::MAX_SEGMENTS),
            send_depth: info.transmit_size(),
            receive_depth: info.receive_size(),
            immediate_size: info.immediate_size(),
            endpoints: info.endpoints(),
            atomics: info.capabilities() & Capabilities::ATOMIC != 0,
            local_registration: info.wants_local_registration(),
        }
    }
}

/// Returns the libfabric that this process uses. It is chosen once, when it is first needed: see `docs/providers.md`.
///
/// # Errors
/// [`Error::Setting`] when `EFA_LIBFABRIC` names one that can't be used, and [`Error::Provider`] when none is found. Both
/// say what was looked for.
pub fn library() -> Result<Library> {
    ffi::library()
}

/// Every device that one of our providers can use on this machine, the fastest provider first.
///
/// # Errors
/// As those of [`library`]; a provider that has nothing to offer is just absent.
pub fn offers() -> Result<Vec<Offer>> {
    library()?;
    let mut offers = Vec::new();
    for provider in Provider::ALL {
        for info in ask(provider, None, None).unwrap_or_default() {
            let (device, fabric) = (info.domain(), info.fabric_name());
            // A device is offered once for each set of attributes; endpoints take the first offer.
            let is_same = |it: &Offer| (it.provider, &it.device, &it.fabric) == (provider, &device, &fabric);
            if offers.iter().any(is_same) {
                continue;
            }
            offers.push(Offer {
                provider,
                provider_version: info.provider_version().to_string(),
                device,
                fabric,
                pci_address: info.pci_address(),
                link_speed: info.link_speed(),
                limits: Limits::of(&info),
            });
        }
    }
    Ok(offers)
}

/// Finds the offer to open an endpoint from.
pub(crate) fn find(provider: Provider, device: Option<&str>, source: Option<IpAddr>) -> Result<Info> {
    let library = library()?;
    let source = source.filter(|_| provider.uses_ip());
    let found = ask(provider, device, source);
    let what = format!("cannot use provider {provider}");
    // libfabric leaves a provider out that could not start, without saying why.
    let code = found.as_ref().err().copied().unwrap_or(Code(0));
    if found.as_ref().map_or(true, Vec::is_empty)
        && let Some(remedy) = ffi::few_descriptors(code)
    {
        return Err(Error::Provider(Explanation::new(what, ffi::NO_DESCRIPTORS, remedy)));
    }
    let found_nothing = found.as_ref().is_ok_and(Vec::is_empty);
    let is_out_of_space =
        code == Code(libc::ENOSPC) || found_nothing && provider == Provider::Shm && shm::is_short_of_room();
    let why = match found {
        Ok(mut infos) if !infos.is_empty() => return Ok(infos.swap_remove(0)),
        _ if is_out_of_space && provider == Provider::Shm => too_little_shared_memory(),
        Ok(_) => missing(&library, provider, device, source),
        Err(code) => format!("fi_getinfo: {} ({code})", ffi::describe(code)),
    };
    let remedy = match provider {
        Provider::Shm if !is_out_of_space => format!("use one of those here: {}", available_list()),
        Provider::Shm => {
            "free space in /dev/shm, or make it larger (docker run --shm-size=1g or --ipc=host, not docker's 64 MiB; \
             mount -o remount,size=1g /dev/shm), or use tcp"
                .into()
        }
        Provider::Efa if is_emulated() => {
            "look for a line of efa-emulator's above; if there is none, name a libfabric with the efa provider in \
             EFA_LIBFABRIC, or build with the feature `vendored-efa`"
                .into()
        }
        Provider::Efa => format!(
            "run where there is an EFA and libfabric has its provider (EFA_LIBFABRIC names one); here there are: {}",
            available_list()
        ),
        _ => format!("use one of those here: {}", available_list()),
    };
    Err(Error::Provider(Explanation::new(what, why, remedy)))
}

/// How many devices of a provider libfabric sees.
pub(crate) fn device_count(provider: Provider) -> usize {
    ask(provider, None, None).map_or(0, |infos| infos.len())
}

/// Whether this process runs on the emulated EFA of `efa-emulator`, which `efa run --emulate-efa` says by a variable.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os("EFA_EMULATOR_JOB").is_some()
}

/// Why the shm provider finds no room. It asks for that of an endpoint per processor, however many ranks there are.
fn too_little_shared_memory() -> String {
    let cores = shm::cores();
    let room = shm::room()
        .map_or_else(String::new, |(free, all)| format!(" {} of {} MiB are free.", free >> 20, all >> 20));
    format!(
        "/dev/shm has too little space left.{room} An endpoint takes 16 MiB, and libfabric asks for those of {cores} or \
         more, one per processor"
    )
}

fn missing(library: &Library, provider: Provider, device: Option<&str>, source: Option<IpAddr>) -> String {
    // A list of providers, or of those to leave out.
    if let Some(list) = input::variable("FI_PROVIDER")
        && ask(provider, None, None).is_ok_and(|offers| offers.is_empty())
    {
        return format!("it has nothing to offer here, with FI_PROVIDER={list} in the environment");
    }
    match (device, source) {
        (Some(device), _) => format!("it has no device '{device}'"),
        (None, Some(source)) => format!("it has no device with address {source}"),
        (None, None) if provider == Provider::Efa && is_emulated() => {
            format!(
                "there is no emulated device: {} lacks the efa provider, or the emulator failed{}",
                library.in_brief(),
                others(library)
            )
        }
        (None, None) if provider == Provider::Efa => {
            format!("there is no EFA here, or {} lacks the provider{}", library.in_brief(), others(library))
        }
        (None, None) => "it has nothing to offer on this machine".into(),
    }
}

/// The libraries that were looked for before this one, as the end of a sentence.
fn others(library: &Library) -> String {
    let others: Vec<String> = library.skipped.iter().map(ToString::to_string).collect();
    if others.is_empty() { String::new() } else { format!("; not used: {}", others.join("; ")) }
}

/// The names of the providers that have something to offer here.
pub(crate) fn available() -> Vec<&'static str> {
    let has_offers = |provider: &Provider| device_count(*provider) > 0;
    Provider::ALL.into_iter().filter(has_offers).map(Provider::name).collect()
}

fn available_list() -> String {
    let names = available();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Asks for a provider's devices, with atomics where it has them.
///
/// Only an exact name counts: asking for atomics makes libfabric offer `tcp;ofi_rxm` in place of `tcp`, and newer
/// ones offer it besides; the two don't understand each other.
fn ask(provider: Provider, device: Option<&str>, source: Option<IpAddr>) -> Result<Vec<Info>, Code> {
    // An unpatched shm copies out of and into the memory of other processes, also when that is no longer meant for it.
    // It can't do so for endpoints that are open to memory of other devices.
    let (base, modes) = match provider {
        Provider::Efa => (Capabilities::MESSAGING, MemoryModes::DEVICE),
        Provider::Shm if !shm::is_patched() => {
            (Capabilities::MESSAGING | Capabilities::ANY_MEMORY, MemoryModes::ANY)
        }
        _ => (Capabilities::MESSAGING, MemoryModes::NONE),
    };
    let mut answer = Ok(Vec::new());
    for capabilities in [base | Capabilities::ATOMIC, base] {
        let wanted = Wanted {
            provider: Some(provider.name()),
            domain: device,
            capabilities,
            memory_modes: modes,
            message_order: Capabilities::SENDS_IN_ORDER,
            source,
        };
        answer = ffi::getinfo(Some(&wanted)).map(|infos| {
            let exact = |info: &Info| info.provider() == provider.name() && info.is_reliable_datagram();
            infos.into_iter().filter(exact).collect()
        });
        if answer.as_ref().is_ok_and(|infos: &Vec<Info>| !infos.is_empty()) {
            break;
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_and_shm_are_on_every_machine() {
        let offers = offers().unwrap();
        for provider in [Provider::Tcp, Provider::Shm] {
            let offer = offers.iter().find(|offer| offer.provider == provider).unwrap();
            assert!(offer.limits.inject_size > 0);
            assert!(offer.limits.max_message_size >= 1 << 30);
        }
    }

    #[test]
    fn a_device_is_offered_once() {
        let offers = offers().unwrap();
        for (index, one) in offers.iter().enumerate() {
            let key = |it: &Offer| (it.provider, it.device.clone(), it.fabric.clone());
            assert!(!offers[..index].iter().any(|other| key(other) == key(one)), "{one:?} is there twice");
        }
    }

    #[test]
    fn a_provider_without_a_device_is_an_error_that_lists_the_others() {
        let error = find(Provider::Tcp, Some("no-such-device"), None).err().unwrap();
        let text = error.to_string();
        assert!(text.contains("no-such-device") && text.contains("shm"), "{text}");
    }
}
