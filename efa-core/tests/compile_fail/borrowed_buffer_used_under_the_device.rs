// error: E0506 E0503
// says: `local[_]`
pub fn touches(endpoint: &efa_core::Endpoint) {
    let mut local = [0u8; 64];
    endpoint.scope(|scope| {
        let receive = scope.recv(0, 7u32, &mut local[..]);
        local[0] = 1;
        let _ = receive.wait();
    });
}
