//! The modules of the emulator import one another in one direction. The C structures name one another, and so do the calls
//! that take them, and a job cleans up after itself: `abi`, `job` and `verbs` count as one module each.

#[path = "../../efa-cli/tests/imports/graph.rs"]
mod graph;

#[test]
fn imports_have_no_circle() {
    graph::assert_no_circle(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &["abi", "job", "verbs"],
    );
}
