//! Which libfabric this process calls.
//!
//! The library is chosen once per process, at the first call of any function of this crate that needs one. Later changes
//! of the environment have no effect.

mod choose;
mod entries;
mod objects;
mod open;

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use entries::Entries;
pub use entries::{
    fi_dupinfo, fi_fabric, fi_freeinfo, fi_freeparams, fi_getinfo, fi_getparams, fi_strerror, fi_tostr,
    fi_tostr_r, fi_version,
};

/// The environment variable that names a libfabric: a path, or [`BUILT_IN`].
pub const VARIABLE: &str = "EFA_LIBFABRIC";

/// The value of [`VARIABLE`] that asks for the built-in library.
pub const BUILT_IN: &str = "builtin";

/// The names of the patches in `patches/` that the built-in library has, separated by spaces. Empty without the feature
/// `vendored`.
pub const PATCHES: &str = env!("EFA_SYS_PATCHES");

/// The libfabric that this process calls, and how it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Where the library's code is.
    pub place: Place,
    /// The library's version, as `fi_version(3)` packs it.
    pub version: u32,
    /// Why this one was chosen.
    pub reason: Reason,
    /// The libraries that come earlier in the order and were not chosen.
    pub skipped: Vec<Skipped>,
}

/// Where the code of a library is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this file, a program or a shared library, which was built with the feature `vendored`.
    BuiltIn(PathBuf),
    /// In this shared library.
    File(PathBuf),
}

/// Why a library was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// [`VARIABLE`] names it.
    Named,
    /// The host has an EFA, and this library was in the process already.
    Loaded,
    /// The host has an EFA, and this is the library that AWS's installer puts there.
    Aws,
    /// The host has an EFA, and this is the system's library.
    System,
    /// It is built in, and the host has no EFA.
    NoEfa,
    /// It is built in, and no other library could be used for the host's EFA.
    OthersUnfit,
    /// None is built in; this is the system's library.
    NoneBuiltIn,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "EFA_LIBFABRIC names it",
            Self::Loaded => "this host has an EFA, and the process had this libfabric loaded already",
            Self::Aws => "this host has an EFA, and AWS's libfabric is installed",
            Self::System => "this host has an EFA, and the system's libfabric has the efa provider",
            Self::NoEfa => "this host has no EFA",
            Self::OthersUnfit => "no other libfabric can use this host's EFA",
            Self::NoneBuiltIn => "this program has no libfabric built in",
        })
    }
}

/// A library that was looked for and not chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The path, or the name, that was looked for.
    pub library: String,
    /// Why it was not chosen.
    pub why: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.library, self.why)
    }
}

/// No library can be used: what was looked for, and why each failed.
///
/// The functions of libfabric then fail: [`fi_getinfo`] and [`fi_fabric`] return `-FI_ENOSYS`, and [`fi_version`]
/// returns 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The value of [`VARIABLE`], if it names a library. Then nothing else was looked for.
    pub named: Option<String>,
    /// What was looked for, in that order.
    pub looked_for: Vec<Skipped>,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, skipped) in self.looked_for.iter().enumerate() {
            write!(f, "{}{skipped}", if place == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Unusable {}

/// Returns the library that this process calls. The first call chooses it.
///
/// # Errors
/// [`Unusable`], at each call, when no library can be used. One that [`VARIABLE`] names is never replaced by another.
pub fn library() -> Result<&'static Library, &'static Unusable> {
    chosen().as_ref().map(|(library, _)| library)
}

/// Returns `true` if the built-in library is the one in use, and was built with the patch of this name.
pub fn has_patch(name: &str) -> bool {
    let is_built_in = matches!(library(), Ok(Library { place: Place::BuiltIn(_), .. }));
    is_built_in && PATCHES.split(' ').any(|patch| patch == name)
}

type Choice = Result<(Library, Entries), Unusable>;

fn chosen() -> &'static Choice {
    static CHOICE: OnceLock<Choice> = OnceLock::new();
    CHOICE.get_or_init(|| {
        let circumstances = choose::Circumstances {
            named: env::var_os(VARIABLE).filter(|value| !value.is_empty()),
            has_efa: has_efa(Path::new("/sys/class/infiniband")),
            built_in: cfg!(feature = "vendored"),
            built_in_has_efa: cfg!(feature = "vendored-efa"),
            loaded: objects::loaded_libraries(),
        };
        let (opened, reason, skipped) = choose::choose(&circumstances, open::open)?;
        let open::Opened { place, version, entries } = opened;
        Ok((Library { place, version, reason, skipped }, entries))
    })
}

/// The functions of the library in use.
fn entries() -> &'static Entries {
    chosen().as_ref().map_or(&Entries::NONE, |(_, entries)| entries)
}

/// Returns `true` if a device of Amazon's is bound to the efa driver, or this process runs on an emulated one.
fn has_efa(class: &Path) -> bool {
    const AMAZON: &str = "0x1d0f";
    let is_efa = |device: PathBuf| {
        let vendor = fs::read_to_string(device.join("vendor")).unwrap_or_default();
        let driver = fs::read_link(device.join("driver")).unwrap_or_default();
        vendor.trim() == AMAZON && driver.file_name().is_some_and(|name| name == "efa")
    };
    let mut devices = fs::read_dir(class).into_iter().flatten().flatten();
    env::var_os("EFA_EMULATOR_JOB").is_some() || devices.any(|entry| is_efa(entry.path().join("device")))
}
