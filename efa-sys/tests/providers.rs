//! The library that was chosen answers, and has the providers it should have.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::ptr;

use efa_sys::{
    BINDINGS_VERSION, FI_EAGAIN, FI_SUCCESS, fi_freeinfo, fi_getinfo, fi_info, fi_strerror, fi_version,
    library,
};

#[test]
fn the_version_of_the_chosen_library_is_the_one_that_answers() {
    // SAFETY: takes no arguments and has no preconditions.
    let version = unsafe { fi_version() };
    assert!(version >= BINDINGS_VERSION);
    assert_eq!(library().expect("a library").version, version);
}

#[test]
fn error_numbers_have_words() {
    // SAFETY: any number is allowed; the answer is a static string.
    let words = unsafe { CStr::from_ptr(fi_strerror(FI_EAGAIN)) };
    assert_eq!(words.to_str(), Ok("Resource temporarily unavailable"));
}

#[test]
fn tcp_and_shm_are_there() {
    let providers = providers();
    for name in ["tcp", "shm"] {
        assert!(providers.contains(name), "no {name} among {providers:?}");
    }
}

#[cfg(feature = "vendored")]
fn is_built_in() -> bool {
    matches!(library().expect("a library").place, efa_sys::Place::BuiltIn(_))
}

#[cfg(feature = "vendored")]
#[test]
fn the_built_in_library_has_what_it_was_built_with() {
    if !is_built_in() {
        return;
    }
    let providers = providers();
    for name in ["tcp", "shm", "sockets", "tcp;ofi_rxm"] {
        assert!(providers.contains(name), "no {name} among {providers:?}");
    }
}

/// Without a device the provider keeps quiet; but its library is loaded only because its code refers to it.
#[cfg(feature = "vendored-efa")]
#[test]
fn the_built_in_library_has_the_efa_provider() {
    if !is_built_in() {
        return;
    }
    providers();
    let mapped = std::fs::read_to_string("/proc/self/maps").expect("Linux has it");
    assert!(mapped.contains("/libefa.so"), "libefa is not loaded");
}

/// The names of all providers that `fi_getinfo` lists when asked for nothing in particular.
fn providers() -> BTreeSet<String> {
    let mut list: *mut fi_info = ptr::null_mut();
    // SAFETY: no hints are given; the version is one that these bindings describe.
    let status = unsafe {
        let version = fi_version().min(BINDINGS_VERSION);
        fi_getinfo(version, ptr::null(), ptr::null(), 0, ptr::null(), &raw mut list)
    };
    assert_eq!(status, FI_SUCCESS);
    let mut names = BTreeSet::new();
    let mut info = list;
    while !info.is_null() {
        // SAFETY: libfabric fills the list and the attributes of each entry.
        let name = unsafe { CStr::from_ptr((*(*info).fabric_attr).prov_name) };
        names.insert(name.to_str().expect("provider names are ASCII").to_owned());
        // SAFETY: as above.
        info = unsafe { (*info).next };
    }
    // SAFETY: the list came from `fi_getinfo` and is not used any more.
    unsafe { fi_freeinfo(list) };
    names
}
