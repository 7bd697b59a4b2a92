// error: E0308
// says: expected `u8`, found `f32`
// Op::into_any gives both one type: see control.rs.
pub fn keeps(endpoint: &efa_core::Endpoint) {
    let _ = [endpoint.send(1, 7u32, vec![1u8]), endpoint.recv(1, 7u32, vec![1f32])];
}
