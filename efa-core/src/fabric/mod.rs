//! What the machine offers: libfabric, its providers, their devices and limits.

mod offer;
mod provider;
mod shm;
mod signals;

pub use offer::{Limits, Offer, library, offers};
pub(crate) use offer::{available, device_count, find, is_emulated};
pub use provider::{Library, Provider, ProviderChoice};
pub use shm::remove_stale_files;
pub(crate) use shm::{IS_PATCHED as SHM_IS_PATCHED, Owner};
pub(crate) use shm::{check_file_limit, endpoint_name, has_name, remove_name};
pub(crate) use signals::keeping_signal_handlers;
