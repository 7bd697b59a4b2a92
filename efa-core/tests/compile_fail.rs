//! Misuse that must not compile: each program in `compile_fail/` does, and must fail for the reason in its first lines.
//!
//! The programs are compiled against the very library that this test was built with. The error's code and a fragment
//! of its text are compared, not all of it, since compilers change their wording.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where cargo put the library and this program.
fn artifacts() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

/// Compiles a program against a build of the library; what the compiler says, or none if it is content.
fn compile(program: &Path, library: &Path) -> Option<String> {
    // Not to /dev/null: as root, the compiler would put a file in its place.
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"])
        .arg(folder.path())
        .arg("--extern")
        .arg(format!("efa_core={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", artifacts().display()))
        .arg(program)
        .output()
        .expect("there is a Rust compiler");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The build of the library that fits this compiler: the newest that the control program compiles with.
fn library(control: &Path) -> PathBuf {
    let mut builds: Vec<_> = fs::read_dir(artifacts())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("libefa_core-") && name.ends_with(".rlib")
        })
        .collect();
    builds.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().modified().unwrap()));
    let mut refusals = Vec::new();
    for build in builds {
        match compile(control, &build) {
            None => return build,
            Some(refusal) => refusals.push(refusal),
        }
    }
    panic!("the control program compiles with no build of the library:\n{}", refusals.join("\n"));
}

/// What a program's first lines say about a key.
fn notes<'a>(program: &'a str, key: &str) -> Vec<&'a str> {
    let prefix = format!("// {key}: ");
    program.lines().filter_map(|line| line.strip_prefix(prefix.as_str())).collect()
}

#[test]
fn misuse_does_not_compile_and_for_the_right_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let control = folder.join("control.rs");
    let library = library(&control);
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path == control {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let codes: Vec<_> = notes(&text, "error").into_iter().flat_map(str::split_whitespace).collect();
        let says = notes(&text, "says");
        assert!(!codes.is_empty() && !says.is_empty(), "{} names no reason", path.display());
        let Some(complaint) = compile(&path, &library) else { panic!("{} compiles", path.display()) };
        let errors: Vec<_> = complaint
            .lines()
            .filter(|line| line.starts_with("error") && !line.starts_with("error: aborting"))
            .collect();
        // Some errors, those about lifetimes, have no code.
        let right_code = codes.iter().any(|code| match *code {
            "none" => errors[0].starts_with("error: "),
            code => errors[0].starts_with(&format!("error[{code}]")),
        });
        let right_text = says.iter().any(|fragment| complaint.contains(fragment));
        if !(right_code && right_text && errors.len() == 1) {
            wrong.push(format!("{} fails for another reason:\n{complaint}", path.display()));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 10, "only {seen} programs were found");
}
