// error: E0277
// says: BufMut` is not satisfied
pub fn receives(endpoint: &efa_core::Endpoint, shared: std::sync::Arc<[u8]>) {
    let _ = endpoint.recv(0, 7u32, shared).wait();
}
