//! The checked-in bindings are what bindgen makes of the vendored headers. `ci/bindings` runs this test to
//! compare them, and to bring them up to date.
#![cfg(feature = "buildtime_bindgen")]

use std::fs;
use std::path::Path;

/// Set to write the checked-in file instead of comparing with it.
const UPDATE: &str = "EFA_SYS_UPDATE_BINDINGS";

#[test]
fn the_checked_in_bindings_are_up_to_date() {
    let generated = include_str!(concat!(env!("OUT_DIR"), "/bindings.rs"));
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bindings.rs");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&checked_in, generated).expect("the checked-in file can be written");
    }
    let current = fs::read_to_string(&checked_in).expect("the checked-in file can be read");
    assert!(current == generated, "{} is not what bindgen makes now: run ci/bindings", checked_in.display());
}
