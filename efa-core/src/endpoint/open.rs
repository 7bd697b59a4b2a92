//! Opening, connecting and closing an endpoint.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::config::EndpointConfig;
use super::driver::clock::Clock;
use super::driver::connections;
use super::driver::{FirstFailure, Shared};
use super::driver::{progress, watchdog};
use super::engine::{Engine, Numbered};
use super::peer_address::{self, PeerAddress};
use super::tag::{MAX_RANKS, TagFormat};
use crate::admission::{Admission, Facts, Fingerprint};
use crate::bootstrap::Liveness;
use crate::error::{Error, Explanation, Peer, Result};
use crate::fabric::{self, Limits, Owner, Provider, Quirks};
use crate::ffi::{AddressVector, CompletionQueue, Domain, EndpointHandle, Fabric};
use crate::memory::{BufferPool, Pages, RegisteredBuf, Registry};

/// An endpoint that is open and has an address, but does not know its peers yet.
pub struct Unconnected {
    handle: EndpointHandle,
    queue: Arc<CompletionQueue>,
    vector: Arc<AddressVector>,
    domain: Arc<Domain>,
    config: EndpointConfig,
    limits: Limits,
    quirks: Quirks,
    admission: Admission,
    address: Vec<u8>,
}

impl Unconnected {
    /// The endpoint's own address: the other ranks need it.
    pub fn address(&self) -> &[u8] {
        &self.address
    }

    /// The address in printable form.
    pub fn printable_address(&self) -> String {
        self.vector.print(&self.address)
    }

    /// What the other ranks need in order to connect to this endpoint: `facts` are those of this member, as they are
    /// now.
    pub fn peer_address(&self, facts: &Facts) -> PeerAddress {
        let host = facts.member.host.clone().unwrap_or_default();
        let peer = Peer { rank: facts.member.rank, host, address: self.printable_address() };
        self.peer_address_of(peer, Fingerprint::of_member(facts))
    }

    fn peer_address_of(&self, peer: Peer, member: Fingerprint) -> PeerAddress {
        PeerAddress { peer, address: self.address.clone(), member, admission: self.admission.fingerprint() }
    }

    /// What all ranks must have in common, or they don't understand one another: provider, its protocol and version.
    pub fn protocol(&self) -> String {
        let info = self.domain.info();
        let (protocol, version) = info.protocol();
        // Patches change what goes over the wire, so that patched and unpatched libraries don't understand one another.
        let numbered = if self.quirks.numbers_messages { ", with numbered messages" } else { "" };
        let patched = if self.quirks.proves_membership { ", with proofs of membership" } else { "" };
        format!(
            "{} {} (protocol {protocol}.{version}{patched}{numbered})",
            info.provider(),
            info.provider_version()
        )
    }

    /// Tells the endpoint who its peers are, by rank, itself included, and makes it ready for traffic. `me` is the rank
    /// of this process.
    ///
    /// The peer addresses must be those of the membership that this endpoint was opened for. Whoever was judged with other
    /// members, or whose facts are no longer those it was judged by, is not of it; after such a change all need a new
    /// admission and new endpoints.
    ///
    /// # Errors
    /// [`Error::Refused`] when a peer address is of another member or of another membership; [`Error::Misuse`] when the
    /// peer addresses are not as many as were admitted, not in order, or that of `me` is not ours; [`Error::PeerLost`] when a peer
    /// on shared memory has closed its endpoint or ended; [`Error::Fabric`] when an
    /// address is not of this provider.
    pub fn connect(
        self,
        me: usize,
        peer_addresses: Vec<PeerAddress>,
        liveness: Arc<Liveness>,
    ) -> Result<Endpoint> {
        let what = "cannot connect the endpoint";
        peer_address::check(&peer_addresses, me, &self.admission)?;
        if peer_addresses[me].address != self.address {
            let why = format!("the peer address of rank {me} is that of another endpoint");
            return Err(Error::misuse(what, why, "give connect the rank that the peer address was made for"));
        }
        if peer_addresses.len() > MAX_RANKS {
            let why = format!("{} ranks are too many; at most {MAX_RANKS} work", peer_addresses.len());
            return Err(Error::misuse(what, why, "use fewer ranks"));
        }
        if let (true, Some(secret)) = (self.quirks.proves_membership, &self.config.secret) {
            self.handle.set_proofs(&connections::proofs(secret, me, peer_addresses.len()))?;
        }
        let mut addresses = Vec::with_capacity(peer_addresses.len());
        for PeerAddress { peer, address, .. } in &peer_addresses {
            peer_address::check_address(self.config.provider, &self.address, address, peer)?;
            if self.quirks.lives_in_files && !fabric::has_name(address) {
                return Err(gone(peer));
            }
            addresses.push(self.vector.insert(address)?);
        }
        let owners =
            peer_addresses.iter().map(|peer_address| Owner::of_address(&peer_address.address)).collect();
        let mut room = [self.limits.send_depth, self.limits.receive_depth]
            .map(|depth| depth.clamp(1, self.config.depth));
        if self.quirks.takes_all_receives {
            room[1] = usize::MAX;
        }
        let tags = TagFormat::new(self.config.secret.as_ref(), me, addresses.len());
        let (quirks, alive) = (self.quirks, liveness.clone());
        let core = Engine::new(self.handle, self.queue, room, me, addresses, tags, quirks, alive);
        let peers: Vec<Peer> = peer_addresses.into_iter().map(|peer_address| peer_address.peer).collect();
        let names = quirks.numbers_messages.then(|| peers.iter().map(Peer::to_string).collect());
        let shared =
            Shared::new(core, self.domain, self.config, self.limits, quirks, me, peers, owners, liveness);
        if let Some(names) = names {
            let numbered = Numbered::new(me, names);
            shared.lock().number_messages(numbered);
        }
        Endpoint::start(Arc::new(shared))
    }
}

/// The error of connecting to an endpoint on shared memory that is not there.
fn gone(peer: &Peer) -> Error {
    let text = Explanation::new(
        format!("cannot connect the endpoint to {peer}"),
        format!("there is no {} in /dev/shm: that rank has closed its endpoint or ended", peer.address),
        format!(
            "look at the output of rank {}; ranks that share no /dev/shm need another provider: EFA_PROVIDER=tcp",
            peer.rank
        ),
    );
    Error::PeerLost { peer: Box::new(peer.clone()), text }
}

impl fmt::Debug for Unconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unconnected").field("address", &self.printable_address()).finish_non_exhaustive()
    }
}

/// An open, connected endpoint: the verbs are its methods.
///
/// It may be used from many threads at once. Dropping it closes it: the device lets go of all memory, and operations
/// under way end with [`Error::Closed`].
///
/// No endpoint opens without an [`Admission`]:
///
/// ```compile_fail
/// use efa_core::endpoint::{Endpoint, EndpointConfig};
/// let endpoint = Endpoint::open(EndpointConfig::default());
/// ```
pub struct Endpoint {
    pub(crate) shared: Arc<Shared>,
    progress: Option<JoinHandle<()>>,
    watchdog: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Opens an endpoint for a member of an admitted job.
    ///
    /// # Errors
    /// [`Error::Provider`] when the provider or the device is not there, with a list of what is;
    /// [`Error::Refused`] when the admission does not cover the provider; [`Error::Fabric`] when libfabric refuses.
    pub fn open(admission: &Admission, config: EndpointConfig) -> Result<Unconnected> {
        config.check()?;
        if config.provider == Provider::Efa && !admission.permits_efa() {
            return Err(Error::misuse(
                "cannot open an endpoint on efa",
                "the job was not judged for it",
                "evaluate the job with Policy::requires_efa(true)",
            ));
        }
        if config.provider == Provider::Shm {
            // Before libfabric is asked: files that were left may have used up the space.
            fabric::remove_stale_files();
            fabric::check_file_limit()?;
        }
        let info = fabric::find(config.provider, config.device.as_deref(), config.source)?;
        let (limits, quirks) = (Limits::of(&info), Quirks::of(config.provider, &info));
        let domain = Domain::open(Fabric::open(&info)?, &info)?;
        let vector = AddressVector::open(&domain, admission.members())?;
        // Both lanes, and as much again for what peers do to us.
        let queue = CompletionQueue::open(&domain, config.depth.saturating_mul(4))?;
        let name = quirks.lives_in_files.then(fabric::endpoint_name).transpose()?;
        let handle = fabric::keeping_signal_handlers(|| {
            let events = quirks.reports_device_status;
            EndpointHandle::open(&domain, vector.clone(), queue.clone(), name.as_deref(), events)
        })?;
        let address = handle.address()?;
        Ok(Unconnected {
            handle,
            queue,
            vector,
            domain,
            config,
            limits,
            quirks,
            admission: admission.clone(),
            address,
        })
    }

    /// Opens an endpoint whose only peer is itself: for programs of one process, and for trying things out.
    ///
    /// # Errors
    /// As [`Endpoint::open`].
    pub fn alone(admission: &Admission, config: EndpointConfig) -> Result<Self> {
        let endpoint = Self::open(admission, config)?;
        let peer = Peer { rank: 0, host: String::new(), address: endpoint.printable_address() };
        // Nobody else is there who could have changed.
        let member = admission.member(0).unwrap_or_else(|| admission.fingerprint());
        let peer_address = endpoint.peer_address_of(peer, member);
        endpoint.connect(0, vec![peer_address], Arc::new(Liveness::alone(1)))
    }

    fn start(shared: Arc<Shared>) -> Result<Self> {
        let activity = shared.lock().activity.clone();
        let mut endpoint = Self { shared, progress: None, watchdog: None };
        let shared = endpoint.shared.clone();
        let thread = spawn("efa-progress", move || progress::run(&shared))?;
        let _ = endpoint.shared.progress_thread.set(thread.thread().clone());
        endpoint.progress = Some(thread);
        if watchdog::is_needed(&endpoint.shared) {
            let shared = endpoint.shared.clone();
            endpoint.watchdog = Some(spawn("efa-watchdog", move || watchdog::run(&shared, &activity))?);
        }
        Ok(endpoint)
    }

    /// The rank of this process.
    pub fn rank(&self) -> usize {
        self.shared.me
    }

    /// How many ranks the job has.
    pub fn size(&self) -> usize {
        self.shared.peers.len()
    }

    /// Who the ranks are.
    pub fn peers(&self) -> &[Peer] {
        &self.shared.peers
    }

    /// The provider that carries the traffic.
    pub fn provider(&self) -> Provider {
        self.shared.config.provider
    }

    /// Returns the name of the device that the endpoint is on: libfabric's domain name, as `efa info` lists it.
    pub fn device(&self) -> String {
        self.shared.domain.info().domain()
    }

    /// What the provider can do at most.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// How the endpoint was configured.
    pub fn config(&self) -> &EndpointConfig {
        &self.shared.config
    }

    /// `len` elements of memory, zeroed, page-aligned, and registered where the device wants that.
    ///
    /// # Errors
    /// [`Error::System`] when there is no memory; [`Error::Fabric`] when the device can't register it.
    pub fn allocate<T: bytemuck::Pod>(&self, len: usize) -> Result<RegisteredBuf<T>> {
        self.allocate_pages(len, Pages::Ordinary)
    }

    /// [`Endpoint::allocate`] with a choice of pages.
    ///
    /// # Errors
    /// As [`Endpoint::allocate`]; also when there are no huge pages.
    pub fn allocate_pages<T: bytemuck::Pod>(&self, len: usize, pages: Pages) -> Result<RegisteredBuf<T>> {
        let registry: Registry = self.shared.clone();
        RegisteredBuf::new(&registry, len, pages)
    }

    /// `count` buffers of `size` bytes, registered once, that are taken and given back without allocation.
    ///
    /// # Errors
    /// As [`Endpoint::allocate`].
    pub fn pool(&self, size: usize, count: usize) -> Result<BufferPool> {
        BufferPool::new(size, count, |bytes| self.allocate(bytes))
    }

    /// Whether the endpoint is still open. It closes by itself only to get memory back from a device that won't let
    /// go of it: a peer died, or a deadline passed.
    pub fn is_open(&self) -> bool {
        self.shared.lock().is_open()
    }

    /// Why the endpoint has closed itself, if it has. Waits until it is known whether connections that broke
    /// are those of ranks that are gone.
    pub(crate) fn closed_by_itself(&self) -> Option<String> {
        let begun = Instant::now();
        loop {
            let mut core = self.shared.lock();
            // Thousands of completions may come before the news of a broken connection.
            while core.poll() && begun.elapsed() <= connections::EXPLAINED {}
            if let Some(why) = &core.closed {
                return Some(format!("its endpoint was closed: {why}"));
            }
            if !core.has_broken_connections() || begun.elapsed() > connections::EXPLAINED {
                return None;
            }
            drop(core);
            thread::sleep(Clock::TICK);
        }
    }

    /// The first error of an operation, apart from those that the program cancelled.
    pub(crate) fn first_failure(&self) -> Option<&FirstFailure> {
        self.shared.first_failure.get()
    }

    /// The error of something that can't be done because the job has been called off, if it has.
    pub(crate) fn called_off(&self, what: &str) -> Option<Error> {
        self.shared.liveness.called_off().map(|_| self.shared.aborted(what.into()))
    }

    /// Removes what would stay behind if this process were killed, once all ranks have connected.
    pub(crate) fn forget_name(&self) {
        self.shared.forget_name();
    }

    /// Closes the endpoint without giving operations under way the time to end.
    pub(crate) fn abandon(&self, why: &str) {
        let mut core = self.shared.lock();
        self.shared.close_by_force(&mut core, why.into());
    }

    /// Closes the endpoint. Operations under way end with [`Error::Closed`].
    pub fn close(self) {
        drop(self);
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(body).map_err(|source| {
        let what = format!("cannot start the thread {name}");
        Error::system(source, what, "raise the limit on threads (ulimit -u)")
    })
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.close("the program closed it");
        self.shared.stop.store(true, Ordering::Release);
        for thread in [self.watchdog.take(), self.progress.take()].into_iter().flatten() {
            thread.thread().unpark();
            // A waker that drops the last handle on us runs on that very thread; it ends by itself then.
            if thread.thread().id() != thread::current().id() {
                // It ends within a nap, and a panic of its own has been reported by itself.
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("provider", &self.provider())
            .field("rank", &self.rank())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
