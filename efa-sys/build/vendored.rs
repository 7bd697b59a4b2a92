//! Compiles libfabric's sources into a static library: the core and the providers that need nothing but
//! Linux.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config_header::{self, Setting};
use crate::{patches, rdma_core};

/// Every C file directly in these folders belongs to the build.
const FOLDERS: [&str; 9] = [
    "src",
    "src/unix",
    "prov/util/src",
    "prov/coll/src",
    "prov/hook/src",
    "prov/tcp/src",
    "prov/shm/src",
    "prov/rxm/src",
    "prov/sockets/src",
];

/// Needs liburing, which we leave out.
const LEFT_OUT: [&str; 1] = ["src/iouring.c"];

/// From folders that also hold what we leave out.
const SINGLE_FILES: [&str; 1] = ["src/linux/osd.c"];

const INCLUDE_FOLDERS: [&str; 4] = ["include", "prov/hook/include", "prov/sockets/include", "prov/sockets"];

/// What goes into the library.
pub(crate) struct Plan {
    /// Folders whose C files are compiled.
    pub(crate) folders: Vec<&'static str>,
    pub(crate) include_folders: Vec<&'static str>,
    pub(crate) settings: Vec<Setting>,
}

/// What a build leaves behind.
pub(crate) struct Compiled {
    /// The folder of the headers.
    pub(crate) include_dir: PathBuf,
    /// The names of the patches that were applied.
    pub(crate) patches: Vec<String>,
}

/// Leaves `libfabric.a` in `out_dir` and tells cargo to link it.
pub(crate) fn compile(out_dir: &Path) -> Result<Compiled, String> {
    let arch = supported_arch()?;
    let original = libfabric_src::source_dir();
    let header = original.join("include/rdma/fabric.h");
    if !header.exists() {
        return Err(format!(
            "{} is missing: run `cargo clean` and fetch the dependencies again",
            header.display()
        ));
    }
    let sources = out_dir.join("libfabric");
    println!("cargo::rerun-if-changed=patches");
    let patches = patches::apply_all(
        &original,
        &sources,
        &Path::new(&crate::cargo("CARGO_MANIFEST_DIR")).join("patches"),
    )?;

    let mut plan = Plan {
        folders: FOLDERS.to_vec(),
        include_folders: INCLUDE_FOLDERS.to_vec(),
        settings: config_header::settings(&arch),
    };
    if cfg!(feature = "vendored-efa") {
        rdma_core::add_provider(out_dir, &mut plan)?;
    }
    fs::write(out_dir.join("config.h"), config_header::render(&plan.settings))
        .map_err(|error| format!("cannot write config.h to {}: {error}", out_dir.display()))?;

    let mut build = cc::Build::new();
    build
        .include(out_dir)
        .includes(plan.include_folders.iter().map(|folder| sources.join(folder)))
        .define("HAVE_CONFIG_H", None)
        .define("_GNU_SOURCE", None)
        .define("__USE_XOPEN2K8", None)
        .define("NDEBUG", None)
        // Paths that only matter to providers loaded at run time and to the psm family; neither is part of
        // this build.
        .define("SYSCONFDIR", "\"/etc\"")
        .define("RDMADIR", "\"/etc/rdma\"")
        .define("PROVDLDIR", "\"/usr/lib/libfabric\"")
        .std("gnu11")
        .flag("-fvisibility=hidden")
        // The functions that libfabric exports are marked `visibility("default")` one by one. Hidden too, they can't take
        // the place of those of another libfabric in the process.
        .flag("-Dvisibility(kind)=visibility(\"hidden\")")
        .flag("-w")
        .warnings(false)
        // As libfabric's own release build, whatever the profile: a debug build of a program still measures
        // the fabric.
        .opt_level(2)
        .debug(false)
        .force_frame_pointer(false);
    for folder in plan.folders {
        build.files(c_files(&sources, folder)?);
    }
    build.files(SINGLE_FILES.map(|file| sources.join(file)));
    build.try_compile("fabric").map_err(|error| {
        format!(
            "compiling libfabric failed: {error}\n\
             It takes gcc or clang, and the headers of the C library (Debian, Ubuntu: apt-get install gcc libc6-dev)."
        )
    })?;
    for library in ["pthread", "dl", "rt", "m"] {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    if cfg!(feature = "vendored-efa") {
        rdma_core::link();
    }
    Ok(Compiled { include_dir: sources.join("include"), patches })
}

fn supported_arch() -> Result<String, String> {
    let (os, arch) = (crate::cargo("CARGO_CFG_TARGET_OS"), crate::cargo("CARGO_CFG_TARGET_ARCH"));
    if os == "linux" && matches!(arch.as_str(), "x86_64" | "aarch64") {
        return Ok(arch);
    }
    Err(format!(
        "the feature `vendored` builds libfabric for Linux on x86_64 and aarch64, not for {os} on {arch}: \
         build without it, and have programs load a libfabric of the system's"
    ))
}

/// In a fixed order, so that two builds give the same archive.
fn c_files(sources: &Path, folder: &str) -> Result<Vec<PathBuf>, String> {
    let path = sources.join(folder);
    let entries = fs::read_dir(&path).map_err(|error| format!("cannot list {}: {error}", path.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "c"))
        .filter(|file| !LEFT_OUT.iter().any(|left_out| file.ends_with(left_out)))
        .collect();
    files.sort();
    Ok(files)
}
