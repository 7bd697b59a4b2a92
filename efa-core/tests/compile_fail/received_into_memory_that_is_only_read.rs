// error: E0277
// says: the device cannot write into `Arc<[u8]>`
pub fn receives(endpoint: &efa_core::Endpoint, shared: std::sync::Arc<[u8]>) {
    let _ = endpoint.recv(0, 7u32, shared).wait();
}
