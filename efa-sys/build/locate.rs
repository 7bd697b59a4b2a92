//! Decides which libfabric to use, and reads its version. The standard library only, and no cargo directives,
//! so that `tests/locate.rs` can include this file and test it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Names a libfabric by the folder that holds its `include` and `lib` or `lib64`.
pub(crate) const DIR_VARIABLE: &str = "LIBFABRIC_DIR";

/// Where AWS's installer puts its own libfabric.
pub(crate) const AWS_DIR: &str = "/opt/amazon/efa";

/// The oldest libfabric whose structures the checked-in bindings describe.
pub(crate) const FLOOR: Version = Version { major: 1, minor: 22, revision: 0 };

/// A version of libfabric; ordered as one expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) revision: u32,
}

impl FromStr for Version {
    type Err = String;

    /// Reads `2.1`, `1.22.0`, and what builders append: `1.22.0amzn4.0`, `2.1.0-1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = text.trim().splitn(3, '.').map(|part| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse::<u32>().map_err(|_| format!("`{text}` is not a version of libfabric"))
        });
        let mut next =
            || numbers.next().unwrap_or_else(|| Err(format!("`{text}` is not a version of libfabric")));
        Ok(Self { major: next()?, minor: next()?, revision: next().unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.revision)
    }
}

/// What a choice depends on.
pub(crate) struct Surroundings {
    /// The value of `LIBFABRIC_DIR`; empty counts as not set.
    pub(crate) libfabric_dir: Option<PathBuf>,
    /// [`AWS_DIR`], except in tests.
    pub(crate) aws_dir: PathBuf,
    /// Whether the feature `vendored` is on.
    pub(crate) vendored: bool,
}

/// Which of the four ways it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The folder that `LIBFABRIC_DIR` names.
    Named(PathBuf),
    /// AWS's installation.
    Aws(PathBuf),
    /// Compile it.
    Vendored,
    /// Ask pkg-config.
    PkgConfig,
}

/// The first of the four ways that applies. A way that applies and then fails is an error, not a reason to
/// try the next: a program must not end up on another libfabric than its author meant.
pub(crate) fn choose(surroundings: &Surroundings) -> Choice {
    if let Some(dir) = surroundings.libfabric_dir.as_ref().filter(|dir| !dir.as_os_str().is_empty()) {
        return Choice::Named(dir.clone());
    }
    if header_in(&surroundings.aws_dir).exists() {
        return Choice::Aws(surroundings.aws_dir.clone());
    }
    if surroundings.vendored { Choice::Vendored } else { Choice::PkgConfig }
}

/// An installed libfabric that may be linked.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) include_dir: PathBuf,
    pub(crate) library_dir: PathBuf,
    pub(crate) version: Version,
}

/// Looks into a folder that has `include/rdma/fabric.h` and a shared library. `arch` is cargo's name for the
/// target's processor, which Debian's library folders carry in their name.
pub(crate) fn inspect(dir: &Path, arch: &str) -> Result<Installation, String> {
    let header = header_in(dir);
    let text =
        fs::read_to_string(&header).map_err(|error| format!("cannot read {}: {error}", header.display()))?;
    let version = version_in_header(&text)
        .ok_or_else(|| format!("{} does not say which version it belongs to", header.display()))?;
    check_floor(version, &dir.display().to_string())?;
    let library_dir = [format!("lib/{arch}-linux-gnu"), "lib64".into(), "lib".into()]
        .into_iter()
        .map(|name| dir.join(name))
        .find(|folder| folder.join("libfabric.so").exists())
        .ok_or_else(|| format!("{} has neither lib/libfabric.so nor lib64/libfabric.so", dir.display()))?;
    Ok(Installation { include_dir: dir.join("include"), library_dir, version })
}

/// The version that `rdma/fabric.h` declares.
pub(crate) fn version_in_header(text: &str) -> Option<Version> {
    let number = |name: &str| {
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let is_it = words.next() == Some("#define") && words.next() == Some(name);
            if is_it { words.next()?.parse::<u32>().ok() } else { None }
        })
    };
    Some(Version {
        major: number("FI_MAJOR_VERSION")?,
        minor: number("FI_MINOR_VERSION")?,
        revision: number("FI_REVISION_VERSION").unwrap_or(0),
    })
}

/// An error when `version`, found at `place`, is older than [`FLOOR`].
pub(crate) fn check_floor(version: Version, place: &str) -> Result<(), String> {
    if version >= FLOOR {
        return Ok(());
    }
    Err(format!(
        "libfabric in {place} is {version}, and {}.{} is the oldest that works",
        FLOOR.major, FLOOR.minor
    ))
}

/// The message for a build that can't go on: what happened, and the four ways out, one per line.
pub(crate) fn explain(problem: &str) -> String {
    format!(
        "{problem}\n\
         efa-sys needs libfabric {}.{} or newer. It takes the first of these that is there:\n\
         1. the folder that the environment variable {DIR_VARIABLE} names, with include/ and lib/ or lib64/;\n\
         2. AWS's EFA software in {AWS_DIR}, as a current EFA installer puts it there;\n\
         3. the feature `vendored`, which compiles libfabric and needs only a C compiler;\n\
         4. what pkg-config finds under the name libfabric (check with: pkg-config --modversion libfabric).\n\
         {DIR_VARIABLE} comes before all others: pointing it at a newer libfabric always helps.",
        FLOOR.major, FLOOR.minor
    )
}

fn header_in(dir: &Path) -> PathBuf {
    dir.join("include/rdma/fabric.h")
}
