// The right way to do all that the programs beside this one do wrong. It must compile.
use efa_core::admission::{self, Facts, Policy, SecurityGroups};
use efa_core::endpoint::{AnyBuffer, wait_all, wait_any};
use efa_core::{Endpoint, EndpointConfig, Op, Result};

pub fn opens_with_admission(facts: &[Facts]) -> Result<Endpoint> {
    let report = admission::evaluate(facts, &SecurityGroups::none(), &Policy::strict());
    Endpoint::alone(&report.admit()?, EndpointConfig::default())
}

pub fn borrows_within_a_scope(endpoint: &Endpoint) -> Result<()> {
    let mut local = [0u8; 64];
    endpoint.scope(|scope| scope.recv(0, 7u32, &mut local[..]).wait().map(drop))?;
    endpoint.recv_blocking(0, 7u32, &mut local)?;
    Ok(())
}

pub fn uses_the_buffer_afterwards(endpoint: &Endpoint) -> Result<u8> {
    let (_, mut buffer) = endpoint.recv(0, 7u32, vec![0u8; 64]).wait()?;
    buffer[0] = 1;
    Ok(buffer[0])
}

pub fn keeps_buffers_of_different_types_in_one_list(endpoint: &Endpoint) -> Result<()> {
    let mut pending: Vec<Op<AnyBuffer>> = Vec::new();
    pending.push(endpoint.send(0, 7u32, vec![1u8]).into_any());
    pending.push(endpoint.recv(0, 7u32, vec![1f32]).into_any());
    while let Some(place) = wait_any(&pending) {
        pending.swap_remove(place).wait()?;
    }
    Ok(())
}

pub fn lists_what_is_borrowed_within_its_scope(endpoint: &Endpoint) -> Result<()> {
    let (mut bytes, mut words) = ([0u8; 64], [0u32; 64]);
    endpoint.scope(|scope| {
        let pending = [
            scope.recv(0, 7u32, &mut bytes[..]).without_buffer(),
            scope.recv(0, 8u32, &mut words[..]).without_buffer(),
        ];
        wait_all(&pending);
    });
    bytes[0] = 1;
    Ok(())
}
