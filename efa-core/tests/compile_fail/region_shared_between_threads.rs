// error: E0277
// says: cannot be shared between threads safely
pub fn shares(region: &efa_core::memory::Region<u64>) {
    std::thread::scope(|scope| drop(scope.spawn(|| region.copy_in(0, &[1]))));
}
