//! The `efa` command.

fn main() {}
