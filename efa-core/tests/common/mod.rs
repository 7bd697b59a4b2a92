//! What the integration tests share: ranks as threads of one process, each with its own endpoint.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::io::Write;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use efa_core::admission::{self, Admission, Facts, Policy, SecurityGroups};
use efa_core::bootstrap::Liveness;
use efa_core::fabric::Provider;
use efa_core::memory::{Region, RemoteRegion};
use efa_core::{Completion, Endpoint, EndpointConfig, OpResult, Result, this_member};

/// The provider under test: `EFA_TEST_PROVIDER`, else tcp.
pub fn provider() -> Provider {
    let name = std::env::var("EFA_TEST_PROVIDER").unwrap_or_else(|_| "tcp".into());
    name.parse().expect("EFA_TEST_PROVIDER names a provider")
}

/// Whether this libfabric is the built-in one, with its patches. If not, says on standard error what a test leaves out;
/// `docs/providers.md` has it, too.
pub fn is_patched(otherwise: &str) -> bool {
    let is_patched = efa_core::fabric::library().unwrap().is_built_in();
    if !is_patched {
        // Not by `eprintln!`, whose output is shown for tests that fail only.
        let _ = writeln!(std::io::stderr(), "not tested, as this libfabric is not patched: {otherwise}");
    }
    is_patched
}

/// A configuration that lets a test fail rather than hang.
pub fn config() -> EndpointConfig {
    let mut config =
        EndpointConfig::default().provider(provider()).timeout(Duration::from_secs(60)).local_ranks(4);
    if matches!(config.provider, Provider::Tcp | Provider::Sockets) {
        config.source = Some([127, 0, 0, 1].into());
    }
    config
}

/// The facts of `count` ranks on this host.
pub fn members(count: usize) -> Vec<Facts> {
    (0..count).map(|rank| this_member(rank, Some([127, 0, 0, 1].into())).unwrap()).collect()
}

/// The admission of these members.
pub fn admit(members: &[Facts]) -> Admission {
    let policy = Policy::strict().requires_efa(provider() == Provider::Efa);
    admission::evaluate(members, &SecurityGroups::none(), &policy).admit().unwrap()
}

/// Admission of `count` ranks on this host.
pub fn admission(count: usize) -> Admission {
    admit(&members(count))
}

/// Opens `count` connected endpoints in this process.
pub fn endpoints(count: usize, config: EndpointConfig) -> (Vec<Endpoint>, Arc<Liveness>) {
    let members = members(count);
    let admission = admit(&members);
    let open: Vec<_> = (0..count).map(|_| Endpoint::open(&admission, config.clone()).unwrap()).collect();
    let peer_addresses: Vec<_> =
        open.iter().zip(&members).map(|(endpoint, facts)| endpoint.peer_address(facts)).collect();
    let liveness = Arc::new(Liveness::alone(count));
    let connect = |(rank, endpoint): (usize, efa_core::endpoint::Unconnected)| {
        endpoint.connect(rank, peer_addresses.clone(), liveness.clone()).unwrap()
    };
    (open.into_iter().enumerate().map(connect).collect(), liveness)
}

/// Runs `body` as `count` ranks, each on a thread with an endpoint, and leaves when all are done.
pub fn ranks(count: usize, body: impl Fn(Endpoint) + Sync) {
    ranks_with(count, config(), |endpoint, _| body(endpoint));
}

/// [`ranks`] with a configuration of the test's own, and the table of who is alive.
pub fn ranks_with(count: usize, config: EndpointConfig, body: impl Fn(Endpoint, &Liveness) + Sync) {
    let (endpoints, liveness) = endpoints(count, config);
    let done = Barrier::new(count);
    let first_panic = Mutex::new(None);
    thread::scope(|scope| {
        for endpoint in endpoints {
            let (body, done, liveness, first_panic) = (&body, &done, &liveness, &first_panic);
            scope.spawn(move || {
                let rank = endpoint.rank();
                let run = std::panic::AssertUnwindSafe(|| body(endpoint, liveness));
                if let Err(panic) = std::panic::catch_unwind(run) {
                    // The others must not wait for one that failed.
                    liveness.mark_dead(rank, "its test failed");
                    first_panic.lock().unwrap().get_or_insert(panic);
                }
                done.wait();
            });
        }
    });
    if let Some(panic) = first_panic.into_inner().unwrap() {
        std::panic::resume_unwind(panic);
    }
}

/// Sends a region of this rank to all the others.
pub fn tell<T: bytemuck::Pod>(endpoint: &Endpoint, region: &Region<T>) {
    for rank in (0..endpoint.size()).filter(|&rank| rank != endpoint.rank()) {
        endpoint.send_blocking(rank, TELL, &region.remote().to_bytes()).unwrap();
    }
}

/// Receives a region that `owner` tells of.
pub fn learn(endpoint: &Endpoint, owner: usize) -> RemoteRegion {
    let mut wire = [0; RemoteRegion::WIRE_SIZE];
    endpoint.recv_blocking(owner, TELL, &mut wire).unwrap();
    RemoteRegion::from_bytes(&wire).unwrap()
}

/// Waits until all ranks have come here.
pub fn meet(endpoint: &Endpoint) {
    let others = || (0..endpoint.size()).filter(|&rank| rank != 0);
    if endpoint.rank() == 0 {
        for rank in others() {
            endpoint.recv_blocking(rank, MEET, &mut [0u8]).unwrap();
        }
        others().for_each(|rank| endpoint.send_blocking(rank, MEET, &[0u8]).unwrap());
    } else {
        endpoint.send_blocking(0, MEET, &[0u8]).unwrap();
        endpoint.recv_blocking(0, MEET, &mut [0u8]).unwrap();
    }
}

/// The result of an operation and its buffer, whether it succeeded or not.
pub fn both<B>(waited: OpResult<B>) -> (Result<Completion>, B) {
    match waited {
        Ok((completion, buffer)) => (Ok(completion), buffer),
        Err(failed) => (Err(failed.error), failed.buffer),
    }
}

/// Bytes that differ from place to place and from seed to seed.
pub fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|index| (index.wrapping_mul(31) ^ (index >> 8) ^ seed.wrapping_mul(101)) as u8).collect()
}

/// Waits, without touching any endpoint, until the condition holds.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

const TELL: u32 = 0xFFFF_0001;
const MEET: u32 = 0xFFFF_0002;
