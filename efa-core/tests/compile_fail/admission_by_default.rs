// error: E0277
// says: the trait bound `Admission: Default` is not satisfied
pub fn forges() -> efa_core::admission::Admission {
    fn make<T: Default>() -> T {
        T::default()
    }
    make()
}
