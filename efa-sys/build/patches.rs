//! Mends defects of the vendored libfabric: copies its sources and applies `patches/*.patch` to the copy.
//!
//! Patches apply in the order of their names. Each must apply exactly: the lines that it removes, and those around
//! them, stand in the source as the patch has them. Otherwise the build stops.

use std::fs;
use std::path::{Component, Path, PathBuf};

use diffy::patch_set::{FileOperation, ParseOptions, PatchSet};

/// The parts of the sources that the build reads.
const PARTS: [&str; 10] = [
    "include",
    "src",
    "prov/util",
    "prov/coll",
    "prov/hook",
    "prov/tcp",
    "prov/shm",
    "prov/rxm",
    "prov/sockets",
    "prov/efa",
];

/// Copies `sources` to `copy`, applies the patches in `folder`, and returns their names without the extension.
///
/// # Errors
/// A sentence that names the patch, if one is malformed or does not apply.
pub(crate) fn apply_all(sources: &Path, copy: &Path, folder: &Path) -> Result<Vec<String>, String> {
    let _ = fs::remove_dir_all(copy);
    for part in PARTS.iter().filter(|part| sources.join(part).exists()) {
        copy_folder(&sources.join(part), &copy.join(part))?;
    }
    let patches = patches_in(folder)?;
    patches.iter().try_for_each(|patch| apply(patch, copy))?;
    Ok(patches.iter().filter_map(|patch| Some(patch.file_stem()?.to_str()?.to_owned())).collect())
}

/// The files of `folder` that end in `.patch`, sorted by name.
fn patches_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries =
        fs::read_dir(folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    let mut patches: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    patches.sort();
    Ok(patches)
}

/// Applies one patch, which may change several files.
fn apply(patch: &Path, copy: &Path) -> Result<(), String> {
    let refused = |why: String| format!("the patch {} does not apply: {why}", patch.display());
    let text = read(patch)?;
    for change in PatchSet::parse_bytes(&text, ParseOptions::unidiff()) {
        let change = change.map_err(|error| refused(error.to_string()))?;
        let FileOperation::Modify { modified, .. } = change.operation().strip_prefix(1) else {
            return Err(refused("a patch may change files, not create, delete or rename them".into()));
        };
        let name = String::from_utf8_lossy(&modified).into_owned();
        if !Path::new(&name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(refused(format!("{name} is not a file of the sources")));
        }
        let file = copy.join(&name);
        let Some(hunks) = change.patch().as_text() else {
            return Err(refused(format!("the change of {name} is not text")));
        };
        let patched = diffy::apply_bytes(&read(&file).map_err(&refused)?, hunks)
            .map_err(|error| refused(format!("{name}: {error}")))?;
        write(&file, &patched)?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error| format!("cannot copy {} to {}: {error}", from.display(), to.display());
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            // Contents only: the sources may be read-only, and the copy must not be.
            write(&target, &read(&entry.path())?)?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(file, bytes).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
