// error: E0277
// says: Pod` is not satisfied
pub fn sends(endpoint: &efa_core::Endpoint) -> efa_core::Result<()> {
    endpoint.send_blocking(0, 7u32, &[&1u8])
}
