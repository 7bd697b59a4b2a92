//! The TCP sockets of another process, and what can be done to them.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::net::connect_unspec;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::random::Random;

/// How long a connection to a rank of this machine may take.
const CONNECT: Duration = Duration::from_secs(2);

/// A TCP socket over IPv4 of some process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    /// Its descriptor in that process.
    descriptor: i32,
    pub(crate) local: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
    listens: bool,
    is_connected: bool,
}

impl Socket {
    /// Returns `true` if one of its ends has this port.
    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.local.port() == port || self.remote.port() == port
    }
}

/// Returns the listening sockets of a process.
pub(crate) fn listening(pid: i32) -> Vec<Socket> {
    of_process(pid).into_iter().filter(|socket| socket.listens).collect()
}

/// Returns the connections of a process.
pub(crate) fn connected(pid: i32) -> Vec<Socket> {
    of_process(pid).into_iter().filter(|socket| socket.is_connected).collect()
}

fn of_process(pid: i32) -> Vec<Socket> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let by_inode: HashMap<String, &str> = table
        .lines()
        .skip(1)
        .filter_map(|line| Some((format!("socket:[{}]", line.split_whitespace().nth(9)?), line)))
        .collect();
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let socket = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        let line = by_inode.get(target.to_str()?)?;
        parse(line, entry.file_name().to_str()?.parse().ok()?)
    };
    entries.filter_map(socket).collect()
}

/// Reads a line of `/proc/net/tcp`.
fn parse(line: &str, descriptor: i32) -> Option<Socket> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Socket {
        descriptor,
        local: address(local)?,
        remote: address(remote)?,
        listens: state == "0A",
        is_connected: state == "01",
    })
}

/// Returns an address as `/proc/net/tcp` has it: that of a little-endian machine.
fn address(text: &str) -> Option<SocketAddrV4> {
    let (host, port) = text.split_once(':')?;
    let host = u32::from_str_radix(host, 16).ok()?.swap_bytes();
    Some(SocketAddrV4::new(Ipv4Addr::from(host), u16::from_str_radix(port, 16).ok()?))
}

/// Resets a connection of another process, as a router or a firewall does: both ends see a reset.
pub(crate) fn reset(pid: i32, socket: &Socket) -> io::Result<()> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let copy = pidfd_getfd(&process, socket.descriptor, PidfdGetfdFlags::empty())?;
    // Linux answers this on a connected socket by sending a reset.
    Ok(connect_unspec(copy)?)
}

/// Connects to a listening socket and sends what no peer sends. Returns the connections that stay open.
pub(crate) fn pester(socket: &Socket, random: &mut Random) -> Vec<TcpStream> {
    let mut kept = Vec::new();
    let host = if socket.local.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *socket.local.ip() };
    let target = SocketAddrV4::new(host, socket.local.port());
    for _ in 0..random.between(1, 30) {
        let Ok(mut stream) = TcpStream::connect_timeout(&target.into(), CONNECT) else { continue };
        let mut bytes: Vec<u8> = (0..random.size(1 << 12)).map(|_| random.next() as u8).collect();
        if random.chance(30) {
            // Small numbers look like versions, types and lengths.
            bytes.iter_mut().for_each(|byte| *byte &= 7);
        }
        // A peer that closes the connection at once is right.
        let timeout = stream.set_write_timeout(Some(CONNECT));
        let _ = timeout.and_then(|()| stream.write_all(&bytes));
        match random.below(3) {
            0 => drop(stream),
            1 => {
                let _ = stream.shutdown(Shutdown::Write);
                kept.push(stream);
            }
            _ => kept.push(stream),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn sockets_of_a_process_are_found_and_can_be_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut near = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _far = listener.accept().unwrap();
        let me = std::process::id() as i32;
        assert!(listening(me).iter().any(|socket| socket.local.port() == port));
        let far = connected(me).into_iter().find(|socket| socket.local.port() == port).expect("the far end");
        match reset(me, &far) {
            Ok(()) => {
                let error = near.read(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}"),
        }
    }
}
