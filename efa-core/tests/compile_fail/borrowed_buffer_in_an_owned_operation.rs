// error: E0597
// says: `local` does not live long enough
pub fn escapes(endpoint: &efa_core::Endpoint) -> efa_core::Op<&'static mut [u8]> {
    let mut local = [0u8; 64];
    endpoint.recv(0, 7u32, &mut local[..])
}
