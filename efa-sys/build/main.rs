//! Finds or builds libfabric, tells cargo how to link it, and tells the crate which one it was.

#[cfg(feature = "buildtime_bindgen")]
mod bindings;
#[cfg(feature = "vendored")]
mod config_header;
mod locate;
#[cfg(feature = "vendored")]
mod patches;
#[cfg(feature = "vendored")]
mod rdma_core;
#[cfg(feature = "vendored")]
mod vendored;

use std::env;
use std::path::{Path, PathBuf};

use locate::{Choice, Installation, Surroundings, Version};

/// The libfabric that will be linked.
struct Library {
    /// What the crate's `ORIGIN` says.
    origin: String,
    version: Version,
    include_dir: PathBuf,
    library_dir: PathBuf,
    /// The names of the patches that it was built with.
    patches: Vec<String>,
}

fn main() {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rustc-check-cfg=cfg(progress_union)");
    println!("cargo::rerun-if-env-changed={}", locate::DIR_VARIABLE);
    match provide() {
        Ok(library) => announce(&library),
        Err(message) => message.lines().for_each(|line| println!("cargo::error={line}")),
    }
}

/// Carries out whichever of the four ways applies.
fn provide() -> Result<Library, String> {
    let out_dir = PathBuf::from(cargo("OUT_DIR"));
    let surroundings = Surroundings {
        libfabric_dir: env::var_os(locate::DIR_VARIABLE).map(PathBuf::from),
        aws_dir: locate::AWS_DIR.into(),
        vendored: cfg!(feature = "vendored"),
    };
    let library = match locate::choose(&surroundings) {
        Choice::Named(dir) | Choice::Aws(dir) => installed(&dir),
        Choice::Vendored => compile(&out_dir),
        Choice::PkgConfig => ask_pkg_config(),
    }?;
    #[cfg(feature = "buildtime_bindgen")]
    bindings::generate(&library.include_dir, &out_dir.join("bindings.rs"))?;
    Ok(library)
}

fn installed(dir: &Path) -> Result<Library, String> {
    let Installation { include_dir, library_dir, version } =
        locate::inspect(dir, &cargo("CARGO_CFG_TARGET_ARCH")).map_err(|problem| locate::explain(&problem))?;
    println!("cargo::rerun-if-changed={}", include_dir.join("rdma/fabric.h").display());
    link_shared(std::slice::from_ref(&library_dir));
    Ok(Library { origin: dir.display().to_string(), version, include_dir, library_dir, patches: Vec::new() })
}

#[cfg(feature = "vendored")]
fn compile(out_dir: &Path) -> Result<Library, String> {
    let vendored::Compiled { include_dir, patches } = vendored::compile(out_dir)?;
    let library_dir = out_dir.to_owned();
    Ok(Library { origin: "vendored".into(), version: vendored::VERSION, include_dir, library_dir, patches })
}

#[cfg(not(feature = "vendored"))]
fn compile(_out_dir: &Path) -> Result<Library, String> {
    unreachable!("chosen only when the feature is on")
}

/// The first include and library folders are what matters; a libfabric in the system's own folders lists
/// none.
fn ask_pkg_config() -> Result<Library, String> {
    let found = pkg_config::Config::new()
        .cargo_metadata(false)
        .print_system_libs(true)
        .print_system_cflags(true)
        .probe("libfabric")
        .map_err(|error| {
            let reason = match error {
                pkg_config::Error::Failure { .. } | pkg_config::Error::ProbeFailure { .. } => {
                    "pkg-config knows none".into()
                }
                other => other.to_string().replace('\n', " "),
            };
            locate::explain(&format!("no libfabric found: {reason}"))
        })?;
    let version: Version = found.version.parse().map_err(|problem: String| locate::explain(&problem))?;
    let library_dir = found.link_paths.first().cloned().unwrap_or_else(|| "/usr/lib".into());
    locate::check_floor(version, &format!("{} (from pkg-config)", library_dir.display()))
        .map_err(|problem| locate::explain(&problem))?;
    link_shared(&found.link_paths);
    let include_dir = found.include_paths.first().cloned().unwrap_or_else(|| "/usr/include".into());
    Ok(Library { origin: "pkg-config".into(), version, include_dir, library_dir, patches: Vec::new() })
}

/// A shared libfabric. The run path reaches this package's own tests only; others find the folder in
/// `DEP_FABRIC_LIBDIR`.
fn link_shared(folders: &[PathBuf]) {
    for folder in folders {
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
    println!("cargo::rustc-link-lib=dylib=fabric");
}

/// To the crate itself as `EFA_SYS_*`, to the build scripts of direct dependents as `DEP_FABRIC_*`.
fn announce(library: &Library) {
    let facts = [
        ("ORIGIN", library.origin.clone()),
        ("VERSION", library.version.to_string()),
        ("INCLUDE", library.include_dir.display().to_string()),
        ("LIBDIR", library.library_dir.display().to_string()),
        ("PATCHES", library.patches.join(" ")),
    ];
    for (name, value) in facts {
        println!("cargo::metadata={name}={value}");
        println!("cargo::rustc-env=EFA_SYS_{name}={value}");
    }
}

/// A variable that cargo always sets for build scripts.
fn cargo(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| panic!("cargo did not set {variable}"))
}
