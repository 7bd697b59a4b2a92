//! `efa` built without libfabric: it judges what files describe, and says what it lacks.

#![cfg(not(feature = "libfabric"))]

use std::process::{Command, Output};

fn efa(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_efa")).args(arguments).output().expect("efa starts")
}

#[test]
fn what_needs_libfabric_is_refused_and_says_how_to_get_it() {
    let commands: [&[&str]; 8] = [
        &["info"],
        &["info", "--json"],
        &["run", "-n", "2", "--", "true"],
        &["bench", "all-reduce", "--sizes", "8:8"],
        &["bench", "--help"],
        &["doctor"],
        &["doctor", "--provider", "efa", "--json"],
        &["doctor", "--watch", "1"],
    ];
    for command in commands {
        let output = efa(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(output.stdout.is_empty(), "{command:?}");
        for words in [command[0], "built without libfabric", "cargo install --path efa-cli"] {
            let words = if words == "doctor" { "--members" } else { words };
            assert!(said.contains(words), "{command:?}: '{words}' is missing in {said}");
        }
    }
}

#[test]
fn the_help_says_which_commands_are_not_in_this_build() {
    let output = efa(&["--help"]);
    let help = String::from_utf8_lossy(&output.stdout);
    assert_eq!(help.matches("(not in this build)").count(), 3, "{help}");
}
