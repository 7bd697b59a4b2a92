//! The bindings agree with the headers of the built-in libfabric: a small C program prints what the C compiler makes of
//! each structure and constant, and every line must be what Rust has.
#![cfg(feature = "vendored")]

use std::fs;
use std::mem::{offset_of, size_of};
use std::process::Command;

use efa_sys::*;

/// One value: how C writes it, and what it is here.
struct Fact {
    c: String,
    rust: u64,
}

/// The size of each structure and the offset of each of its fields. `field as name` is for names that Rust
/// reserves.
macro_rules! structures {
    ($($name:ident { $($field:ident $(as $c_field:ident)?),* $(,)? })*) => {{
        let mut facts = Vec::new();
        $(
            facts.push(Fact {
                c: concat!("sizeof(struct ", stringify!($name), ")").into(),
                rust: size_of::<$name>() as u64,
            });
            $(
                let c_field = [$(stringify!($c_field),)? stringify!($field)][0];
                facts.push(Fact {
                    c: format!("offsetof(struct {}, {c_field})", stringify!($name)),
                    rust: offset_of!($name, $field) as u64,
                });
            )*
        )*
        facts
    }};
}

/// Constants, as 64-bit numbers.
macro_rules! constants {
    ($($name:ident)*) => {
        vec![$(Fact { c: stringify!($name).into(), rust: $name as u64 }),*]
    };
}

#[test]
fn attributes_have_the_layout_of_the_headers() {
    check(structures! {
        fi_info {
            next, caps, mode, addr_format, src_addrlen, dest_addrlen, src_addr, dest_addr, handle, tx_attr, rx_attr,
            ep_attr, domain_attr, fabric_attr, nic,
        }
        fi_tx_attr {
            caps, mode, op_flags, msg_order, comp_order, inject_size, size, iov_limit, rma_iov_limit, tclass,
        }
        fi_rx_attr { caps, mode, op_flags, msg_order, comp_order, size, iov_limit }
        fi_ep_attr {
            type_ as type, protocol, protocol_version, max_msg_size, msg_prefix_size, max_order_raw_size,
            max_order_war_size, max_order_waw_size, mem_tag_format, tx_ctx_cnt, rx_ctx_cnt, auth_key_size, auth_key,
        }
        fi_domain_attr {
            domain, name, threading, control_progress, data_progress, resource_mgmt, av_type, mr_mode, mr_key_size,
            cq_data_size, cq_cnt, ep_cnt, tx_ctx_cnt, rx_ctx_cnt, max_ep_tx_ctx, max_ep_rx_ctx, max_ep_stx_ctx,
            max_ep_srx_ctx, cntr_cnt, mr_iov_limit, caps, mode, auth_key, auth_key_size, max_err_data, mr_cnt, tclass,
            max_ep_auth_key,
        }
        fi_fabric_attr { fabric, name, prov_name, prov_version, api_version }
        fi_device_attr { name, device_id, device_version, vendor_id, driver, firmware }
        fi_pci_attr { domain_id, bus_id, device_id, function_id }
        fi_bus_attr { bus_type, attr }
        fi_link_attr { address, mtu, speed, state, network_type }
        fi_av_attr { type_ as type, rx_ctx_bits, count, ep_per_node, name, map_addr, flags }
        fi_cq_attr { size, flags, format, wait_obj, signaling_vector, wait_cond, wait_set }
        fi_cntr_attr { events, wait_obj, wait_set, flags }
        fi_eq_attr { size, flags, wait_obj, signaling_vector, wait_set }
        fi_mr_attr {
            iov_count, access, offset, requested_key, context, auth_key_size, auth_key, iface, device, hmem_data,
        }
        fi_mr_modify { flags, attr }
        fi_atomic_attr { count, size }
        fi_param { name, type_ as type, help_string, value }
    });
}

#[test]
fn handles_have_the_layout_of_the_headers() {
    check(structures! {
        fid { fclass, context, ops }
        fid_fabric { fid, ops, api_version }
        fid_domain { fid, ops, mr }
        fid_ep { fid, ops, cm, msg, rma, tagged, atomic, collective }
        fid_av { fid, ops }
        fid_cq { fid, ops }
        fid_cntr { fid, ops }
        fid_eq { fid, ops }
        fid_mr { fid, mem_desc, key }
        fid_nic { fid, device_attr, bus_attr, link_attr, prov_attr }
    });
}

#[test]
fn tables_of_functions_have_the_layout_of_the_headers() {
    check(structures! {
        fi_ops { size, close, bind, control, ops_open, tostr, ops_set }
        fi_ops_fabric { size, domain, passive_ep, eq_open, wait_open, trywait, domain2 }
        fi_ops_domain {
            size, av_open, cq_open, endpoint, scalable_ep, cntr_open, poll_open, stx_ctx, srx_ctx, query_atomic,
            query_collective, endpoint2,
        }
        fi_ops_mr { size, reg, regv, regattr }
        fi_ops_av {
            size, insert, insertsvc, insertsym, remove, lookup, straddr, av_set, insert_auth_key, lookup_auth_key,
            set_user_id,
        }
        fi_ops_ep { size, cancel, getopt, setopt, tx_ctx, rx_ctx, rx_size_left, tx_size_left }
        fi_ops_cm { size, setname, getname, getpeer, connect, listen, accept, reject, shutdown, join }
        fi_ops_msg { size, recv, recvv, recvmsg, send, sendv, sendmsg, inject, senddata, injectdata }
        fi_ops_tagged { size, recv, recvv, recvmsg, send, sendv, sendmsg, inject, senddata, injectdata }
        fi_ops_rma { size, read, readv, readmsg, write, writev, writemsg, inject, writedata, injectdata }
        fi_ops_atomic {
            size, write, writev, writemsg, inject, readwrite, readwritev, readwritemsg, compwrite, compwritev,
            compwritemsg, writevalid, readwritevalid, compwritevalid,
        }
        fi_ops_cq { size, read, readfrom, readerr, sread, sreadfrom, signal, strerror }
        fi_ops_cntr { size, read, readerr, add, set, wait, adderr, seterr }
        fi_ops_eq { size, read, readerr, write, sread, strerror }
    });
}

#[test]
fn requests_and_completions_have_the_layout_of_the_headers() {
    check(structures! {
        fi_context { internal }
        fi_context2 { internal }
        fi_ioc { addr, count }
        fi_rma_iov { addr, len, key }
        fi_rma_ioc { addr, count, key }
        fi_msg { msg_iov, desc, iov_count, addr, context, data }
        fi_msg_tagged { msg_iov, desc, iov_count, addr, tag, ignore, context, data }
        fi_msg_rma { msg_iov, desc, iov_count, addr, rma_iov, rma_iov_count, context, data }
        fi_msg_atomic {
            msg_iov, desc, iov_count, addr, rma_iov, rma_iov_count, datatype, op, context, data,
        }
        fi_msg_fetch { msg_iov, desc, iov_count }
        fi_msg_compare { msg_iov, desc, iov_count }
        fi_cq_entry { op_context }
        fi_cq_msg_entry { op_context, flags, len }
        fi_cq_data_entry { op_context, flags, len, buf, data }
        fi_cq_tagged_entry { op_context, flags, len, buf, data, tag }
        fi_cq_err_entry {
            op_context, flags, len, buf, data, tag, olen, err, prov_errno, err_data, err_data_size, src_addr,
        }
        fi_eq_entry { fid, context, data }
        fi_eq_err_entry { fid, context, data, err, prov_errno, err_data, err_data_size }
    });
}

#[test]
fn constants_have_the_values_of_the_headers() {
    check(constants! {
        FI_MSG FI_RMA FI_TAGGED FI_ATOMIC FI_READ FI_WRITE FI_RECV FI_SEND FI_REMOTE_READ FI_REMOTE_WRITE
        FI_REMOTE_CQ_DATA FI_MORE FI_PEEK FI_FENCE FI_COMPLETION FI_INJECT FI_INJECT_COMPLETE FI_TRANSMIT_COMPLETE
        FI_DELIVERY_COMPLETE FI_COMMIT_COMPLETE FI_MATCH_COMPLETE FI_LOCAL_COMM FI_REMOTE_COMM FI_RMA_EVENT FI_SOURCE
        FI_DIRECTED_RECV FI_CLAIM FI_DISCARD FI_SELECTIVE_COMPLETION FI_FETCH_ATOMIC FI_COMPARE_ATOMIC FI_CONTEXT
        FI_CONTEXT2 FI_MSG_PREFIX FI_RX_CQ_DATA FI_ORDER_SAS FI_ORDER_WAW FI_ORDER_RMA_WAW FI_MR_LOCAL FI_MR_VIRT_ADDR
        FI_MR_ALLOCATED FI_MR_PROV_KEY FI_MR_RMA_EVENT FI_MR_ENDPOINT FI_MR_HMEM FI_ADDR_UNSPEC FI_ADDR_NOTAVAIL
        FI_KEY_NOTAVAIL FI_EAGAIN FI_ENOSYS FI_ECANCELED FI_ENODATA FI_EOPNOTSUPP FI_ETIMEDOUT FI_EOTHER FI_ETOOSMALL
        FI_EOPBADSTATE FI_EAVAIL FI_EBADFLAGS FI_ENOEQ FI_EDOMAIN FI_ENOCQ FI_ECRC FI_ETRUNC FI_ENOKEY FI_ENOAV
        FI_EOVERRUN FI_ENORX FI_GETWAIT FI_GETWAITOBJ FI_ENABLE FI_REFRESH FI_ALIAS FI_OPT_ENDPOINT
        FI_OPT_SHARED_MEMORY_PERMITTED FI_OPT_INJECT_TAGGED_SIZE FI_PROTO_SHM FI_PROTO_EFA FI_PROTO_RXM FI_PROTO_RXM_TCP
        FI_PROTO_XNET FI_PROTO_SOCK_TCP FI_ADDR_EFA FI_ADDR_STR FI_SOCKADDR_IN FI_SOCKADDR_IN6 FI_EP_MSG FI_EP_DGRAM
        FI_EP_RDM FI_AV_MAP FI_AV_TABLE FI_THREAD_SAFE FI_THREAD_DOMAIN FI_PROGRESS_AUTO FI_PROGRESS_MANUAL
        FI_WAIT_NONE FI_WAIT_UNSPEC FI_WAIT_FD FI_WAIT_YIELD FI_CQ_FORMAT_DATA FI_CQ_FORMAT_TAGGED FI_INT8 FI_UINT8
        FI_INT32 FI_UINT32 FI_INT64 FI_UINT64 FI_FLOAT FI_DOUBLE FI_MIN FI_MAX FI_SUM FI_PROD FI_BOR FI_BAND FI_BXOR
        FI_ATOMIC_READ FI_ATOMIC_WRITE FI_CSWAP FI_MSWAP FI_BUS_PCI FI_LINK_UP FI_PARAM_SIZE_T FI_TYPE_CAPS
    });
}

/// Compiles and runs a C program that prints each fact's value, and compares line by line.
fn check(facts: Vec<Fact>) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let (source, program) = (folder.path().join("layout.c"), folder.path().join("layout"));
    let headers = [
        "fabric",
        "fi_errno",
        "fi_domain",
        "fi_endpoint",
        "fi_tagged",
        "fi_rma",
        "fi_atomic",
        "fi_cm",
        "fi_eq",
    ];
    let includes: String = headers.iter().map(|name| format!("#include <rdma/{name}.h>\n")).collect();
    let lines: String = facts
        .iter()
        .map(|fact| format!("printf(\"%llu\\n\", (unsigned long long) ({}));\n", fact.c))
        .collect();
    let text = format!(
        "#include <stddef.h>\n#include <stdio.h>\n{includes}int main(void) {{\n{lines}return 0;\n}}\n"
    );
    fs::write(&source, text).expect("the scratch folder takes a file");

    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let compiled = Command::new(&compiler)
        .args(["-w", "-I", INCLUDE_DIR, "-o"])
        .args([&program, &source])
        .output()
        .unwrap_or_else(|error| panic!("cannot start {compiler}: {error}"));
    assert!(compiled.status.success(), "{compiler} failed:\n{}", String::from_utf8_lossy(&compiled.stderr));

    let output = Command::new(&program).output().expect("the program was just compiled").stdout;
    let output = String::from_utf8(output).expect("digits");
    let values: Vec<u64> = output.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(values.len(), facts.len());
    for (fact, value) in facts.iter().zip(values) {
        assert!(fact.rust == value, "{}: {} in Rust, {value} in C ({INCLUDE_DIR})", fact.c, fact.rust);
    }
}
