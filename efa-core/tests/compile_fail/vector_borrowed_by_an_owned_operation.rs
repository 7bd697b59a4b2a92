// error: E0277
// says: pass a slice (`&x[..]`) to a blocking call such as `send_blocking`
pub fn sends(endpoint: &efa_core::Endpoint, data: &'static Vec<f32>) {
    let _ = endpoint.send(0, 7u32, data);
}
