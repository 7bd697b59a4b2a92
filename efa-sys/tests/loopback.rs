//! Two endpoints of one process talk to each other through the calls of `efa_sys::inline`, on each provider
//! that needs no device. What is tested is that every call reaches the entry it names, with its arguments in
//! order.

use std::ffi::CStr;
use std::os::raw::{c_int, c_void};
use std::ptr;
use std::time::{Duration, Instant};

use efa_sys::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// An open endpoint, and everything below it.
struct Node {
    info: *mut fi_info,
    fabric: *mut fid_fabric,
    domain: *mut fid_domain,
    av: *mut fid_av,
    cq: *mut fid_cq,
    ep: *mut fid_ep,
    /// The context that the provider may write to while an operation is under way.
    context: Box<fi_context2>,
}

impl Node {
    /// Opens an endpoint that can do what `caps` says.
    fn open(provider: &CStr, caps: u64) -> Self {
        let mut node = Self {
            info: describe(provider, caps),
            fabric: ptr::null_mut(),
            domain: ptr::null_mut(),
            av: ptr::null_mut(),
            cq: ptr::null_mut(),
            ep: ptr::null_mut(),
            context: Box::default(),
        };
        let mut av_attr = fi_av_attr { type_: FI_AV_TABLE, ..Default::default() };
        let mut cq_attr = fi_cq_attr {
            format: FI_CQ_FORMAT_TAGGED,
            wait_obj: FI_WAIT_NONE,
            size: 64,
            ..Default::default()
        };
        let none = ptr::null_mut();
        // SAFETY: each call gets what the ones before it opened; attributes outlive the calls.
        unsafe {
            good(fi_fabric((*node.info).fabric_attr, &raw mut node.fabric, none));
            good(fi_domain(node.fabric, node.info, &raw mut node.domain, none));
            good(fi_av_open(node.domain, &raw mut av_attr, &raw mut node.av, none));
            good(fi_cq_open(node.domain, &raw mut cq_attr, &raw mut node.cq, none));
            good(fi_endpoint(node.domain, node.info, &raw mut node.ep, none));
            good(fi_ep_bind(node.ep, &raw mut (*node.av).fid, 0));
            good(fi_ep_bind(node.ep, &raw mut (*node.cq).fid, FI_SEND | FI_RECV));
            good(fi_enable(node.ep));
        }
        node
    }

    /// The endpoint's own address, as its peers insert it.
    fn name(&self) -> Vec<u8> {
        let mut name = vec![0u8; 256];
        let mut len = name.len();
        // SAFETY: the endpoint is open, the buffer has `len` bytes.
        good(unsafe { fi_getname(&raw mut (*self.ep).fid, name.as_mut_ptr().cast(), &raw mut len) });
        name.truncate(len);
        name
    }

    fn insert(&self, name: &[u8]) -> fi_addr_t {
        let mut address = FI_ADDR_NOTAVAIL;
        // SAFETY: the name is one address in this provider's format.
        let inserted =
            unsafe { fi_av_insert(self.av, name.as_ptr().cast(), 1, &raw mut address, 0, ptr::null_mut()) };
        assert_eq!(inserted, 1);
        address
    }

    fn context(&mut self) -> *mut c_void {
        (&raw mut *self.context).cast()
    }

    /// Reads one completion, if there is one. An operation that failed gives its error number.
    fn poll(&self) -> Option<Result<fi_cq_tagged_entry, c_int>> {
        let mut entry = fi_cq_tagged_entry::default();
        // SAFETY: the queue is open and of the tagged format, the entry has room for one completion.
        match unsafe { fi_cq_read(self.cq, (&raw mut entry).cast(), 1) } {
            1 => Some(Ok(entry)),
            status if status == -FI_EAGAIN as isize => None,
            status if status == -FI_EAVAIL as isize => {
                let mut error = fi_cq_err_entry::default();
                // SAFETY: the queue is open, the entry is all zeros.
                assert_eq!(unsafe { fi_cq_readerr(self.cq, &raw mut error, 0) }, 1);
                Some(Err(error.err))
            }
            status => panic!("reading the completion queue gave {status}"),
        }
    }

    fn close(self) {
        // SAFETY: children first; nothing uses the handles afterwards.
        unsafe {
            good(fi_close(&raw mut (*self.ep).fid));
            good(fi_close(&raw mut (*self.av).fid));
            good(fi_close(&raw mut (*self.cq).fid));
            good(fi_close(&raw mut (*self.domain).fid));
            good(fi_close(&raw mut (*self.fabric).fid));
            fi_freeinfo(self.info);
        }
    }
}

/// The first description of an endpoint that the provider offers.
fn describe(provider: &CStr, caps: u64) -> *mut fi_info {
    let mut found = ptr::null_mut();
    // SAFETY: the hints come from libfabric's allocator, and so does the string in them, which is freed with
    // them.
    unsafe {
        let hints = fi_allocinfo();
        assert!(!hints.is_null());
        (*hints).caps = caps;
        (*hints).mode = FI_CONTEXT | FI_CONTEXT2;
        (*(*hints).ep_attr).type_ = FI_EP_RDM;
        (*(*hints).domain_attr).threading = FI_THREAD_DOMAIN;
        (*(*hints).fabric_attr).prov_name = libc::strdup(provider.as_ptr());
        let version = fi_version().min(BINDINGS_VERSION);
        good(fi_getinfo(version, ptr::null(), ptr::null(), 0, hints, &raw mut found));
        fi_freeinfo(hints);
        assert_eq!(CStr::from_ptr((*(*found).fabric_attr).prov_name), provider);
    }
    found
}

fn good(status: c_int) {
    assert_eq!(status, FI_SUCCESS);
}

/// Two endpoints that know each other: each node, and the other's address as it sees it.
fn pair(provider: &CStr, caps: u64) -> [(Node, fi_addr_t); 2] {
    let (a, b) = (Node::open(provider, caps), Node::open(provider, caps));
    let (to_b, to_a) = (a.insert(&b.name()), b.insert(&a.name()));
    [(a, to_b), (b, to_a)]
}

/// Posts until the provider takes it; both sides are polled, because the peer may have to answer first. No
/// operation of these tests completes before it was posted, so what the polling returns is nothing.
fn post(nodes: [&Node; 2], mut operation: impl FnMut() -> isize) {
    let start = Instant::now();
    loop {
        match operation() {
            0 => return,
            status => assert_eq!(status, -FI_EAGAIN as isize),
        }
        for node in nodes {
            assert!(node.poll().is_none(), "a completion of an operation that is not posted");
        }
        assert!(start.elapsed() < DEADLINE, "the provider never took the operation");
    }
}

/// Polls both sides until each of the first has completed `wanted` operations, and returns what they said.
fn complete(nodes: [&Node; 2], wanted: [usize; 2]) -> [Vec<Result<fi_cq_tagged_entry, c_int>>; 2] {
    let start = Instant::now();
    let mut done = [Vec::new(), Vec::new()];
    while done[0].len() < wanted[0] || done[1].len() < wanted[1] {
        for (node, done) in nodes.iter().zip(&mut done) {
            done.extend(node.poll());
        }
        assert!(
            start.elapsed() < DEADLINE,
            "{} and {} of {wanted:?} completed",
            done[0].len(),
            done[1].len()
        );
    }
    done
}

fn tagged_message(provider: &CStr) {
    let [(mut a, to_b), (mut b, _)] = pair(provider, FI_TAGGED);
    let (sent, mut received) = ([7u8; 64], [0u8; 100]);
    let (a_context, b_context) = (a.context(), b.context());
    // SAFETY: buffers and contexts live until both operations have completed.
    post([&a, &b], || unsafe {
        let buf = received.as_mut_ptr().cast();
        fi_trecv(b.ep, buf, received.len(), ptr::null_mut(), FI_ADDR_UNSPEC, 0xa0, 0x0f, b_context)
    });
    // SAFETY: as above.
    post([&a, &b], || unsafe {
        fi_tsend(a.ep, sent.as_ptr().cast(), sent.len(), ptr::null_mut(), to_b, 0xa5, a_context)
    });
    let [at_a, at_b] = complete([&a, &b], [1, 1]);
    let (send, receive) = (at_a[0].expect("the send"), at_b[0].expect("the receive"));
    assert_eq!(send.op_context, a_context);
    assert_eq!(send.flags & FI_SEND, FI_SEND);
    assert_eq!((receive.op_context, receive.len, receive.tag), (b_context, 64, 0xa5));
    assert_eq!(&received[..64], &sent);
    a.close();
    b.close();
}

fn cancelled_receive(provider: &CStr) {
    let [(mut a, _), (b, _)] = pair(provider, FI_TAGGED);
    let mut buffer = [0u8; 8];
    let context = a.context();
    // SAFETY: the buffer and the context live until the operation has completed.
    post([&a, &b], || unsafe {
        fi_trecv(a.ep, buffer.as_mut_ptr().cast(), 8, ptr::null_mut(), FI_ADDR_UNSPEC, 1, 0, context)
    });
    // SAFETY: the endpoint is open and the context is that of the receive.
    assert_eq!(unsafe { fi_cancel(&raw mut (*a.ep).fid, context) }, 0);
    let [at_a, _] = complete([&a, &b], [1, 0]);
    assert_eq!(at_a[0].err(), Some(FI_ECANCELED));
    a.close();
    b.close();
}

/// A region of the second node that the first may use; returns the region, and its key.
fn register(node: &Node, memory: &mut [u64], access: u64) -> (*mut fid_mr, u64) {
    let mut mr = ptr::null_mut();
    let (buf, len) = (memory.as_mut_ptr().cast(), size_of_val(memory));
    // SAFETY: the domain is open, and the caller keeps the memory until the region is closed.
    unsafe {
        good(fi_mr_reg(node.domain, buf, len, access, 0, 42, 0, &raw mut mr, ptr::null_mut()));
        (mr, fi_mr_key(mr))
    }
}

fn remote_write_and_read(provider: &CStr) {
    let [(mut a, to_b), (b, _)] = pair(provider, FI_RMA | FI_MSG);
    let mut memory = [0u64; 4];
    let (mr, key) = register(&b, &mut memory, FI_REMOTE_WRITE | FI_REMOTE_READ);
    let source = [11u64, 12];
    let iov = iovec { iov_base: source.as_ptr().cast_mut().cast(), iov_len: size_of_val(&source) };
    let target = fi_rma_iov { addr: 8, len: size_of_val(&source), key };
    let context = a.context();
    let message = fi_msg_rma {
        msg_iov: &raw const iov,
        iov_count: 1,
        addr: to_b,
        rma_iov: &raw const target,
        rma_iov_count: 1,
        context,
        ..Default::default()
    };
    // SAFETY: all that the message refers to lives until the operation has completed.
    post([&a, &b], || unsafe { fi_writemsg(a.ep, &raw const message, FI_DELIVERY_COMPLETE | FI_COMPLETION) });
    complete([&a, &b], [1, 0])[0][0].expect("the write");
    // SAFETY: a plain array; the read keeps the compiler from assuming what only it has written.
    assert_eq!(unsafe { ptr::read_volatile(&raw const memory) }, [0, 11, 12, 0]);

    let mut fetched = [0u64; 3];
    // SAFETY: the buffer and the context live until the operation has completed.
    post([&a, &b], || unsafe {
        fi_read(a.ep, fetched.as_mut_ptr().cast(), 24, ptr::null_mut(), to_b, 0, key, context)
    });
    complete([&a, &b], [1, 0])[0][0].expect("the read");
    assert_eq!(fetched, [0, 11, 12]);
    // SAFETY: nothing is under way on the region.
    good(unsafe { fi_close(&raw mut (*mr).fid) });
    a.close();
    b.close();
}

#[test]
fn a_tagged_message_arrives_on_tcp() {
    tagged_message(c"tcp");
}

#[test]
fn a_tagged_message_arrives_on_shm() {
    tagged_message(c"shm");
}

#[test]
fn a_cancelled_receive_fails_with_the_right_number_on_tcp() {
    cancelled_receive(c"tcp");
}

#[test]
fn a_cancelled_receive_fails_with_the_right_number_on_shm() {
    cancelled_receive(c"shm");
}

#[test]
fn remote_memory_is_written_and_read_on_tcp() {
    remote_write_and_read(c"tcp");
}

#[test]
fn remote_memory_is_written_and_read_on_shm() {
    remote_write_and_read(c"shm");
}

#[test]
fn atomics_fetch_and_compare_on_shm() {
    let [(mut a, to_b), (b, _)] = pair(c"shm", FI_ATOMIC | FI_MSG);
    let mut memory = [40u64];
    let (mr, key) = register(&b, &mut memory, FI_REMOTE_WRITE | FI_REMOTE_READ);
    let (context, none) = (a.context(), ptr::null_mut());
    let mut attr = fi_atomic_attr::default();
    // SAFETY: the domain is open, the structure is ours.
    good(unsafe { fi_query_atomic(a.domain, FI_UINT64, FI_SUM, &raw mut attr, FI_FETCH_ATOMIC) });
    assert_eq!(attr.size, 8);

    let (two, mut before) = (2u64, 0u64);
    // SAFETY: the operands and the context live until the operation has completed.
    post([&a, &b], || unsafe {
        let (operand, result) = ((&raw const two).cast(), (&raw mut before).cast());
        fi_fetch_atomic(a.ep, operand, 1, none, result, none, to_b, 0, key, FI_UINT64, FI_SUM, context)
    });
    complete([&a, &b], [1, 0])[0][0].expect("the fetch-add");
    assert_eq!(before, 40);

    let (expected, new) = (42u64, 99u64);
    // SAFETY: as above.
    post([&a, &b], || unsafe {
        let (operand, compare) = ((&raw const new).cast(), (&raw const expected).cast());
        let result = (&raw mut before).cast();
        fi_compare_atomic(
            a.ep, operand, 1, none, compare, none, result, none, to_b, 0, key, FI_UINT64, FI_CSWAP, context,
        )
    });
    complete([&a, &b], [1, 0])[0][0].expect("the compare-and-swap");
    // SAFETY: a plain number; the read keeps the compiler from assuming what only it has written.
    assert_eq!((before, unsafe { ptr::read_volatile(&raw const memory[0]) }), (42, 99));
    // SAFETY: nothing is under way on the region.
    good(unsafe { fi_close(&raw mut (*mr).fid) });
    a.close();
    b.close();
}
