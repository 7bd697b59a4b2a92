//! Patches to the vendored libfabric: they apply exactly, or the build stops.

#[path = "../build/patches.rs"]
mod patches;

use std::fs;
use std::path::Path;

use efa_sys::{Library, Place};

const SOURCE: &str = "one\ntwo\nthree\nfour\nfive\n";

/// A folder with a source file and one patch; returns what `apply_all` says and what became of the file.
fn patched(patch: &str) -> (Result<Vec<String>, String>, String) {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let [sources, copy, folder] = ["sources", "copy", "patches"].map(|name| scratch.path().join(name));
    fs::create_dir_all(sources.join("src")).expect("a scratch folder");
    fs::create_dir(&folder).expect("a scratch folder");
    fs::write(sources.join("src/numbers.c"), SOURCE).expect("a scratch file");
    fs::write(folder.join("shm-numbers.patch"), patch).expect("a scratch file");
    fs::write(folder.join("README.md"), "not a patch").expect("a scratch file");
    let applied = patches::apply_all(&sources, &copy, &folder);
    assert_eq!(fs::read_to_string(sources.join("src/numbers.c")).expect("the source"), SOURCE);
    (applied, fs::read_to_string(copy.join("src/numbers.c")).expect("the copy"))
}

fn change(file: &str, removed: &str, context: &str) -> String {
    format!(
        "What it mends.\n\n--- a/{file}\n+++ b/{file}\n@@ -2,3 +2,3 @@\n two\n-{removed}\n+3\n {context}\n"
    )
}

#[test]
fn a_patch_changes_the_copy_and_not_the_source() {
    let (applied, copy) = patched(&change("src/numbers.c", "three", "four"));
    assert_eq!(applied, Ok(vec!["shm-numbers".to_owned()]));
    assert_eq!(copy, SOURCE.replace("three", "3"));
}

#[test]
fn a_patch_that_does_not_apply_is_refused_by_name() {
    for (removed, context) in [("drei", "four"), ("three", "vier")] {
        let error = patched(&change("src/numbers.c", removed, context)).0.unwrap_err();
        assert!(error.contains("shm-numbers.patch does not apply: src/numbers.c"), "{error}");
    }
}

#[test]
fn a_patch_of_a_file_that_is_not_there_is_refused() {
    for file in ["src/letters.c", "../outside.c", "/etc/passwd"] {
        let error = patched(&change(file, "three", "four")).0.unwrap_err();
        assert!(error.contains("shm-numbers.patch does not apply"), "{error}");
    }
}

#[test]
fn a_patch_without_a_change_is_refused() {
    for text in ["", "no change in here\n"] {
        let error = patched(text).0.unwrap_err();
        assert!(error.contains("shm-numbers.patch does not apply"), "{error}");
    }
}

#[test]
fn every_patch_says_what_it_mends_and_which_test_shows_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("patches");
    for entry in fs::read_dir(folder).expect("the folder of patches") {
        let file = entry.expect("an entry").path();
        if file.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a patch in UTF-8");
        let header = text.split("\n--- ").next().unwrap_or_default();
        for field in ["Defect:", "Upstream:", "Test:"] {
            assert!(header.lines().any(|line| line.starts_with(field)), "{}: no {field}", file.display());
        }
    }
}

#[test]
fn the_library_knows_its_patches_by_name() {
    let is_built_in = matches!(efa_sys::library(), Ok(Library { place: Place::BuiltIn(_), .. }));
    for name in efa_sys::PATCHES.split_whitespace() {
        assert_eq!(efa_sys::has_patch(name), is_built_in, "{name}");
        assert!(!efa_sys::has_patch(&name[1..]), "{name}");
    }
    assert!(!efa_sys::has_patch("no-such-patch") && !efa_sys::has_patch(""));
}
