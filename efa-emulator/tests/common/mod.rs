//! A small user of the emulated device, written against the C interface, and the means to run parts of a test in
//! processes of their own: the environment is read once per process.

// Each test file uses its part.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use efa_emulator::abi::context::ibv_context;
use efa_emulator::abi::efadv::*;
use efa_emulator::abi::queue::*;
use efa_emulator::abi::verbs::*;
use efa_emulator::verbs::completions::*;
use efa_emulator::verbs::context::*;
use efa_emulator::verbs::devices::*;
use efa_emulator::verbs::handles::*;
use efa_emulator::verbs::queues::*;
use efa_emulator::verbs::regions::*;

/// Longer than anything here takes, shorter than anybody's patience.
pub const DEADLINE: Duration = Duration::from_secs(20);
pub const QKEY: u32 = 0x1234_5678;
pub const ALL: c_int = (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE) as c_int;

/// What a completion said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub wr_id: u64,
    pub status: u32,
    pub opcode: c_int,
    pub len: u32,
    pub imm: Option<u32>,
    pub source_qp: u32,
    pub source_handle: u32,
    pub source_gid: Option<[u8; 16]>,
    pub unsolicited: bool,
    pub route_header: bool,
}

/// How to reach an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub gid: [u8; 16],
    pub qpn: u32,
    pub key: u32,
    pub buffer: u64,
}

impl Name {
    pub fn text(&self) -> String {
        let gid: String = self.gid.iter().map(|b| format!("{b:02x}")).collect();
        format!("{gid} {} {} {}", self.qpn, self.key, self.buffer)
    }

    pub fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let hex = words.next().unwrap();
        let mut gid = [0; 16];
        for (i, byte) in gid.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
        }
        let mut number = || words.next().unwrap();
        Self {
            gid,
            qpn: number().parse().unwrap(),
            key: number().parse().unwrap(),
            buffer: number().parse().unwrap(),
        }
    }
}

/// What kind of endpoint to open.
#[derive(Clone, Copy)]
pub struct Options {
    pub device: usize,
    pub unreliable: bool,
    pub unsolicited: bool,
    pub retries: u8,
    pub channel: bool,
    pub depth: u32,
    pub access: c_int,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device: 0,
            unreliable: false,
            unsolicited: false,
            retries: 7,
            channel: false,
            depth: 64,
            access: ALL,
        }
    }
}

/// A device with one queue pair and a registered buffer of 1 MiB.
pub struct Endpoint {
    pub context: *mut ibv_context,
    pub pd: *mut ibv_pd,
    pub channel: *mut ibv_comp_channel,
    pub cq: *mut ibv_cq_ex,
    pub qp: *mut ibv_qp,
    pub mr: *mut ibv_mr,
    pub buffer: Vec<u8>,
    handles: BTreeMap<[u8; 16], usize>,
}

impl Endpoint {
    pub fn open(options: Options) -> Self {
        // SAFETY: the calls are used as rdma-core's manual pages say.
        unsafe {
            let mut count = 0;
            let list = ibv_get_device_list(&mut count);
            assert!(!list.is_null(), "no devices: {}", std::io::Error::last_os_error());
            assert!(options.device < count as usize);
            let context = ibv_open_device(*list.add(options.device));
            ibv_free_device_list(list);
            let pd = ibv_alloc_pd(context);
            let channel = if options.channel { ibv_create_comp_channel(context) } else { null_mut() };
            let mut cq_attr: ibv_cq_init_attr_ex = std::mem::zeroed();
            cq_attr.cqe = 1024;
            cq_attr.channel = channel;
            let cq = efadv_create_cq(context, &mut cq_attr, null_mut(), 0);
            assert!(!cq.is_null());
            let mut attr: ibv_qp_init_attr_ex = std::mem::zeroed();
            attr.send_cq = cq.cast();
            attr.recv_cq = cq.cast();
            attr.cap = ibv_qp_cap {
                max_send_wr: options.depth,
                max_recv_wr: options.depth,
                max_send_sge: 2,
                max_recv_sge: 1,
                max_inline_data: 32,
            };
            attr.qp_type = if options.unreliable { IBV_QPT_UD } else { IBV_QPT_DRIVER };
            attr.sq_sig_all = 1;
            attr.comp_mask = IBV_QP_INIT_ATTR_PD;
            attr.pd = pd;
            let flags = if options.unsolicited { EFADV_QP_FLAGS_UNSOLICITED_WRITE_RECV } else { 0 };
            let mut efa = efadv_qp_init_attr { flags, ..Default::default() };
            let qp = efadv_create_qp_ex(context, &mut attr, &mut efa, size_of::<efadv_qp_init_attr>() as u32);
            assert!(!qp.is_null(), "no queue pair: {}", std::io::Error::last_os_error());
            let mut buffer = vec![0u8; 1 << 20];
            let mr = ibv_reg_mr(pd, buffer.as_mut_ptr().cast(), buffer.len(), options.access);
            assert!(!mr.is_null());
            let endpoint = Self { context, pd, channel, cq, qp, mr, buffer, handles: BTreeMap::new() };
            endpoint.modify(IBV_QPS_RTR, IBV_QP_STATE | IBV_QP_QKEY, 0);
            endpoint.modify(IBV_QPS_RTS, IBV_QP_STATE | IBV_QP_RNR_RETRY, options.retries);
            endpoint
        }
    }

    pub fn modify(&self, state: c_int, mask: c_int, retries: u8) {
        // SAFETY: an attribute structure of integers.
        let mut attr: ibv_qp_attr = unsafe { std::mem::zeroed() };
        attr.qp_state = state;
        attr.qkey = QKEY;
        attr.rnr_retry = retries;
        // SAFETY: a valid queue pair.
        assert_eq!(unsafe { ibv_modify_qp(self.qp, &mut attr, mask) }, 0);
    }

    pub fn name(&self) -> Name {
        let mut gid = ibv_gid::default();
        // SAFETY: a valid context, queue pair and region.
        unsafe {
            assert_eq!(ibv_query_gid(self.context, 1, 0, &mut gid), 0);
            Name {
                gid: gid.raw,
                qpn: (*self.qp).qp_num,
                key: (*self.mr).rkey,
                buffer: self.buffer.as_ptr() as u64,
            }
        }
    }

    /// The address handle for a peer, made at the first call.
    pub fn meet(&mut self, peer: &Name) -> *mut ibv_ah {
        let pd = self.pd;
        *self.handles.entry(peer.gid).or_insert_with(|| {
            // SAFETY: an attribute structure of integers, and a valid protection domain.
            unsafe {
                let mut attr: ibv_ah_attr = std::mem::zeroed();
                attr.grh.dgid.raw = peer.gid;
                let ah = ibv_create_ah(pd, &mut attr);
                assert!(!ah.is_null(), "no address handle: {}", std::io::Error::last_os_error());
                ah as usize
            }
        }) as *mut ibv_ah
    }

    pub fn handle_number(&mut self, peer: &Name) -> u16 {
        let ah = self.meet(peer);
        let mut attr = efadv_ah_attr { comp_mask: 0, ahn: 0, reserved: [0; 6] };
        // SAFETY: a valid address handle.
        assert_eq!(unsafe { efadv_query_ah(ah, &mut attr, size_of::<efadv_ah_attr>() as u32) }, 0);
        attr.ahn
    }

    pub fn post_receive(&self, wr_id: u64, offset: usize, length: u32) -> c_int {
        let mut piece = self.piece(offset, length);
        let mut wr = ibv_recv_wr { wr_id, next: null_mut(), sg_list: &mut piece, num_sge: 1 };
        let mut bad = null_mut();
        // SAFETY: a valid context and queue pair.
        unsafe { (*self.context).ops.post_recv.unwrap()(self.qp, &mut wr, &mut bad) }
    }

    /// Posts work: `build` makes it between `wr_start` and `wr_complete`.
    pub fn post(&mut self, peer: &Name, wr_id: u64, build: impl FnOnce(*mut ibv_qp_ex)) -> c_int {
        self.post_to(peer, QKEY, wr_id, build)
    }

    pub fn post_to(
        &mut self,
        peer: &Name,
        qkey: u32,
        wr_id: u64,
        build: impl FnOnce(*mut ibv_qp_ex),
    ) -> c_int {
        let ah = self.meet(peer);
        // SAFETY: a valid queue pair and address handle; one thread builds at a time.
        unsafe {
            let qp = ibv_qp_to_qp_ex(self.qp);
            (*qp).wr_start.unwrap()(qp);
            (*qp).wr_id = wr_id;
            (*qp).wr_flags = 0;
            build(qp);
            (*qp).wr_set_ud_addr.unwrap()(qp, ah, peer.qpn, qkey);
            (*qp).wr_complete.unwrap()(qp)
        }
    }

    pub fn send(&mut self, peer: &Name, wr_id: u64, offset: usize, length: u32) -> c_int {
        let piece = self.piece(offset, length);
        // SAFETY: `post` passes a valid queue pair that is being built on.
        self.post(peer, wr_id, |qp| unsafe {
            (*qp).wr_send.unwrap()(qp);
            (*qp).wr_set_sge_list.unwrap()(qp, 1, &piece);
        })
    }

    pub fn write(&mut self, peer: &Name, wr_id: u64, length: u32, imm: Option<u32>) -> c_int {
        let (piece, name) = (self.piece(0, length), *peer);
        // SAFETY: `post` passes a valid queue pair that is being built on.
        self.post(peer, wr_id, |qp| unsafe {
            match imm {
                None => (*qp).wr_rdma_write.unwrap()(qp, name.key, name.buffer),
                Some(imm) => (*qp).wr_rdma_write_imm.unwrap()(qp, name.key, name.buffer, imm),
            }
            (*qp).wr_set_sge_list.unwrap()(qp, 1, &piece);
        })
    }

    pub fn read(&mut self, peer: &Name, wr_id: u64, length: u32) -> c_int {
        let (piece, name) = (self.piece(0, length), *peer);
        // SAFETY: `post` passes a valid queue pair that is being built on.
        self.post(peer, wr_id, |qp| unsafe {
            (*qp).wr_rdma_read.unwrap()(qp, name.key, name.buffer);
            (*qp).wr_set_sge_list.unwrap()(qp, 1, &piece);
        })
    }

    pub fn piece(&self, offset: usize, length: u32) -> ibv_sge {
        // SAFETY: a valid region.
        let lkey = unsafe { (*self.mr).lkey };
        ibv_sge { addr: self.buffer.as_ptr() as u64 + offset as u64, length, lkey }
    }

    /// One completion if there is any now.
    pub fn try_poll(&self) -> Option<Done> {
        // SAFETY: a valid completion queue, polled by one thread.
        unsafe {
            let cq = self.cq;
            let mut attr = ibv_poll_cq_attr { comp_mask: 0 };
            match (*cq).start_poll.unwrap()(cq, &mut attr) {
                0 => {}
                e => {
                    assert_eq!(e, libc::ENOENT);
                    return None;
                }
            }
            let efa = efadv_cq_from_ibv_cq_ex(cq);
            let mut gid = ibv_gid::default();
            let known = (*efa).wc_read_sgid.unwrap()(efa, &mut gid) < 0;
            let flags = (*cq).read_wc_flags.unwrap()(cq);
            let done = Done {
                wr_id: (*cq).wr_id,
                status: (*cq).read_vendor_err.unwrap()(cq),
                opcode: (*cq).read_opcode.unwrap()(cq),
                len: (*cq).read_byte_len.unwrap()(cq),
                imm: (flags & IBV_WC_WITH_IMM != 0).then(|| (*cq).read_imm_data.unwrap()(cq)),
                source_qp: (*cq).read_src_qp.unwrap()(cq),
                source_handle: (*cq).read_slid.unwrap()(cq),
                source_gid: (!known).then_some(gid.raw),
                unsolicited: (*efa).wc_is_unsolicited.unwrap()(efa),
                route_header: flags & IBV_WC_GRH != 0,
            };
            assert_eq!((*cq).status == 0, done.status == 0);
            (*cq).end_poll.unwrap()(cq);
            Some(done)
        }
    }

    /// The next completion.
    pub fn poll(&self) -> Done {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.try_poll() {
                Some(done) => return done,
                None => assert!(Instant::now() < deadline, "no completion within {DEADLINE:?}"),
            }
        }
    }

    /// The next completion of a send, read or write; receives on the way are dropped.
    pub fn poll_sent(&self) -> Done {
        loop {
            let done = self.poll();
            if done.opcode & IBV_WC_RECV == 0 {
                return done;
            }
        }
    }

    /// The next two completions: that of a send and that of its receive, in whatever order they come.
    pub fn poll_both(&self) -> (Done, Done) {
        let (a, b) = (self.poll(), self.poll());
        if a.opcode & IBV_WC_RECV == 0 { (a, b) } else { (b, a) }
    }

    /// The next receive; other completions on the way must have gone well.
    pub fn poll_received(&self) -> Done {
        loop {
            let done = self.poll();
            if done.opcode & IBV_WC_RECV != 0 {
                return done;
            }
            assert_eq!(done.status, 0);
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // SAFETY: everything was made by `open` or `meet`, and is destroyed in reverse order.
        unsafe {
            assert_eq!(ibv_destroy_qp(self.qp), 0);
            for ah in self.handles.values() {
                assert_eq!(ibv_destroy_ah(*ah as *mut ibv_ah), 0);
            }
            assert_eq!(ibv_dereg_mr(self.mr), 0);
            assert_eq!(ibv_destroy_cq(self.cq.cast()), 0);
            if !self.channel.is_null() {
                assert_eq!(ibv_destroy_comp_channel(self.channel), 0);
            }
            assert_eq!(ibv_dealloc_pd(self.pd), 0);
            assert_eq!(ibv_close_device(self.context), 0);
        }
    }
}

/// Starts a process that runs one scenario of this test program, in the job of a folder.
pub fn start(dir: &Path, scenario: &str, environment: &[(&str, &str)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "scenarios", "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("EFA_")) {
        command.env_remove(name);
    }
    command.env("EFA_EMULATOR_DIR", dir).env("SCENARIO", scenario).envs(environment.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a process printed with [`say`], and what it wrote to stderr. The process must have ended well.
pub fn finish(child: Child) -> (Vec<String>, String) {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (stdout.lines().filter_map(|line| line.strip_prefix("= ").map(str::to_owned)).collect(), stderr)
}

/// Runs one scenario alone and returns what it said.
pub fn run(scenario: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    finish(start(dir.path(), scenario, environment)).0
}

/// Says something to the test that started this process.
pub fn say(text: impl std::fmt::Display) {
    // The test harness may have left its own line unfinished.
    println!("\n= {text}");
}

/// Puts a fact where other processes of the job find it.
pub fn tell(what: &str, fact: &str) {
    let dir = std::env::var("EFA_EMULATOR_DIR").unwrap();
    let path = Path::new(&dir).join(format!("fact-{what}"));
    std::fs::write(path.with_extension("new"), fact).unwrap();
    std::fs::rename(path.with_extension("new"), path).unwrap();
}

/// Waits for a fact that another process tells.
pub fn ask(what: &str) -> String {
    let dir = std::env::var("EFA_EMULATOR_DIR").unwrap();
    let path = Path::new(&dir).join(format!("fact-{what}"));
    let deadline = Instant::now() + DEADLINE;
    loop {
        match std::fs::read_to_string(&path) {
            Ok(fact) => return fact,
            Err(_) => assert!(Instant::now() < deadline, "nobody told {what}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
