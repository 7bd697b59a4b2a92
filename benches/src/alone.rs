//! An endpoint whose only peer is itself: both sides of a message in one thread, the same every time.

use efa_core::admission::{Policy, source};
use efa_core::fabric::Provider;
use efa_core::{Endpoint, EndpointConfig, Result};

/// Opens such an endpoint on this machine.
///
/// # Errors
/// When this machine isn't admitted, or has no such provider.
pub fn endpoint(provider: Provider) -> Result<Endpoint> {
    let members = [source::of_this_machine(0, None)?];
    let lookup = source::look_up(&members, None)?;
    let admission = lookup.evaluate(&members, &Policy::default()).admit()?;
    Endpoint::alone(&admission, EndpointConfig::default().provider(provider))
}
