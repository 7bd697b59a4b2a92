//! Compiles the libfabric that is built in, and tells the crate what it is. Without the feature `vendored` there is nothing
//! to do: libraries are looked for when a program runs.

#[cfg(feature = "buildtime_bindgen")]
mod bindings;
#[cfg(feature = "vendored")]
mod config_header;
#[cfg(feature = "vendored")]
mod patches;
#[cfg(feature = "vendored")]
mod rdma_core;
#[cfg(feature = "vendored")]
mod vendored;

fn main() {
    println!("cargo::rerun-if-changed=build");
    match build() {
        Ok(patches) => println!("cargo::rustc-env=EFA_SYS_PATCHES={}", patches.join(" ")),
        Err(message) => message.lines().for_each(|line| println!("cargo::error={line}")),
    }
}

/// Returns the names of the patches that the built-in library has.
#[cfg(feature = "vendored")]
fn build() -> Result<Vec<String>, String> {
    let out_dir = std::path::PathBuf::from(cargo("OUT_DIR"));
    let vendored::Compiled { include_dir, patches } = vendored::compile(&out_dir)?;
    // For a test: what is not hidden would then be found by name.
    println!("cargo::rustc-link-arg-tests=-rdynamic");
    println!("cargo::rustc-env=EFA_SYS_INCLUDE={}", include_dir.display());
    #[cfg(feature = "buildtime_bindgen")]
    bindings::generate(&include_dir, &out_dir.join("bindings.rs"))?;
    Ok(patches)
}

#[cfg(not(feature = "vendored"))]
fn build() -> Result<Vec<String>, String> {
    Ok(Vec::new())
}

/// A variable that cargo always sets for build scripts.
#[cfg(feature = "vendored")]
fn cargo(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("cargo did not set {variable}"))
}
