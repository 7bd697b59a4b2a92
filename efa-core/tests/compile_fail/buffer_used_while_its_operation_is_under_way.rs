// error: E0382
// says: borrow of moved value: `buffer`
pub fn touches(endpoint: &efa_core::Endpoint) {
    let mut buffer = vec![0u8; 64];
    let receive = endpoint.recv(0, 7u32, buffer);
    buffer[0] = 1;
    let _ = receive.wait();
}
