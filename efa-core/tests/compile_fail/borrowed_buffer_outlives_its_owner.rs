// error: E0597
// says: `local` does not live long enough
pub fn escapes(endpoint: &efa_core::Endpoint) {
    endpoint.scope(|scope| {
        let mut local = [0u8; 64];
        let _ = scope.recv(0, 7u32, &mut local[..]).wait();
    });
}
