//! The efa provider, and what it needs from rdma-core: which of the optional parts the headers at hand
//! declare is found out by compiling a few lines for each, as libfabric's own `prov/efa/configure.m4` does.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::config_header::Setting;
use crate::vendored::Plan;

/// Where the provider's C files are, and its headers with them.
const FOLDERS: [&str; 3] = ["prov/efa/src", "prov/efa/src/dgram", "prov/efa/src/rdm"];

const FIXED: [Setting; 3] = [("HAVE_EFA", "1"), ("HAVE_EFA_DL", "0"), ("EFA_UNIT_TEST", "0")];

/// A macro, and what must compile for it to be 1.
const PROBES: [(&str, &str); 9] = [
    ("HAVE_RDMA_SIZE", "struct efadv_device_attr attr; (void) attr.max_rdma_size;"),
    ("HAVE_CAPS_RNR_RETRY", "(void) EFADV_DEVICE_ATTR_CAPS_RNR_RETRY;"),
    ("HAVE_CAPS_RDMA_WRITE", "(void) EFADV_DEVICE_ATTR_CAPS_RDMA_WRITE;"),
    ("HAVE_CAPS_UNSOLICITED_WRITE_RECV", "(void) EFADV_DEVICE_ATTR_CAPS_UNSOLICITED_WRITE_RECV;"),
    ("HAVE_IBV_IS_FORK_INITIALIZED", "(void) ibv_is_fork_initialized;"),
    ("HAVE_EFA_DATA_IN_ORDER_ALIGNED_128_BYTES", "(void) IBV_QUERY_QP_DATA_IN_ORDER_ALIGNED_128_BYTES;"),
    ("HAVE_EFA_DMABUF_MR", "(void) ibv_reg_dmabuf_mr;"),
    (
        "HAVE_EFADV_CQ_EX",
        "(void) efadv_create_cq; (void) efadv_cq_from_ibv_cq_ex; (void) efadv_wc_read_sgid;",
    ),
    (
        "HAVE_EFADV_QUERY_MR",
        "struct efadv_mr_attr attr; (void) attr.rdma_recv_ic_id; (void) efadv_query_mr; \
         (void) EFADV_MR_ATTR_VALIDITY_RDMA_READ_IC_ID;",
    ),
];

/// Headers before rdma-core 46 don't name the capability to write remote memory, though they have the calls for it.
/// The value is the kernel's (`EFA_QUERY_DEVICE_CAPS_RDMA_WRITE`). A libefa that does not know the capability does not
/// report it, and then the provider makes writes out of messages, for which nobody tells the writer that they failed.
const RDMA_WRITE: (&str, Setting) =
    ("HAVE_CAPS_RDMA_WRITE", ("EFADV_DEVICE_ATTR_CAPS_RDMA_WRITE", "(1 << 3)"));

const MISSING: &str = "\
    the feature `vendored-efa` needs rdma-core 31 or newer, and <infiniband/verbs.h> and <infiniband/efadv.h> with \
    efadv_query_ah, from -lefa and -libverbs, don't compile and link here\n\
    Debian, Ubuntu: apt-get install libibverbs-dev\n\
    Fedora, RHEL, Amazon Linux: dnf install rdma-core-devel\n\
    Elsewhere: name the folders in CPATH and LIBRARY_PATH.\n\
    Without an EFA device there is no need for it: the feature `vendored` alone has tcp and shm.";

/// Adds the provider's folders, and the settings that its code tests.
pub(crate) fn add_provider(out_dir: &Path, plan: &mut Plan) -> Result<(), String> {
    if !builds(out_dir, "(void) efadv_query_ah(0, 0, 0);", &["-lefa", "-libverbs"])? {
        return Err(MISSING.into());
    }
    plan.folders.extend(FOLDERS);
    plan.include_folders.extend(FOLDERS);
    plan.settings.extend(FIXED);
    for (name, lines) in PROBES {
        plan.settings.push((name, if builds(out_dir, lines, &["-c"])? { "1" } else { "0" }));
    }
    if let Some(setting) = plan.settings.iter_mut().find(|setting| **setting == (RDMA_WRITE.0, "0")) {
        setting.1 = "1";
        plan.settings.push(RDMA_WRITE.1);
    }
    Ok(())
}

/// After libfabric itself, which refers to them.
pub(crate) fn link() {
    for library in ["efa", "ibverbs"] {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

/// Whether the target's compiler takes these lines as the body of a function.
fn builds(out_dir: &Path, lines: &str, arguments: &[&str]) -> Result<bool, String> {
    let source = out_dir.join("probe.c");
    let text = format!(
        "#include <infiniband/verbs.h>\n#include <infiniband/efadv.h>\nint main(void) {{ {lines} return 0; }}\n"
    );
    fs::write(&source, text).map_err(|error| format!("cannot write {}: {error}", source.display()))?;
    let compiler = cc::Build::new().warnings(false).get_compiler();
    compiler
        .to_command()
        .arg(&source)
        .args(arguments)
        .arg("-o")
        .arg(out_dir.join("probe"))
        .stderr(Stdio::null())
        .status()
        .map(|status| status.success())
        .map_err(|error| format!("cannot start the C compiler {}: {error}", compiler.path().display()))
}
