//! Finds or builds libfabric.

fn main() {}
