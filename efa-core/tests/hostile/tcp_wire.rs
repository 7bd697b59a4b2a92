//! Speaks the wire protocol of libfabric's tcp provider (version 1.22) without libfabric.

use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::FromRawFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use efa_core::Endpoint;
use efa_core::fabric::Provider;
use efa_core::memory::RemoteRegion;

use super::common::{is_patched, pattern, provider};

/// How long anything here may take.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// Operations of a header: `xnet_op_…`.
pub(super) const MESSAGE: u8 = 0;
pub(super) const TAGGED: u8 = 1;
pub(super) const READ_REQUEST: u8 = 2;
pub(super) const READ_RESPONSE: u8 = 3;
pub(super) const WRITE: u8 = 4;
pub(super) const READY_TO_SEND: u8 = 5;
pub(super) const CLEAR_TO_SEND: u8 = 6;
pub(super) const DATA: u8 = 7;

/// Flags of a header.
pub(super) const REMOTE_DATA: u16 = 1 << 0;
pub(super) const DELIVERY_COMPLETE: u16 = 1 << 2;

/// The `op_data` of an acknowledgement.
pub(super) const ACKNOWLEDGEMENT: u8 = 2;

/// The size of the fixed part of a header.
pub(super) const FIXED: usize = 16;

/// A header as it goes over the wire, on a little-endian machine.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) version: u8,
    pub(super) op: u8,
    pub(super) flags: u16,
    pub(super) op_data: u8,
    pub(super) pieces: u8,
    pub(super) header_size: u8,
    pub(super) size: u64,
    pub(super) rest: Vec<u64>,
}

impl Header {
    /// A header of `op` with these words after the fixed part, for `data` bytes of payload.
    pub(super) fn new(op: u8, rest: &[u64], data: u64) -> Self {
        let header_size = FIXED + 8 * rest.len();
        let size = (header_size as u64).wrapping_add(data);
        let header_size = header_size as u8;
        Self { version: 3, op, flags: 0, op_data: 0, pieces: 0, header_size, size, rest: rest.to_vec() }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.version, self.op];
        bytes.extend(self.flags.to_ne_bytes());
        bytes.extend([self.op_data, self.pieces, self.header_size, 0]);
        bytes.extend(self.size.to_ne_bytes());
        self.rest.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        bytes
    }
}

/// The port that rank `rank` listens on.
pub(super) fn port_of(endpoint: &Endpoint, rank: usize) -> u16 {
    let address = &endpoint.peers()[rank].address;
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a socket address")
}

/// The fabric address and the key of a region, which a peer was told.
pub(super) fn place_of(region: &RemoteRegion) -> (u64, u64) {
    let wire = region.to_bytes();
    let word = |at: usize| u64::from_le_bytes(wire[at..at + 8].try_into().unwrap());
    (word(8), word(16))
}

/// Connects to a port of this machine.
pub(super) fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// A message of the connection manager, of which `announced` bytes of data are said to follow.
pub(super) fn control(kind: u8, announced: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![3, kind];
    bytes.extend(announced.to_be_bytes());
    bytes.extend([0; 20]);
    bytes.extend(1u64.to_ne_bytes());
    bytes.extend(data);
    bytes
}

/// A connection request of a process that says to listen on `port`.
pub(super) fn request(port: u16, proof: &[u8]) -> Vec<u8> {
    let mut data = vec![1, 0];
    data.extend(port.to_be_bytes());
    data.extend(std::process::id().to_be_bytes());
    data.extend(proof);
    control(0, data.len() as u16, &data)
}

/// Connects as the process that listens on `claimed`; an error when it is turned away.
pub(super) fn handshake(port: u16, claimed: u16, proof: &[u8]) -> io::Result<TcpStream> {
    let mut stream = dial(port);
    stream.write_all(&request(claimed, proof))?;
    let mut response = [0; 32];
    stream.read_exact(&mut response)?;
    let mut data = vec![0; usize::from(u16::from_be_bytes([response[2], response[3]]))];
    stream.read_exact(&mut data)?;
    match response[1] {
        1 => Ok(stream),
        _ => Err(io::ErrorKind::ConnectionRefused.into()),
    }
}

/// Whether the other side ends the connection. What it sends before goes into `got`.
pub(super) fn is_closed(stream: &mut TcpStream, got: &mut Vec<u8>) -> bool {
    match stream.read_to_end(got) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
    }
}

/// The descriptors of this process's connections with one end at `port`, listening sockets excepted.
pub(super) fn connections_at(port: u16) -> Vec<i32> {
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|&number| ends(number).is_some_and(|ends| ends.contains(&port))).collect()
}

fn ends(descriptor: i32) -> Option<[u16; 2]> {
    // SAFETY: the descriptor is only asked for addresses, and not closed.
    let socket = ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(descriptor) });
    Some([socket.local_addr().ok()?.port(), socket.peer_addr().ok()?.port()])
}

/// Resets a connection of this process as somebody from outside would. The endpoint that has the other end may have
/// closed this one meanwhile.
pub(super) fn reset(descriptor: i32) {
    // SAFETY: zeros are a valid address of family AF_UNSPEC, which disconnects the socket.
    unsafe {
        let nowhere: libc::sockaddr = std::mem::zeroed();
        libc::connect(descriptor, &nowhere, size_of::<libc::sockaddr>() as libc::socklen_t);
    }
}

/// Lets the system keep little of what is on its way over a connection of this process.
pub(super) fn shrink(descriptor: i32) {
    let least: libc::c_int = 1 << 15;
    for option in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
        // SAFETY: the value is a number of this length.
        let returned = unsafe {
            let len = size_of_val(&least) as libc::socklen_t;
            libc::setsockopt(descriptor, libc::SOL_SOCKET, option, (&raw const least).cast(), len)
        };
        assert_eq!(returned, 0, "{}", io::Error::last_os_error());
    }
}

/// Runs `body` on a thread and fails when it has not ended in time.
pub(super) fn in_time<R: Send + 'static>(what: &str, body: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = sender.send(body());
    });
    match receiver.recv_timeout(LIMIT) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} takes longer than {LIMIT:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it ended without a result"))
        }
    }
}

/// Whether the tests of the tcp provider apply: on the tcp provider, in a build with its patches.
pub(super) fn applies() -> bool {
    provider() == Provider::Tcp
        && is_patched("tcp trusts whoever reaches its port, and tells of no loss by itself")
}

/// Sends a message from rank 1 to rank 0 and receives it.
pub(super) fn exchange(ranks: &[Endpoint], number: usize) {
    let sending = ranks[1].send(0, 3u32, pattern(1000, number));
    let mut got = vec![0u8; 1000];
    ranks[0].recv_blocking(1, 3u32, &mut got).unwrap();
    sending.wait().unwrap();
    assert!(got == pattern(1000, number));
}
