//! `fi_getinfo`: what the library offers, and asking it for something.

use std::ffi::{CString, c_char, c_void};
use std::net::IpAddr;
use std::ptr::{self, NonNull};

use efa_sys as sys;

use super::{Version, text};
use crate::error::Code;

/// One offer of the library: an `fi_info` of our own.
pub(crate) struct Info(NonNull<sys::fi_info>);

// SAFETY: an `fi_info` is plain memory that nobody else has a pointer to.
unsafe impl Send for Info {}
// SAFETY: as above; `&Info` only reads.
unsafe impl Sync for Info {}

/// What to ask the library for. `None` and zero leave the choice to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<'a> {
    pub provider: Option<&'a str>,
    pub domain: Option<&'a str>,
    pub capabilities: u64,
    pub memory_modes: i32,
    pub message_order: u64,
    pub source: Option<IpAddr>,
}

/// Sets of capability flags.
pub(crate) struct Capabilities;

impl Capabilities {
    /// Tagged messages, remote reads and writes, both ways.
    pub(crate) const MESSAGING: u64 = sys::FI_MSG | sys::FI_TAGGED | sys::FI_RMA;
    pub(crate) const ATOMIC: u64 = sys::FI_ATOMIC;
    /// Memory of accelerators, too.
    pub(crate) const ANY_MEMORY: u64 = sys::FI_HMEM;
    pub(crate) const SENDS_IN_ORDER: u64 = sys::FI_ORDER_SAS;
}

/// Sets of flags about how memory is registered.
pub(crate) struct MemoryModes;

impl MemoryModes {
    /// Offsets from zero and keys of our choice.
    pub(crate) const NONE: i32 = 0;
    /// As `NONE`, for [`Capabilities::ANY_MEMORY`].
    pub(crate) const ANY: i32 = sys::FI_MR_HMEM;
    /// What a device with its own translation tables wants.
    pub(crate) const DEVICE: i32 =
        sys::FI_MR_LOCAL | sys::FI_MR_VIRT_ADDR | sys::FI_MR_ALLOCATED | sys::FI_MR_PROV_KEY;
}

/// Asks the library. Nothing that fits is an empty list, not an error.
pub(crate) fn getinfo(wanted: Option<&Wanted<'_>>) -> Result<Vec<Info>, Code> {
    let hints = wanted.map(|wanted| Info::hints(wanted).ok_or(Code(sys::FI_ENOMEM))).transpose()?;
    let source = wanted
        .and_then(|wanted| wanted.source)
        .map(|address| CString::new(address.to_string()).expect("an address has no zero byte"));
    let node = source.as_ref().map_or(ptr::null(), |source| source.as_ptr());
    let flags = if source.is_some() { sys::FI_SOURCE } else { 0 };
    let mut list: *mut sys::fi_info = ptr::null_mut();
    // SAFETY: every pointer is null or valid for the call; `list` receives a list that is ours to free.
    let returned = unsafe {
        let hints = hints.as_ref().map_or(ptr::null(), |hints| hints.0.as_ptr().cast_const());
        sys::fi_getinfo(Version::to_ask_for().0, node, ptr::null(), flags, hints, &mut list)
    };
    match returned {
        0 => {}
        _ if returned == -sys::FI_ENODATA => return Ok(Vec::new()),
        _ => return Err(Code(returned.saturating_neg())),
    }
    let mut offers = Vec::new();
    let mut node = list;
    while !node.is_null() {
        // SAFETY: `node` is an element of the list; the copy is ours.
        unsafe {
            offers.extend(NonNull::new(sys::fi_dupinfo(node)).map(Info));
            node = (*node).next;
        }
    }
    // SAFETY: the list came from `fi_getinfo` and is freed once.
    unsafe { sys::fi_freeinfo(list) };
    Ok(offers)
}

impl Info {
    /// Hints for `fi_getinfo`; none when memory is short.
    fn hints(wanted: &Wanted<'_>) -> Option<Self> {
        // SAFETY: duplicating nothing makes an empty `fi_info` with all attribute structures present.
        let hints = Self(NonNull::new(unsafe { sys::fi_dupinfo(ptr::null()) })?);
        // SAFETY: the structure and its attributes were just made and are ours alone. The strings come from C's
        // allocator, because `fi_freeinfo` frees them.
        unsafe {
            let raw = &mut *hints.0.as_ptr();
            raw.caps = wanted.capabilities;
            raw.mode = sys::FI_CONTEXT | sys::FI_CONTEXT2;
            (*raw.ep_attr).type_ = sys::FI_EP_RDM;
            (*raw.domain_attr).mr_mode = wanted.memory_modes;
            (*raw.domain_attr).threading = sys::FI_THREAD_DOMAIN;
            (*raw.domain_attr).resource_mgmt = sys::FI_RM_ENABLED;
            (*raw.domain_attr).name = c_string(wanted.domain);
            (*raw.tx_attr).msg_order = wanted.message_order;
            (*raw.rx_attr).msg_order = wanted.message_order;
            (*raw.fabric_attr).prov_name = c_string(wanted.provider);
        }
        Some(hints)
    }

    fn raw(&self) -> &sys::fi_info {
        // SAFETY: the pointer came from `fi_dupinfo` and lives as long as we do.
        unsafe { self.0.as_ref() }
    }

    fn fabric(&self) -> &sys::fi_fabric_attr {
        // SAFETY: `fi_dupinfo` makes every attribute structure that the original had, and offers have them all.
        unsafe { &*self.raw().fabric_attr }
    }

    pub(super) fn domain_attr(&self) -> &sys::fi_domain_attr {
        // SAFETY: as in `fabric`.
        unsafe { &*self.raw().domain_attr }
    }

    fn endpoint(&self) -> &sys::fi_ep_attr {
        // SAFETY: as in `fabric`.
        unsafe { &*self.raw().ep_attr }
    }

    fn transmit(&self) -> &sys::fi_tx_attr {
        // SAFETY: as in `fabric`.
        unsafe { &*self.raw().tx_attr }
    }

    fn receive(&self) -> &sys::fi_rx_attr {
        // SAFETY: as in `fabric`.
        unsafe { &*self.raw().rx_attr }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::fi_info {
        self.0.as_ptr()
    }

    pub(super) fn fabric_attr_ptr(&self) -> *mut sys::fi_fabric_attr {
        self.raw().fabric_attr
    }

    pub(crate) fn provider(&self) -> String {
        // SAFETY: libfabric's strings end in zero.
        unsafe { text(self.fabric().prov_name) }
    }

    pub(crate) fn provider_version(&self) -> Version {
        Version(self.fabric().prov_version)
    }

    pub(crate) fn fabric_name(&self) -> String {
        // SAFETY: as above.
        unsafe { text(self.fabric().name) }
    }

    pub(crate) fn domain(&self) -> String {
        // SAFETY: as above.
        unsafe { text(self.domain_attr().name) }
    }

    pub(crate) fn is_reliable_datagram(&self) -> bool {
        self.endpoint().type_ == sys::FI_EP_RDM
    }

    pub(crate) fn capabilities(&self) -> u64 {
        self.raw().caps
    }

    pub(crate) fn protocol(&self) -> (u32, u32) {
        (self.endpoint().protocol, self.endpoint().protocol_version)
    }

    pub(crate) fn max_message_size(&self) -> usize {
        self.endpoint().max_msg_size
    }

    pub(crate) fn inject_size(&self) -> usize {
        self.transmit().inject_size
    }

    pub(crate) fn transmit_size(&self) -> usize {
        self.transmit().size
    }

    pub(crate) fn receive_size(&self) -> usize {
        self.receive().size
    }

    /// How many pieces of memory a send, and a receive, can be made of.
    pub(crate) fn segments(&self) -> (usize, usize) {
        (self.transmit().iov_limit, self.receive().iov_limit)
    }

    /// How many bytes of immediate data a remote write can carry.
    pub(crate) fn immediate_size(&self) -> usize {
        self.domain_attr().cq_data_size
    }

    /// How many endpoints the domain can hold.
    pub(crate) fn endpoints(&self) -> usize {
        self.domain_attr().ep_cnt
    }

    pub(crate) fn wants_local_registration(&self) -> bool {
        self.domain_attr().mr_mode & sys::FI_MR_LOCAL != 0
    }

    /// The PCI address of the device behind the offer, as sysfs writes it.
    pub(crate) fn pci_address(&self) -> Option<String> {
        // SAFETY: `nic` and `bus_attr` are null or valid; the union holds a PCI address when the type says so.
        unsafe {
            let bus = self.raw().nic.as_ref()?.bus_attr.as_ref()?;
            if bus.bus_type != sys::FI_BUS_PCI {
                return None;
            }
            let pci = bus.attr.pci;
            Some(format!(
                "{:04x}:{:02x}:{:02x}.{}",
                pci.domain_id, pci.bus_id, pci.device_id, pci.function_id
            ))
        }
    }

    /// The link's speed in bits per second, where the device tells.
    pub(crate) fn link_speed(&self) -> Option<u64> {
        // SAFETY: as above.
        let speed = unsafe { self.raw().nic.as_ref()?.link_attr.as_ref()?.speed };
        (speed > 0).then_some(speed as u64)
    }
}

impl Clone for Info {
    fn clone(&self) -> Self {
        // SAFETY: the original is valid.
        let copy = unsafe { sys::fi_dupinfo(self.0.as_ptr()) };
        Self(NonNull::new(copy).expect("out of memory"))
    }
}

impl Drop for Info {
    fn drop(&mut self) {
        // SAFETY: ours, and freed once.
        unsafe { sys::fi_freeinfo(self.0.as_ptr()) }
    }
}

/// A string from C's allocator; null for none.
fn c_string(string: Option<&str>) -> *mut c_char {
    let Some(string) = string else { return ptr::null_mut() };
    // SAFETY: one more byte than the string has, for the zero; checked for null before use.
    unsafe {
        let copy: *mut c_char = libc::malloc(string.len() + 1).cast();
        if !copy.is_null() {
            ptr::copy_nonoverlapping(string.as_ptr().cast(), copy, string.len());
            *copy.add(string.len()) = 0;
        }
        copy
    }
}

const _: () = assert!(size_of::<*mut c_void>() == 8, "libfabric is used on 64-bit machines only");
