//! The choice among the four ways to libfabric, and the floor on its version.

#[path = "../build/locate.rs"]
mod locate;

use std::fs;
use std::path::{Path, PathBuf};

use locate::{
    Choice, FLOOR, Surroundings, Version, check_floor, choose, explain, inspect, version_in_header,
};

/// A folder with headers of the given version, and a shared library in `library`, if one is named.
fn installation(folder: &Path, version: &str, library: Option<&str>) {
    let mut numbers = version.split('.');
    let mut line = |name| format!("#define {name} {}\n", numbers.next().expect("three numbers"));
    let header = line("FI_MAJOR_VERSION") + &line("FI_MINOR_VERSION") + &line("FI_REVISION_VERSION");
    fs::create_dir_all(folder.join("include/rdma")).expect("a scratch folder");
    fs::write(folder.join("include/rdma/fabric.h"), header).expect("a scratch folder");
    if let Some(library) = library {
        fs::create_dir_all(folder.join(library)).expect("a scratch folder");
        fs::write(folder.join(library).join("libfabric.so"), "").expect("a scratch folder");
    }
}

#[test]
fn versions_are_read_as_builders_write_them() {
    let version = |major, minor, revision| Version { major, minor, revision };
    assert_eq!("1.22.0".parse(), Ok(version(1, 22, 0)));
    assert_eq!("2.1".parse(), Ok(version(2, 1, 0)));
    assert_eq!("1.22.0amzn4.0".parse(), Ok(version(1, 22, 0)));
    assert_eq!("2.1.0-1\n".parse(), Ok(version(2, 1, 0)));
    for text in ["", "2", "two.one", "1.", "v1.22.0", "99999999999.1"] {
        assert!(text.parse::<Version>().is_err(), "{text}");
    }
}

#[test]
fn versions_older_than_the_floor_are_refused() {
    assert_eq!(FLOOR.to_string(), "1.22.0");
    for (text, good) in [
        ("1.22.0", true),
        ("1.22.1", true),
        ("1.30.0", true),
        ("2.0.0", true),
        ("1.21.9", false),
        ("0.99.0", false),
    ] {
        let version = text.parse().expect("a version");
        assert_eq!(check_floor(version, "here").is_ok(), good, "{text}");
    }
    let message = check_floor("1.17.0".parse().expect("a version"), "/usr/lib").expect_err("too old");
    assert!(
        message.contains("1.17.0") && message.contains("/usr/lib") && message.contains("1.22"),
        "{message}"
    );
}

#[test]
fn the_header_tells_the_version() {
    let header = "#define FI_MAJOR_VERSION 2\n#define FI_MINOR_VERSION 1\n#define FI_REVISION_VERSION 3\n";
    assert_eq!(version_in_header(header), Some(Version { major: 2, minor: 1, revision: 3 }));
    assert_eq!(version_in_header("#define FI_MAJOR_VERSION 2\n"), None);
    assert_eq!(version_in_header("#define FI_MAJOR_VERSION two\n#define FI_MINOR_VERSION 1\n"), None);
    assert_eq!(version_in_header(""), None);
}

#[test]
fn the_first_way_that_is_there_wins() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let aws_dir = scratch.path().join("efa");
    let choice = |libfabric_dir: Option<&str>, vendored| {
        let libfabric_dir = libfabric_dir.map(PathBuf::from);
        choose(&Surroundings { libfabric_dir, aws_dir: aws_dir.clone(), vendored })
    };
    assert_eq!(choice(None, false), Choice::PkgConfig);
    assert_eq!(choice(None, true), Choice::Vendored);
    assert_eq!(choice(Some(""), true), Choice::Vendored);
    assert_eq!(choice(Some("/missing"), true), Choice::Named("/missing".into()));

    installation(&aws_dir, "1.22.0", Some("lib"));
    assert_eq!(choice(None, false), Choice::Aws(aws_dir.clone()));
    assert_eq!(choice(None, true), Choice::Aws(aws_dir.clone()));
    assert_eq!(choice(Some("/elsewhere"), true), Choice::Named("/elsewhere".into()));
}

#[test]
fn the_library_is_found_where_distributions_put_it() {
    for library in ["lib", "lib64", "lib/x86_64-linux-gnu"] {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        installation(scratch.path(), "2.1.0", Some(library));
        let found = inspect(scratch.path(), "x86_64").expect("an installation");
        assert_eq!(found.library_dir, scratch.path().join(library));
        assert_eq!(found.include_dir, scratch.path().join("include"));
        assert_eq!(found.version.to_string(), "2.1.0");
    }
}

#[test]
fn a_folder_that_can_not_be_used_is_named_with_the_reason() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let refused = |folder: &Path| inspect(folder, "x86_64").expect_err("not usable");
    assert!(refused(scratch.path()).contains("include/rdma/fabric.h"));

    installation(scratch.path(), "1.22.0", None);
    assert!(refused(scratch.path()).contains("libfabric.so"));

    installation(scratch.path(), "1.17.0", Some("lib"));
    let message = refused(scratch.path());
    assert!(
        message.contains("1.17.0") && message.contains(&scratch.path().display().to_string()),
        "{message}"
    );
}

#[test]
fn the_explanation_names_all_four_ways_out() {
    let message = explain("libfabric in /usr/lib is 1.17.0");
    for part in ["1.17.0", "LIBFABRIC_DIR", "/opt/amazon/efa", "feature `vendored`", "pkg-config"] {
        assert!(message.contains(part), "{part} is missing in:\n{message}");
    }
}
