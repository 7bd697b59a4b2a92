//! Opens one library and finds out whether it can be used.

use std::env;
use std::ffi::{CStr, OsStr};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr;

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use super::choose::{Candidate, Unfit};
use super::entries::Entries;
use super::{Place, objects};
use crate::{BINDINGS_VERSION, FI_PROV_ATTR_ONLY, fi_info, fi_major, fi_minor};

/// A library that can be used.
pub(super) struct Opened {
    pub(super) place: Place,
    pub(super) version: u32,
    pub(super) entries: Entries,
}

/// Opens a library. With `needs_efa` it must have an efa provider that finds a device.
pub(super) fn open(candidate: &Candidate, needs_efa: bool) -> Result<Opened, Unfit> {
    let entries = match candidate {
        Candidate::BuiltIn => built_in()?,
        Candidate::Loaded(file) => load(file.as_os_str(), libc::RTLD_NOLOAD)?,
        Candidate::File(file) if file.is_dir() => {
            return Err(other("it is a folder; name the file libfabric.so.1 in it"));
        }
        Candidate::File(file) => load(file.as_os_str(), 0)?,
        Candidate::Name(name) => load(OsStr::new(name), 0)?,
    };
    let file = objects::file_of(entries.fi_getinfo as usize);
    let place = match candidate {
        Candidate::BuiltIn => Place::BuiltIn(file),
        _ => Place::File(file),
    };
    // SAFETY: the call has no preconditions.
    let version = unsafe { (entries.fi_version)() };
    if version < BINDINGS_VERSION {
        let (oldest, newest) = (printed(BINDINGS_VERSION), printed(version));
        return Err(other(format!("it is version {newest}, and {oldest} is the oldest that works")));
    }
    if needs_efa && !has_efa(&entries) {
        return Err(Unfit::NoEfa(match env::var("FI_PROVIDER") {
            Ok(list) if leaves_out_efa(&list) => format!("FI_PROVIDER={list} leaves its efa provider out"),
            _ => "it has no efa provider that finds a device here".into(),
        }));
    }
    Ok(Opened { place, version, entries })
}

#[cfg(feature = "vendored")]
fn built_in() -> Result<Entries, Unfit> {
    Ok(Entries::BUILT_IN)
}

#[cfg(not(feature = "vendored"))]
fn built_in() -> Result<Entries, Unfit> {
    Err(other("this program was built without it (feature `vendored`)"))
}

/// Loads a shared library, which then stays for as long as the process.
fn load(name: &OsStr, flags: i32) -> Result<Entries, Unfit> {
    // Bound at once, so that a library that lacks something is an error here rather than the end of the process later.
    // Local, so that other libraries of the process keep the libfabric that they have.
    // SAFETY: libraries run code when they are loaded; that of a libfabric may run at any time.
    let handle = unsafe { Handle::open(Some(name), RTLD_NOW | RTLD_LOCAL | flags) };
    let handle = handle.map_err(|error| {
        let (said, prefix) = (error.to_string(), format!("{}: ", Path::new(name).display()));
        other(said.strip_prefix(&prefix).unwrap_or(&said))
    })?;
    // SAFETY: the functions of these names are those of libfabric, in every library that has them all.
    let entries = unsafe { Entries::of(&handle) };
    match entries {
        Ok(entries) => {
            // Providers may have started threads; a libfabric is never unloaded.
            let _ = ManuallyDrop::new(handle);
            Ok(entries)
        }
        Err(name) => {
            Err(other(format!("it is no libfabric, or an incomplete one: it has no function {name}")))
        }
    }
}

/// Returns `true` if the efa provider is among those that this library could start.
fn has_efa(entries: &Entries) -> bool {
    let mut list: *mut fi_info = ptr::null_mut();
    // SAFETY: no hints are given, and the version is one that these bindings describe.
    let status = unsafe {
        let none = ptr::null();
        (entries.fi_getinfo)(BINDINGS_VERSION, none, none, FI_PROV_ATTR_ONLY, ptr::null(), &raw mut list)
    };
    if status != 0 {
        return false;
    }
    let (mut found, mut info) = (false, list);
    while !info.is_null() {
        // SAFETY: every element of the list has these attributes, and the name is a string.
        unsafe {
            let name = (*(*info).fabric_attr).prov_name;
            found |= !name.is_null() && CStr::from_ptr(name) == c"efa";
            info = (*info).next;
        }
    }
    // SAFETY: the list came from `fi_getinfo` of this library and is freed once.
    unsafe { (entries.fi_freeinfo)(list) };
    found
}

/// Returns `true` if this value of `FI_PROVIDER`, a list of the providers to use or after `^` of those not to use, leaves
/// out the efa provider, see `fi_getinfo(3)`.
fn leaves_out_efa(list: &str) -> bool {
    let (names, excluded) = list.strip_prefix('^').map_or((list, false), |names| (names, true));
    let names_efa = names.split(',').any(|name| name.trim().eq_ignore_ascii_case("efa"));
    !names.trim().is_empty() && names_efa == excluded
}

fn other(why: impl Into<String>) -> Unfit {
    Unfit::Other(why.into())
}

fn printed(version: u32) -> String {
    format!("{}.{}", fi_major(version), fi_minor(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_providers_leaves_efa_out_or_not() {
        for list in ["tcp", "shm,tcp", "^efa", "^shm,efa", "EFAX", "tcp;ofi_rxm"] {
            assert!(leaves_out_efa(list), "{list}");
        }
        for list in ["", "efa", "tcp,efa", "tcp, EFA", "^tcp", "^"] {
            assert!(!leaves_out_efa(list), "{list}");
        }
    }
}
