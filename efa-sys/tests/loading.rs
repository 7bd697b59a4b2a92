//! The choice of a libfabric in real processes, with stub libraries that a C compiler makes. A process chooses once, so
//! each case runs [`report`] in a process of its own.
#![cfg(feature = "vendored")]

use std::env;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use efa_sys::{
    BINDINGS_VERSION, FI_ENOSYS, FI_PROV_ATTR_ONLY, INCLUDE_DIR, Library, Place, fi_freeinfo, fi_getinfo,
    fi_major, fi_minor, library,
};
use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use tempfile::TempDir;

/// Names a library that [`report`] loads before it calls any function of this crate.
const LOADED_BEFORE: &str = "EFA_TEST_LOADED_BEFORE";

/// What [`report`] puts before each line.
const MARK: &str = "report: ";

/// A library with libfabric's functions, of some version and with one provider.
const STUB: &str = "
    #include <stdlib.h>
    #include <string.h>
    #include <rdma/fabric.h>
    uint32_t fi_version(void) { return VERSION; }
    struct fi_info *fi_dupinfo(const struct fi_info *info) { return calloc(1, sizeof *info); }
    void fi_freeinfo(struct fi_info *info) { free(info->fabric_attr->prov_name); free(info->fabric_attr); free(info); }
    int fi_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags,
                   const struct fi_info *hints, struct fi_info **info) {
        *info = calloc(1, sizeof **info);
        (*info)->fabric_attr = calloc(1, sizeof *(*info)->fabric_attr);
        (*info)->fabric_attr->prov_name = strdup(PROVIDER);
        return 0;
    }
    int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context) { return -FI_ENOSYS; }
    const char *fi_strerror(int number) { return \"stub\"; }
    char *fi_tostr(const void *data, enum fi_type type) { return 0; }
    char *fi_tostr_r(char *buf, size_t len, const void *data, enum fi_type type) { return 0; }
    int fi_getparams(struct fi_param **params, int *count) { return -FI_ENOSYS; }
    #ifndef INCOMPLETE
    void fi_freeparams(struct fi_param *params) {}
    #endif
";

/// A folder with a shared library `libfabric.so.1`, compiled from `source` with these definitions.
fn compiled(source: &str, definitions: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let (text, target) = (folder.path().join("stub.c"), folder.path().join("libfabric.so.1"));
    std::fs::write(&text, source).expect("a scratch file");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let output = Command::new(&compiler)
        .args([
            "-shared",
            "-fPIC",
            "-w",
            "-Wl,-soname,libfabric.so.1",
            "-include",
            "rdma/fi_errno.h",
            "-I",
            INCLUDE_DIR,
        ])
        .args(definitions.iter().map(|definition| format!("-D{definition}")))
        .args([&text, Path::new("-o"), &target])
        .output()
        .unwrap_or_else(|error| panic!("cannot start {compiler}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

fn stub(version: &str, provider: &str) -> TempDir {
    compiled(STUB, &[&format!("VERSION=FI_VERSION({version})"), &format!("PROVIDER=\"{provider}\"")])
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("libfabric.so.1").canonicalize().expect("the stub")
}

/// Runs [`report`] in a process with these variables and returns what it printed.
fn reported(variables: &[(&str, &str)]) -> String {
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "--nocapture", "report"])
        .env_remove("EFA_LIBFABRIC")
        .env_remove("EFA_EMULATOR_JOB")
        .env_remove("FI_PROVIDER")
        .envs(variables.iter().copied())
        .output()
        .expect("this program starts again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().filter_map(|line| Some(line.split_once(MARK)?.1.to_owned() + "\n")).collect()
}

/// As on a host with an EFA: an emulated device counts as one.
const WITH_EFA: (&str, &str) = ("EFA_EMULATOR_JOB", "a job");

#[test]
#[ignore = "runs in a process of its own, for the other tests"]
fn report() {
    if let Some(path) = env::var_os(LOADED_BEFORE) {
        // SAFETY: the library is a stub or a libfabric, whose code does nothing when it is loaded.
        let other = unsafe { Handle::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.expect("the other library");
        std::mem::forget(other);
    }
    match library() {
        Ok(Library { place, version, reason, skipped }) => {
            let (place, file) = match place {
                Place::BuiltIn(file) => ("built-in", file),
                Place::File(file) => ("file", file),
            };
            println!("{MARK}{place} {}.{} {}", fi_major(*version), fi_minor(*version), file.display());
            println!("{MARK}reason: {reason:?}");
            skipped.iter().for_each(|skipped| println!("{MARK}skipped {skipped}"));
        }
        Err(unusable) => println!("{MARK}error: {unusable}"),
    }
    let mut list = ptr::null_mut();
    // SAFETY: no hints are given, and the version is one that these bindings describe.
    let status = unsafe {
        fi_getinfo(BINDINGS_VERSION, ptr::null(), ptr::null(), FI_PROV_ATTR_ONLY, ptr::null(), &mut list)
    };
    if library().is_err() {
        assert_eq!(status, -FI_ENOSYS);
        return;
    }
    assert_eq!(status, 0);
    let mut info = list;
    while !info.is_null() {
        // SAFETY: every element of the list has these attributes, and the name is a string.
        unsafe {
            println!("{MARK}provider {}", CStr::from_ptr((*(*info).fabric_attr).prov_name).to_string_lossy());
            info = (*info).next;
        }
    }
    // SAFETY: the list came from `fi_getinfo` and is freed once.
    unsafe { fi_freeinfo(list) };
}

/// Whether this host has RDMA devices, of which one may be an EFA: then the choice without variables is another.
fn has_devices() -> bool {
    std::fs::read_dir("/sys/class/infiniband").is_ok_and(|mut devices| devices.next().is_some())
}

#[test]
fn the_built_in_library_is_used_where_nothing_else_is_asked_for() {
    if has_devices() {
        return;
    }
    let text = reported(&[]);
    let program = env::current_exe().expect("this program");
    assert!(text.starts_with(&format!("built-in 1.22 {}\nreason: NoEfa\n", program.display())), "{text}");
    assert!(text.contains("provider tcp\n") && text.contains("provider shm\n"), "{text}");
    let named = reported(&[("EFA_LIBFABRIC", "builtin")]);
    assert!(named.starts_with("built-in 1.22 ") && named.contains("reason: Named\n"), "{named}");
}

#[test]
fn the_library_that_the_variable_names_is_used() {
    let stub = stub("2,1", "tcp");
    let file = file(&stub);
    let text = reported(&[("EFA_LIBFABRIC", &file.to_string_lossy())]);
    assert_eq!(text, format!("file 2.1 {}\nreason: Named\nprovider tcp\n", file.display()));
}

#[test]
fn a_library_that_the_variable_names_and_that_can_not_be_used_is_an_error_and_nothing_takes_its_place() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let text = scratch.path().join("text.so");
    std::fs::write(&text, "no library\n").expect("a scratch file");
    let foreign = compiled("int something(void) { return 0; }", &[]);
    let old = stub("1,17", "tcp");
    let incomplete = compiled(STUB, &["VERSION=FI_VERSION(2,1)", "PROVIDER=\"tcp\"", "INCOMPLETE"]);
    let missing = scratch.path().join("missing.so");
    let cases = [
        (missing, "cannot open shared object file: No such file or directory"),
        (scratch.path().into(), "it is a folder; name the file libfabric.so.1 in it"),
        (text, "file too short"),
        (file(&foreign), "it is no libfabric, or an incomplete one: it has no function fi_getinfo"),
        (file(&incomplete), "it has no function fi_freeparams"),
        (file(&old), "it is version 1.17, and 1.22 is the oldest that works"),
    ];
    for (named, why) in cases {
        let named = named.to_string_lossy();
        for has_efa in [false, true] {
            let variables = [("EFA_LIBFABRIC", &*named), WITH_EFA];
            let text = reported(&variables[..1 + usize::from(has_efa)]);
            assert!(text.starts_with(&format!("error: {named}: ")) && text.contains(why), "{named}: {text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}

#[test]
fn on_a_host_with_an_efa_the_systems_library_is_used_if_it_can_be() {
    let searched = |folder: &TempDir| {
        let path = folder.path().to_string_lossy().into_owned();
        reported(&[("LD_LIBRARY_PATH", &path), WITH_EFA])
    };
    if Path::new("/opt/amazon/efa").exists() {
        // AWS's comes first.
        return;
    }
    let efa = stub("2,1", "efa");
    let text = searched(&efa);
    assert!(text.contains("libfabric.so.1\nreason: System\n"), "{text}");
    assert!(
        text.starts_with("file 2.1 ") && text.contains("skipped /opt/amazon/efa/lib64/libfabric.so.1: "),
        "{text}"
    );
    assert!(text.ends_with("provider efa\n"), "{text}");
    for (folder, why) in
        [(stub("2,1", "tcp"), "it has no efa provider"), (stub("1,17", "efa"), "it is version 1.17")]
    {
        let text = searched(&folder);
        assert!(text.starts_with("built-in ") && text.contains("reason: OthersUnfit\n"), "{text}");
        assert!(text.contains(&format!("skipped libfabric.so.1: {why}")), "{text}");
    }
}

#[test]
fn a_list_of_providers_without_efa_is_named_as_the_reason_why_a_library_is_passed_over() {
    if Path::new("/opt/amazon/efa").exists() {
        return;
    }
    let without_efa = stub("2,1", "tcp");
    let path = without_efa.path().to_string_lossy().into_owned();
    for (list, why) in [
        ("shm,tcp", "FI_PROVIDER=shm,tcp leaves its efa provider out"),
        ("^efa", "FI_PROVIDER=^efa leaves its efa provider out"),
        ("tcp,efa", "it has no efa provider"),
    ] {
        let text = reported(&[("LD_LIBRARY_PATH", &path), ("FI_PROVIDER", list), WITH_EFA]);
        assert!(text.contains(&format!("skipped libfabric.so.1: {why}")), "{list}: {text}");
    }
}

#[test]
fn a_library_that_the_process_has_loaded_is_used_where_an_efa_would_be() {
    let other = stub("2,1", "efa");
    let file = file(&other);
    let before = (LOADED_BEFORE, &*file.to_string_lossy());
    let text = reported(&[before, WITH_EFA]);
    assert_eq!(text, format!("file 2.1 {}\nreason: Loaded\nprovider efa\n", file.display()));
    if has_devices() {
        return;
    }
    // Without an EFA both are in the process, and neither gets the other's calls.
    let text = reported(&[before]);
    assert!(text.starts_with("built-in 1.22 ") && text.contains("provider tcp\n"), "{text}");
    assert!(!text.contains("provider efa\n"), "{text}");
}

#[test]
fn no_second_library_opens_an_efa() {
    let (loaded, named) = (stub("1,17", "efa"), stub("2,1", "efa"));
    let (loaded, named) = (file(&loaded), file(&named));
    let before = (LOADED_BEFORE, &*loaded.to_string_lossy());
    let text = reported(&[before, WITH_EFA, ("EFA_LIBFABRIC", &named.to_string_lossy())]);
    assert!(text.starts_with("error: ") && text.contains("both would open the EFA"), "{text}");
    let text = reported(&[
        before,
        WITH_EFA,
        ("LD_LIBRARY_PATH", &named.parent().expect("a folder").to_string_lossy()),
    ]);
    assert!(text.contains(&format!("{}: it is version 1.17", loaded.display())), "{text}");
    assert!(!text.contains("file 2.1"), "{text}");
}

/// The test programs are linked with `-rdynamic`, so that what is not hidden would be found.
#[test]
fn the_functions_of_the_built_in_library_are_hidden() {
    library().expect("a library");
    // With and without the mark that libfabric's sources give what they export.
    for name in [c"fi_getinfo", c"fi_getinfo_", c"fi_freeinfo_", c"fi_fabric_", c"fi_version_", c"fi_log_"] {
        // SAFETY: any name is allowed.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        assert!(found.is_null(), "{name:?} can be found in this process");
    }
}
