// error: none
// says: cannot construct `Admission` with struct literal syntax due to private fields
pub fn forges() -> efa_core::admission::Admission {
    efa_core::admission::Admission {}
}
