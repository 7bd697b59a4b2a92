// error: E0061
// says: argument #1 of type `&Admission` is missing
pub fn opens() {
    let _ = efa_core::Endpoint::open(efa_core::EndpointConfig::default());
}
