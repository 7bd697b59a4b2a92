//! Generates the bindings with bindgen: the items that this workspace uses, and what they refer to.

use std::fs;
use std::path::Path;

use bindgen::callbacks::{ItemInfo, ParseCallbacks};

const HEADERS: [&str; 9] =
    ["fabric", "fi_errno", "fi_domain", "fi_endpoint", "fi_tagged", "fi_rma", "fi_atomic", "fi_cm", "fi_eq"];

const FUNCTIONS: &str =
    "fi_(getinfo|freeinfo|dupinfo|fabric|version|strerror|tostr|tostr_r|getparams|freeparams)";

/// Structures and enumerations; those they mention come along.
const TYPES: &str = "fi_(info|nic|.*_attr|context|context2|ioc|rma_iov|rma_ioc|msg|msg_(tagged|rma|atomic|fetch|compare)\
    |mr_modify|alias|param|param_type|type|ops|ops_(fabric|domain|ep|msg|tagged|rma|atomic|cm|av|cq|cntr|eq|mr)\
    |cq_(entry|msg_entry|data_entry|tagged_entry|err_entry|format|wait_cond)|eq_(entry|err_entry)\
    |wait_obj|threading|progress|resource_mgmt|ep_type|av_type|datatype|op|hmem_iface|bus_type|link_state|cntr_events)\
    |fid|fid_(fabric|domain|ep|av|cq|mr|cntr|eq|nic)";

/// Constants that C has as macros or in nameless enumerations, each with the type that the calls take.
const CONSTANTS: &[(&str, &[&str])] = &[
    ("uint32_t", &["FI_MAJOR_VERSION", "FI_MINOR_VERSION", "FI_REVISION_VERSION"]),
    ("uint64_t", CAPABILITIES_AND_FLAGS),
    ("uint64_t", MODES),
    ("uint64_t", ORDERS),
    ("int", MR_MODES),
    ("int", ERRORS),
    ("int", COMMANDS),
    ("int", OPTIONS),
    ("uint32_t", ADDRESS_FORMATS),
    ("uint32_t", PROTOCOLS),
    ("uint32_t", TRAFFIC_CLASSES),
    ("uint32_t", EVENTS),
    ("size_t", CLASSES),
];

#[rustfmt::skip]
const CAPABILITIES_AND_FLAGS: &[&str] = &[
    "FI_MSG", "FI_RMA", "FI_TAGGED", "FI_ATOMIC", "FI_MULTICAST", "FI_COLLECTIVE", "FI_READ", "FI_WRITE", "FI_RECV",
    "FI_SEND", "FI_TRANSMIT", "FI_REMOTE_READ", "FI_REMOTE_WRITE", "FI_MULTI_RECV", "FI_REMOTE_CQ_DATA", "FI_MORE",
    "FI_PEEK", "FI_TRIGGER", "FI_FENCE", "FI_COMPLETION", "FI_EVENT", "FI_INJECT", "FI_INJECT_COMPLETE",
    "FI_TRANSMIT_COMPLETE", "FI_DELIVERY_COMPLETE", "FI_COMMIT_COMPLETE", "FI_MATCH_COMPLETE", "FI_AFFINITY", "FI_PEER",
    "FI_HMEM", "FI_RMA_PMEM", "FI_SOURCE_ERR", "FI_LOCAL_COMM", "FI_REMOTE_COMM", "FI_SHARED_AV", "FI_PROV_ATTR_ONLY",
    "FI_NUMERICHOST", "FI_RMA_EVENT", "FI_SOURCE", "FI_NAMED_RX_CTX", "FI_DIRECTED_RECV", "FI_CLAIM", "FI_DISCARD",
    "FI_SELECTIVE_COMPLETION", "FI_FETCH_ATOMIC", "FI_COMPARE_ATOMIC", "FI_SYMMETRIC", "FI_SYNC_ERR", "FI_REG_MR",
];
const MODES: &[&str] = &["FI_CONTEXT", "FI_CONTEXT2", "FI_MSG_PREFIX", "FI_ASYNC_IOV", "FI_RX_CQ_DATA"];
#[rustfmt::skip]
const ORDERS: &[&str] = &[
    "FI_ORDER_NONE", "FI_ORDER_RAR", "FI_ORDER_RAW", "FI_ORDER_RAS", "FI_ORDER_WAR", "FI_ORDER_WAW", "FI_ORDER_WAS",
    "FI_ORDER_SAR", "FI_ORDER_SAW", "FI_ORDER_SAS", "FI_ORDER_RMA_RAR", "FI_ORDER_RMA_RAW", "FI_ORDER_RMA_WAR",
    "FI_ORDER_RMA_WAW", "FI_ORDER_ATOMIC_RAR", "FI_ORDER_ATOMIC_RAW", "FI_ORDER_ATOMIC_WAR", "FI_ORDER_ATOMIC_WAW",
];
#[rustfmt::skip]
const MR_MODES: &[&str] = &[
    "FI_MR_LOCAL", "FI_MR_RAW", "FI_MR_VIRT_ADDR", "FI_MR_ALLOCATED", "FI_MR_PROV_KEY", "FI_MR_MMU_NOTIFY",
    "FI_MR_RMA_EVENT", "FI_MR_ENDPOINT", "FI_MR_HMEM", "FI_MR_COLLECTIVE",
];
#[rustfmt::skip]
const ERRORS: &[&str] = &[
    "FI_SUCCESS", "FI_EPERM", "FI_ENOENT", "FI_EINTR", "FI_EIO", "FI_E2BIG", "FI_EBADF", "FI_EAGAIN", "FI_ENOMEM",
    "FI_EACCES", "FI_EFAULT", "FI_EBUSY", "FI_ENODEV", "FI_EINVAL", "FI_EMFILE", "FI_ENOSPC", "FI_ENOSYS", "FI_ENOMSG",
    "FI_ENODATA", "FI_EOVERFLOW", "FI_EMSGSIZE", "FI_ENOPROTOOPT", "FI_EOPNOTSUPP", "FI_EADDRINUSE",
    "FI_EADDRNOTAVAIL", "FI_ENETDOWN", "FI_ENETUNREACH", "FI_ECONNABORTED", "FI_ECONNRESET", "FI_ENOBUFS", "FI_EISCONN",
    "FI_ENOTCONN", "FI_ESHUTDOWN", "FI_ETIMEDOUT", "FI_ECONNREFUSED", "FI_EHOSTDOWN", "FI_EHOSTUNREACH", "FI_EALREADY",
    "FI_EINPROGRESS", "FI_EREMOTEIO", "FI_ECANCELED", "FI_EKEYREJECTED", "FI_ERRNO_OFFSET", "FI_EOTHER",
    "FI_ETOOSMALL", "FI_EOPBADSTATE", "FI_EAVAIL", "FI_EBADFLAGS", "FI_ENOEQ", "FI_EDOMAIN", "FI_ENOCQ", "FI_ECRC",
    "FI_ETRUNC", "FI_ENOKEY", "FI_ENOAV", "FI_EOVERRUN", "FI_ENORX", "FI_ENOMR",
];
const COMMANDS: &[&str] =
    &["FI_GETWAIT", "FI_GETWAITOBJ", "FI_ENABLE", "FI_REFRESH", "FI_ALIAS", "FI_GETOPSFLAG"];
#[rustfmt::skip]
const OPTIONS: &[&str] = &[
    "FI_OPT_ENDPOINT", "FI_OPT_MIN_MULTI_RECV", "FI_OPT_CM_DATA_SIZE", "FI_OPT_CUDA_API_PERMITTED",
    "FI_OPT_SHARED_MEMORY_PERMITTED", "FI_OPT_MAX_MSG_SIZE", "FI_OPT_MAX_TAGGED_SIZE", "FI_OPT_MAX_RMA_SIZE",
    "FI_OPT_MAX_ATOMIC_SIZE", "FI_OPT_INJECT_MSG_SIZE", "FI_OPT_INJECT_TAGGED_SIZE", "FI_OPT_INJECT_RMA_SIZE",
    "FI_OPT_INJECT_ATOMIC_SIZE",
];
#[rustfmt::skip]
const ADDRESS_FORMATS: &[&str] = &[
    "FI_FORMAT_UNSPEC", "FI_SOCKADDR", "FI_SOCKADDR_IN", "FI_SOCKADDR_IN6", "FI_SOCKADDR_IB", "FI_ADDR_STR",
    "FI_ADDR_EFA",
];
#[rustfmt::skip]
const PROTOCOLS: &[&str] = &[
    "FI_PROTO_UNSPEC", "FI_PROTO_UDP", "FI_PROTO_SOCK_TCP", "FI_PROTO_RXM", "FI_PROTO_RXD", "FI_PROTO_SHM",
    "FI_PROTO_EFA", "FI_PROTO_RXM_TCP", "FI_PROTO_XNET", "FI_PROTO_SM2",
];
#[rustfmt::skip]
const TRAFFIC_CLASSES: &[&str] = &[
    "FI_TC_UNSPEC", "FI_TC_DSCP", "FI_TC_LABEL", "FI_TC_BEST_EFFORT", "FI_TC_LOW_LATENCY", "FI_TC_DEDICATED_ACCESS",
    "FI_TC_BULK_DATA", "FI_TC_SCAVENGER", "FI_TC_NETWORK_CTRL",
];
#[rustfmt::skip]
const EVENTS: &[&str] = &[
    "FI_NOTIFY", "FI_CONNREQ", "FI_CONNECTED", "FI_SHUTDOWN", "FI_MR_COMPLETE", "FI_AV_COMPLETE", "FI_JOIN_COMPLETE",
];
#[rustfmt::skip]
const CLASSES: &[&str] = &[
    "FI_CLASS_FABRIC", "FI_CLASS_DOMAIN", "FI_CLASS_EP", "FI_CLASS_AV", "FI_CLASS_MR", "FI_CLASS_EQ", "FI_CLASS_CQ",
    "FI_CLASS_CNTR", "FI_CLASS_NIC",
];

/// Goes before each constant's name on the way through clang, where the name itself is taken by the macro.
const PREFIX: &str = "efa_sys_";

/// Writes bindings for the headers in `include_dir` to `target`.
pub(crate) fn generate(include_dir: &Path, target: &Path) -> Result<(), String> {
    let bindings = bindgen::Builder::default()
        .header_contents("efa_sys.h", &header())
        .clang_arg(format!("-I{}", include_dir.display()))
        .allowlist_function(FUNCTIONS)
        .allowlist_type(TYPES)
        .allowlist_var(format!("{PREFIX}.*"))
        .blocklist_type("iovec")
        .raw_line("pub use libc::iovec;")
        .prepend_enum_name(false)
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        .merge_extern_blocks(true)
        .sort_semantically(true)
        .rust_target(bindgen::RustTarget::stable(85, 0).map_err(|error| error.to_string())?)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .parse_callbacks(Box::new(Unprefixed))
        .generate()
        .map_err(|error| format!("bindgen failed on the headers in {}: {error}", include_dir.display()))?;
    fs::write(target, bindings.to_string())
        .map_err(|error| format!("cannot write {}: {error}", target.display()))
}

/// The includes, and a typed C constant for each of [`CONSTANTS`].
fn header() -> String {
    let includes = HEADERS.iter().map(|name| format!("#include <rdma/{name}.h>\n"));
    let constants = CONSTANTS.iter().flat_map(|(c_type, names)| {
        names.iter().map(move |name| format!("static const {c_type} {PREFIX}{name} = {name};\n"))
    });
    includes.chain(constants).collect()
}

#[derive(Debug)]
struct Unprefixed;

impl ParseCallbacks for Unprefixed {
    fn item_name(&self, item: ItemInfo<'_>) -> Option<String> {
        item.name.strip_prefix(PREFIX).map(str::to_owned)
    }
}
