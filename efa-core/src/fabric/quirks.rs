//! What differs between providers, and between versions of a provider: [`Quirks`].

use super::{Provider, shm};
use crate::ffi::{self, Info};

/// What has to be done in another way, or besides, with the provider and the libfabric in use. It is worked out once,
/// when an endpoint opens. Nothing else above `ffi` asks which provider or which libfabric it has in order to know what
/// an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quirks {
    /// Sends of fewer bytes are injected: the provider copies them at once and no completion comes. Zero on efa: of an
    /// injected message nobody learns whether it was delivered, and one that fits into the device's send queue
    /// libfabric's provider (1.22 to 2.1 at least) doesn't copy at all: when the receiver has no room the device takes it
    /// once more out of memory that may have changed since. Zero also where messages carry numbers.
    pub inject_below: usize,
    /// Messages carry numbers, by which it is told when some are lost: on a tcp that makes another connection in place of
    /// one that broke, and says nothing.
    pub numbers_messages: bool,
    /// Sends of so many bytes or more are handed over without their registration, so that the provider copies them: see
    /// [`efa_unread_from`].
    pub unread_from: usize,
    /// The provider's receive queue has no end. Were receives held back here, the message at the head of a stream could
    /// be for one of those, and those that the provider has for messages behind it.
    pub takes_all_receives: bool,
    /// A message can be held up by earlier ones of its sender that nobody has received.
    pub holds_back_messages: bool,
    /// Connections that break are reported, or found out by numbers.
    pub loses_connections: bool,
    /// Both sides of a new connection show a proof of membership: tcp with the patches that make it do so.
    pub proves_membership: bool,
    /// Endpoints are files in `/dev/shm`, and their names tell whose they are.
    pub lives_in_files: bool,
    /// A peer can still find an endpoint by its name after all have connected.
    pub looks_up_names: bool,
    /// Closing an endpoint does harm, so it is left to itself instead: see [`shm::is_patched`].
    pub never_closes: bool,
    /// Receives have to be withdrawn, and peers removed, before an endpoint closes: see `endpoint::engine::closing`.
    pub withdraws_receives: bool,
    /// The provider reports failures of its own traffic as events of the endpoint, and a status of the device with each
    /// failure.
    pub reports_device_status: bool,
    /// The provider refuses a write with immediate data to oneself: libfabric's efa provider 2.1 has not shaken hands with
    /// itself.
    pub refuses_immediate_to_self: bool,
    /// The provider crashes over an operation that it carries out itself on memory that is not registered: efa (1.22 to
    /// 2.1 at least; `efa-closed-region` mends the built-in 1.22).
    pub looks_into_closed_regions: bool,
}

/// From this length on the receiver's device reads a message out of the sender's registered memory, where it can:
/// `FI_EFA_INTER_MIN_READ_MESSAGE_SIZE`.
const EFA_READ_FROM: usize = 1 << 20;

/// From how many bytes on libfabric's efa provider has to copy a message: a receiver whose buffer is too short crashes
/// when it is to be read (1.22 to 2.1 at least; `efa-truncated-long-message` mends the built-in 1.22). Nothing tells the
/// receiver in time, so it is up to the sender.
fn efa_unread_from() -> usize {
    if ffi::has_patch("efa-truncated-long-message") {
        return usize::MAX;
    }
    let set = std::env::var("FI_EFA_INTER_MIN_READ_MESSAGE_SIZE").ok();
    set.and_then(|text| text.trim().parse().ok()).map_or(EFA_READ_FROM, |set: usize| set.min(EFA_READ_FROM))
}

/// Whether this libfabric's tcp provider asks for proofs and reports broken connections.
fn tcp_is_patched() -> bool {
    ["tcp-connection-loss", "tcp-connection-secret", "tcp-refused-access"].into_iter().all(ffi::has_patch)
}

impl Quirks {
    /// Works out the quirks of a provider's offer.
    pub(crate) fn of(provider: Provider, info: &Info) -> Self {
        let (is_efa, is_shm, is_tcp) =
            (provider == Provider::Efa, provider == Provider::Shm, provider == Provider::Tcp);
        let numbers_messages =
            is_tcp && !ffi::has_patch("tcp-connection-loss") && info.immediate_size() >= size_of::<u64>();
        Self {
            inject_below: if is_efa || numbers_messages { 0 } else { info.inject_size().saturating_add(1) },
            numbers_messages,
            unread_from: if is_efa { efa_unread_from() } else { usize::MAX },
            takes_all_receives: is_tcp,
            holds_back_messages: is_tcp,
            loses_connections: is_tcp,
            proves_membership: is_tcp && tcp_is_patched(),
            lives_in_files: is_shm,
            looks_up_names: is_shm && !shm::is_patched(),
            never_closes: is_shm && !shm::is_patched(),
            withdraws_receives: is_efa,
            reports_device_status: is_efa,
            refuses_immediate_to_self: is_efa,
            looks_into_closed_regions: is_efa && !ffi::has_patch("efa-closed-region"),
        }
    }

    /// Returns `true` if a send of so many bytes is copied at once.
    #[inline]
    pub(crate) fn injects(&self, bytes: usize) -> bool {
        bytes < self.inject_below
    }
}
