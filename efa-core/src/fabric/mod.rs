//! What the machine offers: libfabric, its providers, their devices and limits.

mod library;
mod offer;
mod quirks;
mod shm;
mod signals;

pub use efa_admission::{Provider, ProviderChoice};
pub use library::{Library, SkippedLibrary};
pub use offer::{Limits, Offer, library, offers};
pub(crate) use offer::{available, device_count, find, is_emulated};
pub(crate) use quirks::Quirks;
pub use shm::remove_stale_files;
pub(crate) use shm::{Owner, is_patched as shm_is_patched};
pub(crate) use shm::{check_file_limit, endpoint_name, has_name, remove_name};
pub(crate) use signals::keeping_signal_handlers;
