//! The files that this process has loaded as programs and shared libraries.

use std::ffi::{CStr, OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// An object of the process: its file, and the addresses that the object's code and data take.
struct Object {
    /// Empty for the program itself.
    file: PathBuf,
    addresses: Vec<std::ops::Range<usize>>,
}

/// Returns the files of the shared libraries named `libfabric.so…` that the process has loaded.
pub(super) fn loaded_libraries() -> Vec<PathBuf> {
    let is_libfabric = |name: &OsStr| name.as_bytes().starts_with(b"libfabric.so");
    let files = objects().into_iter().map(|object| object.file);
    files.filter(|file| file.file_name().is_some_and(is_libfabric)).collect()
}

/// Returns the file of the program or library that has something at this address.
pub(super) fn file_of(address: usize) -> PathBuf {
    let has_address = |object: &Object| object.addresses.iter().any(|range| range.contains(&address));
    let file = objects().into_iter().find(has_address).map(|object| object.file).unwrap_or_default();
    if file.as_os_str().is_empty() { std::env::current_exe().unwrap_or_default() } else { file }
}

/// Returns all objects, the program first.
fn objects() -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    // SAFETY: `add` takes the pointer for what it is, and returns before the call does.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut objects).cast()) };
    objects
}

/// Adds one object to the vector that `objects` points to.
///
/// # Safety
/// To be called by `dl_iterate_phdr` with a pointer to a `Vec<Object>` that nobody else uses.
unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _size: usize, objects: *mut c_void) -> c_int {
    // SAFETY: the caller vouches for both pointers; the name is a string or null, and the headers are as many as told.
    let (objects, info, name, headers) = unsafe {
        let info = &*info;
        let name = if info.dlpi_name.is_null() { c"" } else { CStr::from_ptr(info.dlpi_name) };
        let headers = match info.dlpi_phdr.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)),
        };
        (&mut *objects.cast::<Vec<Object>>(), info, name, headers)
    };
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let addresses = loaded.map(|header| {
        let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        start..start.wrapping_add(header.p_memsz as usize)
    });
    let file = OsStr::from_bytes(name.to_bytes()).into();
    objects.push(Object { file, addresses: addresses.collect() });
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_an_address_is_the_one_that_was_loaded_there() {
        let here = loaded_libraries as fn() -> Vec<PathBuf> as usize;
        assert_eq!(file_of(here), std::env::current_exe().expect("this program"));
        let library = file_of(libc::getpid as *const () as usize);
        assert!(library.file_name().is_some_and(|name| name == "libc.so.6"), "{library:?}");
    }
}
