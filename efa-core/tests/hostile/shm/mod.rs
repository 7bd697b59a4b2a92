//! Shared memory: peers that close, stop or die in the middle of something, and libfabric's shm provider, which then
//! touches what it should not.
//!
//! The tests are about that provider alone, and do nothing where `EFA_TEST_PROVIDER` names another.

mod closing;
mod died;
mod planted;
pub(crate) mod process;
mod signals;
mod transfers;
mod unmapped;

use std::time::Duration;

use efa_core::EndpointConfig;
use efa_core::fabric::Provider;

use super::{again, common};

/// A message that is copied out of its sender's memory, or goes in segments: many times what the provider buffers.
const LONG: usize = 1 << 20;

/// Whether the tests here concern the provider under test.
fn is_ours() -> bool {
    common::provider() == Provider::Shm
}

/// A configuration with which what nobody answers ends soon.
fn impatient() -> EndpointConfig {
    common::config().timeout(Duration::from_millis(500))
}
