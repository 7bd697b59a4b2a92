// error: none E0597 E0515
// says: lifetime may not live long enough
// says: `local` does not live long enough
pub fn escapes(endpoint: &efa_core::Endpoint) {
    let mut local = [0u8; 64];
    let escaped = endpoint.scope(|scope| scope.recv(0, 7u32, &mut local[..]));
    drop(escaped);
}
