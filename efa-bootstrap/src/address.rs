//! Host names, the rendezvous address, and where rank 0 listens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::job::Rendezvous;
use super::running::RunningTime;
use crate::{Error, Result};

/// Connections that may wait to be accepted; the system caps it at `net.core.somaxconn` (4096 on current kernels).
const BACKLOG: i32 = 4096;

/// Returns this host's name, or `localhost` if the system doesn't tell.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Returns the addresses of `rendezvous`, within `limit`: the system's resolver has no deadline of its own.
pub(super) fn resolve(
    rendezvous: &Rendezvous,
    clock: &mut RunningTime,
    limit: Duration,
) -> io::Result<Vec<SocketAddr>> {
    if let Some(ip) = rendezvous.literal_ip() {
        return Ok(vec![SocketAddr::new(ip, rendezvous.port)]);
    }
    let (sender, receiver) = mpsc::channel();
    let (host, port) = (rendezvous.host.clone(), rendezvous.port);
    std::thread::Builder::new().name("efa-resolve".into()).spawn(move || {
        // Nobody listens any more once the limit has passed.
        let _ = sender.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    })?;
    let until = clock.now().saturating_add(limit);
    loop {
        let nap = clock.nap(until);
        match receiver.recv_timeout(nap) {
            Ok(Ok(addresses)) if addresses.is_empty() => {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
            }
            Ok(answer) => return answer,
            Err(error) if nap.is_zero() || error == RecvTimeoutError::Disconnected => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the name was not resolved in time"));
            }
            Err(_) => {}
        }
    }
}

/// Refuses a rendezvous that other hosts could reach when there is no key to keep them out.
pub(super) fn require_loopback(rendezvous: &Rendezvous, addresses: &[SocketAddr]) -> Result<()> {
    match addresses.iter().find(|address| !address.ip().to_canonical().is_loopback()) {
        None => Ok(()),
        Some(open) => Err(Error::setting(
            format!("cannot meet at {rendezvous} without a job key"),
            format!("{} is not on the loopback interface, so that anyone could join the job", open.ip()),
            "set EFA_JOB_KEY (64 hexadecimal digits) or EFA_JOB_KEY_FILE, the same for all ranks, or meet at 127.0.0.1",
        )),
    }
}

/// Opens rank 0's listening socket at the rendezvous, which `addresses` are the addresses of.
///
/// Without a job key (`keyed` is false) that is only ever the loopback address itself. With one, an address given as
/// a number is listened on exactly, if this host has it. For a name, and for a number that belongs to a translating
/// gateway, it is every interface: hosts often resolve their own name to a loopback address, where the other hosts
/// could not reach it.
pub(super) fn listen(rendezvous: &Rendezvous, addresses: &[SocketAddr], keyed: bool) -> Result<TcpListener> {
    let literal = rendezvous.literal_ip();
    let loopback =
        rendezvous.host == "localhost" || literal.is_some_and(|ip| ip.to_canonical().is_loopback());
    let mut candidates = Vec::new();
    if !keyed || loopback || literal.is_some() {
        candidates.extend_from_slice(addresses);
    }
    if keyed && !loopback {
        candidates.push(SocketAddr::from((Ipv6Addr::UNSPECIFIED, rendezvous.port)));
        candidates.push(SocketAddr::from((Ipv4Addr::UNSPECIFIED, rendezvous.port)));
    }
    let mut outcome = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    for address in candidates {
        outcome = listen_on(address, rendezvous.reserved);
        match &outcome {
            // Not this host's address, or a kernel without IPv6: the next one may do.
            Err(error)
                if error.kind() != io::ErrorKind::AddrInUse
                    && error.kind() != io::ErrorKind::PermissionDenied => {}
            _ => break,
        }
    }
    outcome.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program, or another job, listens there: choose another port with EFA_RENDEZVOUS"
            }
            io::ErrorKind::PermissionDenied => "choose a port above 1023 with EFA_RENDEZVOUS",
            _ => "set EFA_RENDEZVOUS to an address of rank 0's host and a free port",
        };
        Error::system(error, format!("rank 0 cannot listen at the rendezvous {rendezvous}"), remedy)
    })
}

fn listen_on(address: SocketAddr, reserved: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if reserved {
        socket.set_reuse_port(true)?;
    } else {
        // A job that just ended leaves connections in TIME_WAIT; they must not keep the next one out.
        socket.set_reuse_address(true)?;
    }
    if address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_host_has_a_name() {
        assert!(!host_name().is_empty());
    }

    #[test]
    fn without_a_key_only_loopback_will_do() {
        for (host, fine) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("0.0.0.0", false),
        ] {
            let meeting = Rendezvous::new(host, 4711);
            let addresses = resolve(&meeting, &mut RunningTime::start(), LIMIT).unwrap();
            assert_eq!(require_loopback(&meeting, &addresses).is_ok(), fine, "{host}");
        }
    }

    #[test]
    fn a_taken_port_is_an_error_that_says_so() {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let meeting = Rendezvous::new("127.0.0.1", first.local_addr().unwrap().port());
        let error = listen(&meeting, &resolve(&meeting, &mut RunningTime::start(), LIMIT).unwrap(), true)
            .unwrap_err();
        assert!(error.to_string().contains("another program"), "{error}");
        assert!(error.to_string().contains(&meeting.to_string()), "{error}");
    }

    #[test]
    fn without_a_key_a_name_is_never_listened_on_everywhere() {
        let meeting = Rendezvous::new("node-a", 0);
        let own = [SocketAddr::from(([127, 0, 1, 1], 0))];
        let bound = |keyed| listen(&meeting, &own, keyed).unwrap().local_addr().unwrap().ip();
        assert_eq!(bound(false), own[0].ip());
        assert!(bound(true).is_unspecified());
    }

    #[test]
    fn localhost_is_listened_on_alone() {
        let meeting = Rendezvous::new("localhost", 0);
        let listener =
            listen(&meeting, &resolve(&meeting, &mut RunningTime::start(), LIMIT).unwrap(), true).unwrap();
        assert!(listener.local_addr().unwrap().ip().is_loopback());
    }
}
