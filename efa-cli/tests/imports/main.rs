//! The modules of the command import one another in one direction.

mod graph;

#[test]
fn imports_have_no_circle() {
    graph::assert_no_circle(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[]);
}
