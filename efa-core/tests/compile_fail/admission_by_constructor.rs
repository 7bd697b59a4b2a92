// error: E0624
// says: associated function `new` is private
pub fn forges() {
    let _ = efa_core::admission::Admission::new(todo!(), todo!(), todo!());
}
