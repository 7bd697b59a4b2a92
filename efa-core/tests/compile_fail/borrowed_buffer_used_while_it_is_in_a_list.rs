// error: E0506 E0503
// says: borrowed
pub fn uses(endpoint: &efa_core::Endpoint) {
    let mut local = [0u8; 64];
    endpoint.scope(|scope| {
        let pending = [scope.recv(0, 7u32, &mut local[..]).without_buffer()];
        efa_core::endpoint::wait_all(&pending);
        // Over, but the scope has the buffer still.
        local[0] = 1;
    });
}
