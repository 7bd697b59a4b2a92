//! Open libfabric objects. Each closes itself when dropped, and keeps its parents open until then.

use std::ffi::{CString, c_int, c_void};
use std::ops::BitOr;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use efa_sys as sys;
use log::Level;

use super::{Info, check, failed, log_later, log_now};
use crate::error::{Code, Error, Explanation, Result};

const DOMAIN: &str = "domain";
const FABRIC: &str = "fabric";

/// Held while a device is opened or closed: libfabric's efa provider up to 2.0 at least keeps a list of the open ones
/// that several threads may not change at a time.
static DOMAINS: Mutex<()> = Mutex::new(());

fn one_domain_at_a_time() -> MutexGuard<'static, ()> {
    DOMAINS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes an object. There is nothing to be done about a failure, and a second try could free twice.
///
/// # Safety
/// `fid` is open, and nothing uses it any more.
unsafe fn close(name: &str, fid: *mut sys::fid) {
    let _alone = (name == DOMAIN).then(one_domain_at_a_time);
    // SAFETY: passed on to the caller.
    let returned = unsafe { sys::fi_close(fid) };
    if returned != 0 {
        let why = super::describe(Code(returned.saturating_neg()));
        // An endpoint and its registrations close under the endpoint's lock.
        log_later(Level::Warn, format!("closing the {name} failed: {why}"));
    }
    if name == FABRIC {
        log_now();
    }
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident($raw:ty, $label:expr) { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        pub(crate) struct $name { raw: NonNull<$raw>, $($field: $type),* }

        // SAFETY: libfabric objects may be used from any thread, one at a time; the endpoint's lock sees to that.
        unsafe impl Send for $name {}
        // SAFETY: as above.
        unsafe impl Sync for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: opened by us and closed once; children hold an `Arc` of us, so none is left.
                unsafe { close($label, &mut (*self.raw.as_ptr()).fid) }
            }
        }
    };
}

handle! {
    /// A fabric: one provider, opened.
    Fabric(sys::fid_fabric, FABRIC) {}
}

handle! {
    /// A domain: one device, opened.
    Domain(sys::fid_domain, DOMAIN) { fabric: Arc<Fabric>, info: Info }
}

handle! {
    /// Where the peers are.
    AddressVector(sys::fid_av, "address vector") { _domain: Arc<Domain> }
}

handle! {
    /// Where completions arrive.
    CompletionQueue(sys::fid_cq, "completion queue") { domain: Arc<Domain>, wait: Option<RawFd> }
}

handle! {
    /// An endpoint. Once it is closed the device touches no memory on its behalf.
    EndpointHandle(sys::fid_ep, "endpoint") {
        _vector: Arc<AddressVector>,
        _queue: Arc<CompletionQueue>,
        events: Option<EventQueue>,
    }
}

handle! {
    /// Where an endpoint tells of what went wrong with work of the provider's own, such as its handshakes.
    EventQueue(sys::fid_eq, "event queue") { _fabric: Arc<Fabric> }
}

handle! {
    /// Memory that the device knows.
    Registered(sys::fid_mr, "memory region") { domain: Arc<Domain> }
}

impl Fabric {
    pub(crate) fn open(info: &Info) -> Result<Arc<Self>> {
        let mut raw = ptr::null_mut();
        // SAFETY: the attributes are those of an offer; `raw` receives the object.
        let returned = unsafe { sys::fi_fabric(info.fabric_attr_ptr(), &mut raw, ptr::null_mut()) };
        check("fi_fabric", returned, &format!("cannot open fabric {}", info.fabric_name()), ASK_INFO)?;
        Ok(Arc::new(Self { raw: opened(raw, "fi_fabric")? }))
    }
}

impl Domain {
    pub(crate) fn open(fabric: Arc<Fabric>, info: &Info) -> Result<Arc<Self>> {
        let mut raw = ptr::null_mut();
        let _alone = one_domain_at_a_time();
        // SAFETY: the fabric was opened from this offer.
        let returned =
            unsafe { sys::fi_domain(fabric.raw.as_ptr(), info.as_ptr(), &mut raw, ptr::null_mut()) };
        check("fi_domain", returned, &format!("cannot open device {}", info.domain()), ASK_INFO)?;
        Ok(Arc::new(Self { raw: opened(raw, "fi_domain")?, fabric, info: info.clone() }))
    }

    /// The offer that it was opened from.
    pub(crate) fn info(&self) -> &Info {
        &self.info
    }

    /// Registers memory. `key` is used where the provider leaves the choice of keys to us.
    ///
    /// # Safety
    /// The memory must stay allocated until the registration is dropped.
    pub(crate) unsafe fn register(
        self: &Arc<Self>,
        start: *mut u8,
        len: usize,
        access: AccessFlags,
        key: u64,
    ) -> Result<Registered> {
        let mut raw = ptr::null_mut();
        // SAFETY: the domain is open; the caller vouches for the memory.
        let returned = unsafe {
            sys::fi_mr_reg(
                self.raw.as_ptr(),
                start.cast(),
                len,
                access.0,
                0,
                key,
                0,
                &mut raw,
                ptr::null_mut(),
            )
        };
        let what = || format!("cannot register {len} bytes with {}", self.info.domain());
        if returned != 0 {
            // Said only when needed: an operation on memory that isn't registered comes here, too.
            let remedy = "raise the limit on locked memory (ulimit -l unlimited), or register less";
            check("fi_mr_reg", returned, &what(), remedy)?;
        }
        let registered = Registered { raw: opened(raw, "fi_mr_reg")?, domain: self.clone() };
        if registered.key() == sys::FI_KEY_NOTAVAIL {
            let why = "the provider's keys are longer than 8 bytes";
            let text = Explanation::new(what(), why, "use another provider");
            return Err(Error::Fabric { code: Code(sys::FI_EKEYREJECTED), text });
        }
        Ok(registered)
    }
}

impl Registered {
    /// The key that peers need.
    pub(crate) fn key(&self) -> u64 {
        // SAFETY: the region is open.
        unsafe { sys::fi_mr_key(self.raw.as_ptr()) }
    }

    /// What the provider wants with every local use of the memory.
    #[inline]
    pub(crate) fn descriptor(&self) -> *mut c_void {
        // SAFETY: the region is open.
        unsafe { sys::fi_mr_desc(self.raw.as_ptr()) }
    }

    /// Whether peers address it by our virtual addresses, rather than from zero.
    pub(crate) fn uses_virtual_addresses(&self) -> bool {
        self.domain.info.domain_attr().mr_mode & sys::FI_MR_VIRT_ADDR != 0
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("key", &self.key()).finish()
    }
}

impl AddressVector {
    pub(crate) fn open(domain: &Arc<Domain>, count: usize) -> Result<Arc<Self>> {
        let mut attr = sys::fi_av_attr {
            type_: sys::FI_AV_TABLE,
            rx_ctx_bits: 0,
            count,
            ep_per_node: 0,
            name: ptr::null(),
            map_addr: ptr::null_mut(),
            flags: 0,
        };
        let mut raw = ptr::null_mut();
        // SAFETY: the domain is open, the attributes are filled in.
        let returned = unsafe { sys::fi_av_open(domain.raw.as_ptr(), &mut attr, &mut raw, ptr::null_mut()) };
        check("fi_av_open", returned, "cannot open an address vector", ASK_INFO)?;
        Ok(Arc::new(Self { raw: opened(raw, "fi_av_open")?, _domain: domain.clone() }))
    }

    /// Adds a peer and returns the handle to post with.
    pub(crate) fn insert(&self, address: &[u8]) -> Result<u64> {
        let mut handle = sys::FI_ADDR_NOTAVAIL;
        // SAFETY: one address of the format of this provider; short ones were refused when they were exchanged.
        let returned = unsafe {
            sys::fi_av_insert(self.raw.as_ptr(), address.as_ptr().cast(), 1, &mut handle, 0, ptr::null_mut())
        };
        if returned == 1 && handle != sys::FI_ADDR_NOTAVAIL {
            return Ok(handle);
        }
        let code = if returned < 0 { Code(returned.saturating_neg()) } else { Code(sys::FI_EADDRNOTAVAIL) };
        Err(failed(
            "fi_av_insert",
            code,
            "cannot use a peer's address",
            "check that all ranks use one provider",
        ))
    }

    /// A printable form of an address.
    pub(crate) fn print(&self, address: &[u8]) -> String {
        let mut printed = vec![0u8; 256];
        let mut len = printed.len();
        // SAFETY: the buffer has `len` bytes; the address is of this provider's format.
        unsafe {
            sys::fi_av_straddr(
                self.raw.as_ptr(),
                address.as_ptr().cast(),
                printed.as_mut_ptr().cast(),
                &mut len,
            );
        }
        let end = printed.iter().position(|&byte| byte == 0).unwrap_or(printed.len());
        String::from_utf8_lossy(&printed[..end]).into_owned()
    }
}

impl CompletionQueue {
    /// Opens a queue, with something to sleep on where the provider has that.
    pub(crate) fn open(domain: &Arc<Domain>, size: usize) -> Result<Arc<Self>> {
        let (raw, wait) = match Self::try_open(domain, size, sys::FI_WAIT_FD) {
            Ok(raw) => (raw, true),
            Err(_) => (Self::try_open(domain, size, sys::FI_WAIT_NONE)?, false),
        };
        let mut queue = Self { raw, domain: domain.clone(), wait: None };
        if wait {
            let mut fd: RawFd = -1;
            // SAFETY: FI_GETWAIT of a queue opened with FI_WAIT_FD fills in a descriptor.
            let returned =
                unsafe { sys::fi_control(&mut (*raw.as_ptr()).fid, sys::FI_GETWAIT, (&raw mut fd).cast()) };
            queue.wait = (returned == 0 && fd >= 0).then_some(fd);
        }
        Ok(Arc::new(queue))
    }

    fn try_open(domain: &Arc<Domain>, size: usize, wait: sys::fi_wait_obj) -> Result<NonNull<sys::fid_cq>> {
        let mut attr = sys::fi_cq_attr {
            size,
            flags: 0,
            format: sys::FI_CQ_FORMAT_TAGGED,
            wait_obj: wait,
            signaling_vector: 0,
            wait_cond: sys::FI_CQ_COND_NONE,
            wait_set: ptr::null_mut(),
        };
        let mut raw = ptr::null_mut();
        // SAFETY: the domain is open, the attributes are filled in.
        let returned = unsafe { sys::fi_cq_open(domain.raw.as_ptr(), &mut attr, &mut raw, ptr::null_mut()) };
        check("fi_cq_open", returned, &format!("cannot open a completion queue of {size}"), ASK_INFO)?;
        opened(raw, "fi_cq_open")
    }

    /// What to sleep on, where the provider has something.
    pub(crate) fn wait_fd(&self) -> Option<RawFd> {
        self.wait
    }

    /// Whether it is safe to sleep on the descriptor now: nothing is waiting to be read.
    pub(crate) fn may_sleep(&self) -> bool {
        let mut fids = [self.raw.as_ptr().cast::<sys::fid>()];
        // SAFETY: `fid` is the first member of `fid_cq`; the fabric is open.
        unsafe { sys::fi_trywait(self.domain.fabric.raw.as_ptr(), fids.as_mut_ptr(), 1) == 0 }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::fid_cq {
        self.raw.as_ptr()
    }
}

impl EventQueue {
    fn open(fabric: &Arc<Fabric>) -> Result<Self> {
        let mut attr = sys::fi_eq_attr {
            size: 0,
            flags: 0,
            wait_obj: sys::FI_WAIT_NONE,
            signaling_vector: 0,
            wait_set: ptr::null_mut(),
        };
        let mut raw = ptr::null_mut();
        // SAFETY: the fabric is open, the attributes are filled in.
        let returned = unsafe { sys::fi_eq_open(fabric.raw.as_ptr(), &mut attr, &mut raw, ptr::null_mut()) };
        check("fi_eq_open", returned, "cannot open an event queue", ASK_INFO)?;
        Ok(Self { raw: opened(raw, "fi_eq_open")?, _fabric: fabric.clone() })
    }
}

impl EndpointHandle {
    /// Opens and enables an endpoint that sends and receives through one queue.
    ///
    /// `name` is the name of the endpoint on providers whose addresses are names. With `events` the provider has
    /// somewhere to tell of failures that are no operation's; efa ends the process without.
    pub(crate) fn open(
        domain: &Arc<Domain>,
        vector: Arc<AddressVector>,
        queue: Arc<CompletionQueue>,
        name: Option<&str>,
        events: bool,
    ) -> Result<Self> {
        let what = format!("cannot open an endpoint on {}", domain.info.domain());
        // Before the endpoint: nothing may fail between its opening and the handle that closes it.
        let events = events.then(|| EventQueue::open(&domain.fabric)).transpose()?;
        let mut raw = ptr::null_mut();
        // SAFETY: the domain is open, and the offer is the one it was opened from.
        let returned =
            unsafe { sys::fi_endpoint(domain.raw.as_ptr(), domain.info.as_ptr(), &mut raw, ptr::null_mut()) };
        check("fi_endpoint", returned, &what, ASK_INFO)?;
        let endpoint = Self { raw: opened(raw, "fi_endpoint")?, _vector: vector, _queue: queue, events };
        if let Some(name) = name {
            let name = CString::new(name).expect("endpoint names are ours and have no zero byte");
            let bytes = name.as_bytes_with_nul();
            // SAFETY: the endpoint is not enabled yet, and the name ends in zero.
            let returned =
                unsafe { sys::fi_setname(endpoint.fid(), bytes.as_ptr().cast_mut().cast(), bytes.len()) };
            check("fi_setname", returned, &what, ASK_INFO)?;
        }
        // SAFETY: all three objects are open and of one domain.
        unsafe {
            let vector = &mut (*endpoint._vector.raw.as_ptr()).fid;
            check("fi_ep_bind", sys::fi_ep_bind(raw, vector, 0), &what, ASK_INFO)?;
            let queue = &mut (*endpoint._queue.raw.as_ptr()).fid;
            let flags = sys::FI_TRANSMIT | sys::FI_RECV;
            check("fi_ep_bind", sys::fi_ep_bind(raw, queue, flags), &what, ASK_INFO)?;
            if let Some(events) = &endpoint.events {
                let events = &mut (*events.raw.as_ptr()).fid;
                check("fi_ep_bind", sys::fi_ep_bind(raw, events, 0), &what, ASK_INFO)?;
            }
            let returned = sys::fi_enable(raw);
            check("fi_enable", returned, &what, enable_remedy(returned, endpoint.events.is_some()))?;
        }
        Ok(endpoint)
    }

    /// Gives the built-in tcp provider what its peers and itself prove their membership with when they connect, by
    /// fabric address; it refuses connections without. To be called before the first peer is known.
    pub(crate) fn set_proofs(&self, proofs: &[u8]) -> Result<()> {
        /// `XNET_OPT_PROOFS` in `tcp-connection-secret.patch`.
        const PROOFS: i32 = (0x7cb << 16) | 0x100;
        // SAFETY: the endpoint is open, and the value is copied.
        let returned = unsafe {
            let (level, start) = (sys::FI_OPT_ENDPOINT, proofs.as_ptr().cast());
            sys::fi_setopt(self.fid(), level, PROOFS, start, proofs.len())
        };
        check("fi_setopt", returned, "cannot protect the endpoint's connections", ASK_INFO)
    }

    /// The endpoint's own address, to be told to the peers.
    pub(crate) fn address(&self) -> Result<Vec<u8>> {
        let mut address = vec![0u8; 512];
        let mut len = address.len();
        // SAFETY: the buffer has `len` bytes.
        let returned = unsafe { sys::fi_getname(self.fid(), address.as_mut_ptr().cast(), &mut len) };
        check("fi_getname", returned, "cannot learn the endpoint's address", ASK_INFO)?;
        address.truncate(len);
        Ok(address)
    }

    /// What went wrong with the endpoint itself, if anything did since the last call.
    pub(crate) fn event_error(&self) -> Option<(Code, i32)> {
        let events = self.events.as_ref()?;
        // SAFETY: zeros are valid; `err_data_size` is an input, and zero asks for no data.
        let mut entry: sys::fi_eq_err_entry = unsafe { std::mem::zeroed() };
        // SAFETY: the queue is open and the entry is ours.
        let returned = unsafe { sys::fi_eq_readerr(events.raw.as_ptr(), &mut entry, 0) };
        (returned > 0).then(|| (Code(entry.err.saturating_abs()), entry.prov_errno))
    }

    /// Whether efa makes remote writes out of messages, because the device can't write or libfabric is too old to say.
    pub(crate) fn emulates_writes(&self) -> bool {
        /// `FI_OPT_EFA_EMULATED_WRITE` of `rdma/fi_ext.h`.
        const EMULATED_WRITE: c_int = -(0xefa << 16) + 2;
        let (mut answer, mut len) = (true, size_of::<bool>());
        // SAFETY: the endpoint is enabled, and `answer` is as long as `len` says; the option is a `bool`.
        let returned = unsafe {
            let level = sys::FI_OPT_ENDPOINT;
            sys::fi_getopt(self.fid(), level, EMULATED_WRITE, (&raw mut answer).cast(), &mut len)
        };
        returned != 0 || answer
    }

    /// Asks for an operation to be cancelled. A hint: the completion tells what became of it.
    pub(crate) fn cancel(&mut self, context: *mut c_void) {
        // SAFETY: the endpoint is open; the context is one it was given.
        unsafe { sys::fi_cancel(self.fid(), context) };
    }

    /// Makes the provider let go of peers, with all that is under way to and from them. Nothing can be posted to them
    /// any more.
    pub(crate) fn forget_peers(&mut self, peers: &[u64]) {
        for peer in peers {
            let mut peer = *peer;
            // SAFETY: the vector is open, and the handle is one of its own.
            let returned = unsafe { sys::fi_av_remove(self._vector.raw.as_ptr(), &mut peer, 1, 0) };
            if returned != 0 {
                let why = super::describe(Code(returned.saturating_neg()));
                log_later(Level::Debug, format!("a peer could not be removed: {why}"));
            }
        }
    }

    fn fid(&self) -> *mut sys::fid {
        // SAFETY: only the address of the field is taken.
        unsafe { &raw mut (*self.raw.as_ptr()).fid }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut sys::fid_ep {
        self.raw.as_ptr()
    }
}

/// What registered memory may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccessFlags(u64);

impl AccessFlags {
    /// Sends, receives, and the local end of remote reads and writes.
    pub(crate) const LOCAL: Self = Self(sys::FI_SEND | sys::FI_RECV | sys::FI_READ | sys::FI_WRITE);
    /// The local end of sends and remote writes: the device reads.
    pub(crate) const LOCAL_READ: Self = Self(sys::FI_SEND | sys::FI_WRITE);
    /// The local end of receives and remote reads: the device writes.
    pub(crate) const LOCAL_WRITE: Self = Self(sys::FI_RECV | sys::FI_READ);
    /// What peers may read, and the device too: efa answers a remote read with sends where the peer's device can't read.
    pub(crate) const REMOTE_READ: Self = Self(sys::FI_REMOTE_READ | sys::FI_SEND);
    /// What peers may write, and the device too: efa makes a remote write out of receives, or of a read by the target,
    /// where a device can't write.
    pub(crate) const REMOTE_WRITE: Self = Self(sys::FI_REMOTE_WRITE | sys::FI_RECV);
}

impl BitOr for AccessFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What to do when an endpoint can't be enabled.
fn enable_remedy(returned: c_int, is_efa: bool) -> &'static str {
    if is_efa && returned == -libc::ENOMEM {
        "the device may have no queue pair left: each rank on it takes one. See efa-queue-pairs in `efa doctor`, and start \
         fewer ranks on this host, or end the jobs that still run here"
    } else {
        "see the provider's log: FI_LOG_LEVEL=warn"
    }
}

const ASK_INFO: &str =
    "see what this machine offers with `efa info`, and the provider's log with FI_LOG_LEVEL=warn";

fn opened<T>(raw: *mut T, call: &str) -> Result<NonNull<T>> {
    NonNull::new(raw)
        .ok_or_else(|| failed(call, Code(sys::FI_ENOMEM), "libfabric returned nothing", ASK_INFO))
}
