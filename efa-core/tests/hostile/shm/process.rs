//! Ranks as processes of their own, which meet in a folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use efa_core::bootstrap::Liveness;
use efa_core::endpoint::PeerAddress;
use efa_core::{Endpoint, EndpointConfig};

use super::common;

/// Opens the endpoints of these ranks of a job of `size` in this process, and connects them with those that other
/// processes open, by way of files in `folder`.
pub(crate) fn connect(
    folder: &Path,
    size: usize,
    ranks: &[usize],
    config: &EndpointConfig,
) -> (Vec<Endpoint>, Arc<Liveness>) {
    let members = common::members(size);
    let admission = common::admit(&members);
    let path = |rank: usize| folder.join(format!("card-{rank}"));
    let open: Vec<_> = ranks
        .iter()
        .map(|&rank| {
            let endpoint = Endpoint::open(&admission, config.clone()).unwrap();
            let peer_address = serde_json::to_vec(&endpoint.peer_address(&members[rank])).unwrap();
            fs::write(path(rank).with_extension("part"), peer_address).unwrap();
            fs::rename(path(rank).with_extension("part"), path(rank)).unwrap();
            endpoint
        })
        .collect();
    let peer_addresses: Vec<PeerAddress> = (0..size)
        .map(|rank| {
            wait_for(&path(rank));
            serde_json::from_slice(&fs::read(path(rank)).unwrap()).unwrap()
        })
        .collect();
    let liveness = Arc::new(Liveness::alone(size));
    let connected = open.into_iter().zip(ranks);
    let connected = connected
        .map(|(endpoint, &rank)| endpoint.connect(rank, peer_addresses.clone(), liveness.clone()).unwrap());
    (connected.collect(), liveness)
}

/// Tells the other processes that this one has come so far.
pub(crate) fn tell(folder: &Path, what: &str) {
    fs::write(folder.join(what), "").unwrap();
}

/// Waits until another process has told so.
pub(crate) fn hear(folder: &Path, what: &str) {
    wait_for(&folder.join(what));
}

fn wait_for(path: &Path) {
    common::until(&format!("{} comes", path.display()), || path.exists());
}
