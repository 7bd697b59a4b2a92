// error: E0277
// says: Pod` is not satisfied
pub fn sends(endpoint: &efa_core::Endpoint) {
    let _ = endpoint.send(0, 7u32, vec![String::new()]).wait();
}
