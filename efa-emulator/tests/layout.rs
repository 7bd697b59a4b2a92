//! The Rust structures have the sizes and offsets of the C headers on this machine.
//!
//! `EFA_EMULATOR_RDMA_INCLUDE` names another folder with rdma-core's headers to check against. Without headers or a C
//! compiler there is nothing to compare with, and the test says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::PathBuf;
use std::process::Command;

use efa_emulator::abi::context::*;
use efa_emulator::abi::efadv::*;
use efa_emulator::abi::queue::*;
use efa_emulator::abi::verbs::*;

/// One fact: a C expression, what Rust says, and the names that the headers must contain for the fact to apply.
struct Fact {
    expression: String,
    ours: usize,
    needs: [&'static str; 2],
}

macro_rules! facts {
    ($list:ident, $type:ident, size, [$($field:ident),* $(,)?]) => {
        $list.push(Fact {
            expression: concat!("sizeof(struct ", stringify!($type), ")").to_owned(),
            ours: size_of::<$type>(),
            needs: [stringify!($type); 2],
        });
        facts!($list, $type, offsets, [$($field),*]);
    };
    ($list:ident, $type:ident, offsets, [$($field:ident),* $(,)?]) => {
        $($list.push(Fact {
            expression: concat!("offsetof(struct ", stringify!($type), ", ", stringify!($field), ")").to_owned(),
            ours: offset_of!($type, $field),
            needs: [stringify!($type), stringify!($field)],
        });)*
    };
}

fn our_facts() -> Vec<Fact> {
    let mut f = Vec::new();
    facts!(f, ibv_device, size, [node_type, transport_type, name, dev_name, dev_path, ibdev_path]);
    facts!(
        f,
        ibv_device_attr,
        size,
        [
            fw_ver,
            node_guid,
            max_mr_size,
            vendor_id,
            vendor_part_id,
            max_qp,
            max_qp_wr,
            max_sge,
            max_sge_rd,
            max_cq,
            max_cqe,
            max_mr,
            max_pd,
            max_ah,
            max_srq,
            max_pkeys,
            phys_port_cnt,
        ]
    );
    // Newer headers append to the port's attributes, so only the offsets hold.
    facts!(
        f,
        ibv_port_attr,
        offsets,
        [
            state,
            max_mtu,
            active_mtu,
            gid_tbl_len,
            max_msg_sz,
            pkey_tbl_len,
            lid,
            max_vl_num,
            active_width,
            active_speed,
            phys_state,
            link_layer,
            flags,
            port_cap_flags2,
        ]
    );
    facts!(f, ibv_pd, size, [context, handle]);
    facts!(f, ibv_mr, size, [context, pd, addr, length, handle, lkey, rkey]);
    facts!(f, ibv_grh, size, [paylen, next_hdr, sgid, dgid]);
    facts!(f, ibv_global_route, size, [dgid, flow_label, traffic_class]);
    facts!(f, ibv_ah_attr, size, [grh, dlid, is_global, port_num]);
    facts!(f, ibv_ah, size, [context, pd, handle]);
    facts!(f, ibv_context_ops, size, [poll_cq, req_notify_cq, post_srq_recv, post_send, post_recv]);
    facts!(f, ibv_context, size, [device, ops, cmd_fd, async_fd, num_comp_vectors, mutex, abi_compat]);
    facts!(
        f,
        verbs_context,
        size,
        [query_port, create_cq_ex, query_device_ex, open_qp, create_qp_ex, sz, context]
    );
    facts!(f, ibv_comp_channel, size, [context, fd, refcnt]);
    facts!(f, ibv_cq, size, [context, channel, cq_context, handle, cqe, mutex, cond, comp_events_completed]);
    facts!(
        f,
        ibv_cq_ex,
        size,
        [
            comp_mask,
            status,
            wr_id,
            start_poll,
            next_poll,
            end_poll,
            read_opcode,
            read_vendor_err,
            read_byte_len,
            read_imm_data,
            read_qp_num,
            read_src_qp,
            read_wc_flags,
            read_slid,
            read_sl,
            read_dlid_path_bits,
        ]
    );
    facts!(f, ibv_cq_init_attr_ex, size, [cqe, cq_context, channel, comp_vector, wc_flags, comp_mask, flags]);
    facts!(f, ibv_poll_cq_attr, size, [comp_mask]);
    facts!(
        f,
        ibv_wc,
        size,
        [
            wr_id,
            status,
            opcode,
            vendor_err,
            byte_len,
            imm_data,
            qp_num,
            src_qp,
            wc_flags,
            slid,
            sl,
            dlid_path_bits,
        ]
    );
    facts!(f, ibv_qp_cap, size, [max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline_data]);
    facts!(f, ibv_qp_init_attr, size, [qp_context, send_cq, recv_cq, srq, cap, qp_type, sq_sig_all]);
    facts!(
        f,
        ibv_qp_init_attr_ex,
        size,
        [
            qp_context,
            send_cq,
            recv_cq,
            srq,
            cap,
            qp_type,
            sq_sig_all,
            comp_mask,
            pd,
            create_flags,
            send_ops_flags,
        ]
    );
    facts!(f, ibv_qp_attr, size, [qp_state, qkey, cap, ah_attr, pkey_index, port_num, rnr_retry, rate_limit]);
    facts!(
        f,
        ibv_qp,
        size,
        [
            context,
            qp_context,
            pd,
            send_cq,
            recv_cq,
            srq,
            handle,
            qp_num,
            state,
            qp_type,
            mutex,
            cond,
            events_completed,
        ]
    );
    // Newer headers append calls to the extended queue pair, so only the offsets hold.
    facts!(
        f,
        ibv_qp_ex,
        offsets,
        [
            qp_base,
            comp_mask,
            wr_id,
            wr_flags,
            wr_rdma_read,
            wr_rdma_write,
            wr_rdma_write_imm,
            wr_send,
            wr_send_imm,
            wr_set_ud_addr,
            wr_set_inline_data,
            wr_set_inline_data_list,
            wr_set_sge,
            wr_set_sge_list,
            wr_start,
            wr_complete,
            wr_abort,
        ]
    );
    facts!(f, ibv_data_buf, size, [addr, length]);
    facts!(f, ibv_sge, size, [addr, length, lkey]);
    facts!(f, ibv_recv_wr, size, [wr_id, next, sg_list, num_sge]);
    facts!(f, ibv_send_wr, size, [wr_id, next, sg_list, num_sge, opcode, send_flags, imm_data]);
    for (c, ours) in [
        ("wr.ud.ah", offset_of!(ibv_send_wr, ud.ah)),
        ("wr.ud.remote_qpn", offset_of!(ibv_send_wr, ud.remote_qpn)),
        ("wr.ud.remote_qkey", offset_of!(ibv_send_wr, ud.remote_qkey)),
        ("qp_type", offset_of!(ibv_send_wr, _qp_type)),
    ] {
        f.push(Fact {
            expression: format!("offsetof(struct ibv_send_wr, {c})"),
            ours,
            needs: ["ibv_send_wr"; 2],
        });
    }
    f.push(Fact {
        expression: "sizeof(union ibv_gid)".to_owned(),
        ours: size_of::<ibv_gid>(),
        needs: ["ibv_gid"; 2],
    });
    f.push(Fact {
        expression: "_Alignof(union ibv_gid)".to_owned(),
        ours: align_of::<ibv_gid>(),
        needs: ["ibv_gid"; 2],
    });
    facts!(
        f,
        efadv_device_attr,
        size,
        [max_sq_wr, max_rq_wr, max_sq_sge, max_rq_sge, inline_buf_size, device_caps, max_rdma_size,]
    );
    facts!(f, efadv_qp_init_attr, size, [comp_mask, driver_qp_type]);
    facts!(f, efadv_ah_attr, size, [comp_mask, ahn]);
    facts!(f, efadv_cq, offsets, [comp_mask, wc_read_sgid, wc_is_unsolicited]);
    facts!(f, efadv_mr_attr, size, [comp_mask, ic_id_validity, recv_ic_id, rdma_read_ic_id, rdma_recv_ic_id]);
    if cfg!(target_pointer_width = "64") {
        f.push(Fact {
            expression: "EFADV_QP_FLAGS_UNSOLICITED_WRITE_RECV".to_owned(),
            ours: usize::from(EFADV_QP_FLAGS_UNSOLICITED_WRITE_RECV),
            needs: ["EFADV_QP_FLAGS_UNSOLICITED_WRITE_RECV"; 2],
        });
    }
    for (name, ours) in [
        ("EFADV_DEVICE_ATTR_CAPS_RDMA_READ", EFADV_DEVICE_ATTR_CAPS_RDMA_READ),
        ("EFADV_DEVICE_ATTR_CAPS_RNR_RETRY", EFADV_DEVICE_ATTR_CAPS_RNR_RETRY),
        ("EFADV_DEVICE_ATTR_CAPS_CQ_WITH_SGID", EFADV_DEVICE_ATTR_CAPS_CQ_WITH_SGID),
        ("EFADV_DEVICE_ATTR_CAPS_RDMA_WRITE", EFADV_DEVICE_ATTR_CAPS_RDMA_WRITE),
        ("EFADV_DEVICE_ATTR_CAPS_UNSOLICITED_WRITE_RECV", EFADV_DEVICE_ATTR_CAPS_UNSOLICITED_WRITE_RECV),
        ("IBV_QP_INIT_ATTR_PD", IBV_QP_INIT_ATTR_PD),
        ("IBV_QPT_UD", IBV_QPT_UD as u32),
        ("IBV_QPT_DRIVER", IBV_QPT_DRIVER as u32),
        ("IBV_QPS_RTR", IBV_QPS_RTR as u32),
        ("IBV_QPS_ERR", IBV_QPS_ERR as u32),
        ("IBV_QP_QKEY", IBV_QP_QKEY as u32),
        ("IBV_QP_RNR_RETRY", IBV_QP_RNR_RETRY as u32),
        ("IBV_WR_SEND", IBV_WR_SEND as u32),
        ("IBV_WR_SEND_WITH_IMM", IBV_WR_SEND_WITH_IMM as u32),
        ("IBV_SEND_INLINE", IBV_SEND_INLINE),
        ("IBV_WC_RECV", IBV_WC_RECV as u32),
        ("IBV_WC_RECV_RDMA_WITH_IMM", IBV_WC_RECV_RDMA_WITH_IMM as u32),
        ("IBV_WC_WITH_IMM", IBV_WC_WITH_IMM),
        ("IBV_NODE_UNSPECIFIED", IBV_NODE_UNSPECIFIED as u32),
        ("IBV_TRANSPORT_UNSPECIFIED", IBV_TRANSPORT_UNSPECIFIED as u32),
        ("IBV_FORK_UNNEEDED", IBV_FORK_UNNEEDED as u32),
        ("IBV_ACCESS_REMOTE_READ", IBV_ACCESS_REMOTE_READ),
    ] {
        f.push(Fact { expression: name.to_owned(), ours: ours as usize, needs: [name; 2] });
    }
    f
}

#[test]
fn structures_match_the_installed_headers() {
    let include = std::env::var_os("EFA_EMULATOR_RDMA_INCLUDE")
        .map_or_else(|| PathBuf::from("/usr/include"), PathBuf::from);
    let read = |name: &str| std::fs::read_to_string(include.join("infiniband").join(name));
    let (Ok(verbs), Ok(efadv)) = (read("verbs.h"), read("efadv.h")) else {
        eprintln!(
            "not checked: no rdma-core headers in {} (apt-get install libibverbs-dev)",
            include.display()
        );
        return;
    };
    if Command::new("cc").arg("--version").output().is_err() {
        eprintln!("not checked: no C compiler 'cc'");
        return;
    }
    let facts: Vec<Fact> = our_facts()
        .into_iter()
        .filter(|f| f.needs.iter().all(|n| verbs.contains(n) || efadv.contains(n)))
        .collect();
    let theirs = ask_compiler(&include, &facts);
    let wrong: Vec<String> = facts
        .iter()
        .filter(|f| theirs[&f.expression] != f.ours)
        .map(|f| format!("{}: C {}, Rust {}", f.expression, theirs[&f.expression], f.ours))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(facts.len() > 150, "only {} facts apply", facts.len());
}

fn ask_compiler(include: &std::path::Path, facts: &[Fact]) -> BTreeMap<String, usize> {
    let mut source =
        "#include <stddef.h>\n#include <stdio.h>\n#include <infiniband/efadv.h>\nint main(void) {\n"
            .to_owned();
    for fact in facts {
        let e = &fact.expression;
        writeln!(source, "printf(\"%zu {e}\\n\", (size_t)({e}));").unwrap();
    }
    source.push_str("return 0; }\n");
    let dir = tempfile::tempdir().unwrap();
    let (c, program) = (dir.path().join("facts.c"), dir.path().join("facts"));
    std::fs::write(&c, source).unwrap();
    let compiled =
        Command::new("cc").arg("-I").arg(include).arg("-w").arg(&c).arg("-o").arg(&program).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let printed = Command::new(&program).output().unwrap();
    String::from_utf8(printed.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let (value, expression) = line.split_once(' ').unwrap();
            (expression.to_owned(), value.parse().unwrap())
        })
        .collect()
}
