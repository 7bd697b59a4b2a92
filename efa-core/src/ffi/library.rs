//! Which libfabric this process uses.

use efa_sys::{Place, Reason, Unusable};

use super::Version;
use crate::error::{Error, Explanation, Result};
use crate::fabric::{Library, SkippedLibrary};

/// Returns the library in use. The first call of any function of libfabric's chooses it.
///
/// # Errors
/// [`Error::Setting`] when `EFA_LIBFABRIC` names a library that can't be used; [`Error::Provider`] when no library was
/// found. Both say what was looked for.
pub(crate) fn library() -> Result<Library> {
    let library = efa_sys::library().map_err(explained)?;
    let (origin, path) = match (&library.place, library.reason) {
        (Place::BuiltIn(path), _) => ("built-in", path),
        (Place::File(path), Reason::Aws) => ("/opt/amazon/efa", path),
        (Place::File(path), Reason::Named) => (efa_sys::VARIABLE, path),
        (Place::File(path), Reason::Loaded) => ("loaded", path),
        (Place::File(path), _) => ("system", path),
    };
    let skipped = library
        .skipped
        .iter()
        .map(|skipped| SkippedLibrary { library: skipped.library.clone(), reason: skipped.why.clone() });
    Ok(Library {
        version: Version(library.version).to_string(),
        origin: origin.into(),
        path: path.display().to_string(),
        reason: library.reason.to_string(),
        skipped: skipped.collect(),
    })
}

fn explained(unusable: &Unusable) -> Error {
    let variable = efa_sys::VARIABLE;
    match &unusable.named {
        Some(named) => Error::setting(
            format!("cannot use {variable}={named}"),
            unusable.to_string(),
            format!(
                "name the file of a libfabric {} or newer, such as /opt/amazon/efa/lib/libfabric.so.1; or `{}`; or \
                 unset {variable}",
                Version::LAYOUTS,
                efa_sys::BUILT_IN
            ),
        ),
        None => Error::Provider(Explanation::new(
            "cannot find a libfabric to use",
            format!("this program has none that it can use built in, and looked for {unusable}"),
            format!(
                "install libfabric {} or newer, name the file libfabric.so.1 in {variable}, or build with the feature \
                 `vendored`",
                Version::LAYOUTS
            ),
        )),
    }
}
