// The right way to do all that the programs beside this one do wrong. It must compile.
use efa_core::admission::{self, Facts, Policy, SecurityGroups};
use efa_core::{Endpoint, EndpointConfig, Result};

pub fn opens_with_admission(facts: &[Facts]) -> Result<Endpoint> {
    let report = admission::evaluate(facts, &SecurityGroups::none(), &Policy::strict());
    Endpoint::alone(&report.admit()?, EndpointConfig::default())
}

pub fn borrows_within_a_scope(endpoint: &Endpoint) -> Result<()> {
    let mut local = [0u8; 64];
    endpoint.scope(|scope| scope.recv(0, 7u32, &mut local[..]).wait().0)?;
    endpoint.recv_blocking(0, 7u32, &mut local)?;
    Ok(())
}

pub fn uses_the_buffer_afterwards(endpoint: &Endpoint) -> Result<u8> {
    let (result, mut buffer) = endpoint.recv(0, 7u32, vec![0u8; 64]).wait();
    result?;
    buffer[0] = 1;
    Ok(buffer[0])
}
