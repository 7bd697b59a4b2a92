//! The `config.h` that autoconf would write for a release build on a current Linux. What is not named counts
//! as off.

use std::fmt::Write;

/// A macro and its value.
pub(crate) type Setting = (&'static str, &'static str);

/// The settings for a processor, as cargo names it.
pub(crate) fn settings(arch: &str) -> Vec<Setting> {
    let mut settings = [PACKAGE, LANGUAGE, SYSTEM, PROVIDERS, LEFT_OUT].concat();
    if arch == "x86_64" {
        settings.push(("HAVE_CPUID", "1"));
    }
    settings
}

/// As the text of a header file.
pub(crate) fn render(settings: &[Setting]) -> String {
    let mut text = String::from("/* Written by the build script of efa-sys. */\n");
    for (name, value) in settings {
        writeln!(text, "#define {name} {value}").expect("writing to a string never fails");
    }
    text
}

const PACKAGE: &[Setting] = &[
    ("PACKAGE", "\"libfabric\""),
    ("PACKAGE_NAME", "\"libfabric\""),
    ("PACKAGE_VERSION", "\"1.22.0\""),
    ("VERSION", "\"1.22.0\""),
    ("BUILD_ID", "\"\""),
    ("ENABLE_DEBUG", "0"),
];

/// Every gcc and clang since 2014 has these. Without them libfabric falls back to locks around its counters
/// and queues. The 128-bit atomics would need libatomic at link time, for data types that nobody sends.
const LANGUAGE: &[Setting] = &[
    ("HAVE_ATOMICS", "1"),
    ("HAVE_ATOMICS_LEAST_TYPES", "1"),
    ("HAVE_BUILTIN_ATOMICS", "1"),
    ("HAVE_BUILTIN_MM_ATOMICS", "1"),
    ("HAVE___INT128", "1"),
    ("HAVE_ALIAS_ATTRIBUTE", "1"),
    ("SIZEOF_VOID_P", "8"),
    ("STDC_HEADERS", "1"),
    // Versioned symbols make sense in a shared library only.
    ("HAVE_SYMVER_SUPPORT", "0"),
];

const SYSTEM: &[Setting] = &[
    ("HAVE_EPOLL", "1"),
    ("HAVE_CLOCK_GETTIME", "1"),
    ("HAVE_GETIFADDRS", "1"),
    ("HAVE_ETHTOOL", "1"),
    ("HAVE_DECL_ETHTOOL_CMD_SPEED", "1"),
    ("HAVE_DECL_SPEED_UNKNOWN", "1"),
    ("PT_LOCK_SPIN", "1"),
];

const PROVIDERS: &[Setting] =
    &[("HAVE_TCP", "1"), ("HAVE_SHM", "1"), ("HAVE_RXM", "1"), ("HAVE_SOCKETS", "1")];

/// Tested with `#if`, so they are spelt out. `HAVE_LIBDL` (tested with `#ifdef`) stays undefined: it makes
/// libfabric load providers from the system's folders, which would bring a second libfabric into the process.
/// The memory monitors patch `munmap` and its like for the registration cache; we ask for FI_MR_LOCAL
/// instead.
const LEFT_OUT: &[Setting] = &[
    ("HAVE_MEMHOOKS_MONITOR", "0"),
    ("ENABLE_MEMHOOKS_MONITOR", "0"),
    ("HAVE_UFFD_MONITOR", "0"),
    ("ENABLE_UFFD_MONITOR", "0"),
    ("HAVE_CUDA", "0"),
    ("HAVE_CUDA_DMABUF", "0"),
    ("ENABLE_CUDA_DLOPEN", "0"),
    ("HAVE_GDRCOPY", "0"),
    ("ENABLE_GDRCOPY_DLOPEN", "0"),
    ("HAVE_ROCR", "0"),
    ("ENABLE_ROCR_DLOPEN", "0"),
    ("HAVE_HSA_AMD_PORTABLE_EXPORT_DMABUF", "0"),
    ("HAVE_ZE", "0"),
    ("ENABLE_ZE_DLOPEN", "0"),
    ("HAVE_DRM", "0"),
    ("HAVE_LIBDRM", "0"),
    ("HAVE_NEURON", "0"),
    ("HAVE_SYNAPSEAI", "0"),
    ("HAVE_LTTNG", "0"),
    ("HAVE_XPMEM", "0"),
    ("HAVE_LINUX_PERF_RDPMC", "0"),
    ("HAVE_RESTRICTED_DL", "0"),
    ("SHM_HAVE_DSA", "0"),
    ("HAVE_TCP_DL", "0"),
    ("HAVE_SHM_DL", "0"),
    ("HAVE_RXM_DL", "0"),
    ("HAVE_SOCKETS_DL", "0"),
];
