//! The key of a job that was given none: rank 0 makes one and hands it to processes of its own user only.
//!
//! Beside the TCP port on the loopback interface rank 0 listens at an abstract Unix socket (`unix(7)`) that is named
//! after the port. Each end asks the kernel for the user id of the other (`SO_PEERCRED`) before a byte of the key is
//! sent or believed. The handshake over TCP then needs the key, so that neither an unauthenticated peer that connects to the port nor
//! one that took the port first passes for a rank.
//!
//! An abstract name belongs to the network namespace, exactly as a loopback port does: containers that share the
//! loopback interface find it, whatever they mount and whichever processes they see. It is no file: there is no shared
//! folder, no symbolic link, and nothing is left behind when a process is killed.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use mio::net::UnixListener;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use socket2::{Domain, SockAddr, Socket, Type};
use zeroize::Zeroizing;

use super::key::{JobKey, KEY_BYTES};
use super::running::RunningTime;
use crate::{Error, Result};

/// Begins every answer; the last byte is the version.
pub(super) const MAGIC: [u8; 8] = *b"efa-key\x01";

/// An answer: the magic, whether a key follows, and the key or as many zeros.
pub(super) const ANSWER_BYTES: usize = MAGIC.len() + 1 + KEY_BYTES;

/// The job has no key but this one.
const THIS_KEY: u8 = 0;

/// The job was given a key, which every rank must bring.
const BRING_YOURS: u8 = 1;

/// How long rank 0 may take to answer once it has been reached.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What Linux shows for a user that the reader's user namespace does not know.
const UNKNOWN_USER: u32 = 65_534;

/// The other end of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) user: u32,
    /// Zero when it is not visible in this process namespace.
    pub(super) pid: i32,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            0 => write!(f, "a process of the user with id {}", self.user),
            pid => write!(f, "process {pid} of the user with id {}", self.user),
        }
    }
}

/// Where rank 0 hands out the key, or says that the job has one of its own.
pub(super) struct KeyDesk {
    pub(super) listener: UnixListener,
    user: u32,
    answer: Zeroizing<[u8; ANSWER_BYTES]>,
}

impl KeyDesk {
    /// Listens beside `port`, to hand out `key`.
    ///
    /// # Errors
    /// [`Error::Setting`] where user ids can't be told apart; [`Error::System`] when the name is taken, with its holder.
    pub(super) fn handing_out(port: u16, key: &JobKey) -> Result<Self> {
        let user = own_user()?;
        let listener = listen(port).map_err(|error| {
            let (why, remedy) = match holder(port) {
                Some(holder) if holder.user != user => (
                    format!("{holder} listens there"),
                    "set EFA_JOB_KEY (64 hexadecimal digits) for all ranks, or choose another port with EFA_RENDEZVOUS",
                ),
                Some(holder) => (
                    format!("{holder} listens there, another job of the same user"),
                    "choose another port with EFA_RENDEZVOUS",
                ),
                None => (
                    error.to_string(),
                    "set EFA_JOB_KEY (64 hexadecimal digits) for all ranks: with a key the socket is not needed",
                ),
            };
            let what = format!("rank 0 cannot listen at the abstract Unix socket of port {port}");
            Error::System { source: Arc::new(error), text: crate::Explanation::new(what, why, remedy) }
        })?;
        Ok(Self::new(listener, user, THIS_KEY, key.as_bytes()))
    }

    /// Listens beside `port`, to tell ranks without a key that they need one. `None` where that isn't possible: such ranks
    /// then learn it at their deadline.
    pub(super) fn asking_for_keys(port: u16) -> Option<Self> {
        Some(Self::new(listen(port).ok()?, own_user().ok()?, BRING_YOURS, &[0; KEY_BYTES]))
    }

    fn new(listener: UnixListener, user: u32, kind: u8, key: &[u8; KEY_BYTES]) -> Self {
        let mut answer = Zeroizing::new([0; ANSWER_BYTES]);
        answer[..MAGIC.len()].copy_from_slice(&MAGIC);
        answer[MAGIC.len()] = kind;
        answer[MAGIC.len() + 1..].copy_from_slice(key);
        Self { listener, user, answer }
    }

    /// Answers one who has come; `None` when nobody waits.
    ///
    /// # Errors
    /// What keeps it from being accepted. Whoever belongs to another user gets no answer and is returned.
    pub(super) fn serve_one(&self) -> io::Result<Option<Result<(), Process>>> {
        let (mut stream, _) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let peer = process_behind(&stream)?;
        if peer.user != self.user {
            return Ok(Some(Err(peer)));
        }
        // It fits the socket's buffer; whoever is gone already does not need it.
        let _ = stream.write_all(&*self.answer);
        Ok(Some(Ok(())))
    }
}

/// What a rank without a key is told.
#[derive(Debug)]
pub(super) enum Answer {
    /// The job's key.
    Key(JobKey),
    /// The job has a key that was not given to this rank.
    BringYours,
    /// Rank 0 is not there, or too busy at the moment; try again.
    NotNow(&'static str),
    /// Another user listens there.
    Unauthenticated(Process),
}

/// Asks rank 0 for the key of the job that meets at `port`, and takes an answer only from the same user.
///
/// # Errors
/// [`Error::Setting`] where user ids can't be told apart; [`Error::System`] when the system has no such sockets.
pub(super) fn ask_for_key(port: u16, clock: &mut RunningTime, until: Duration) -> Result<Answer> {
    let user = own_user()?;
    let connected = match connect(port) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Ok(Answer::NotNow("rank 0 of a job without a job key does not listen"));
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            return Ok(Answer::NotNow("rank 0 is busy with others that ask for the key"));
        }
        Err(error) => return Err(no_socket(error)),
    };
    let holder = process_behind(&connected).map_err(no_socket)?;
    if holder.user != user {
        return Ok(Answer::Unauthenticated(holder));
    }
    let mut answer = Zeroizing::new([0; ANSWER_BYTES]);
    if read_answer(connected, answer.as_mut_slice(), clock, until).is_err() {
        return Ok(Answer::NotNow("rank 0 went away before it had answered"));
    }
    Ok(decode(&answer))
}

/// Returns what the bytes of an answer say.
pub(super) fn decode(answer: &[u8; ANSWER_BYTES]) -> Answer {
    let (magic, rest) = answer.split_at(MAGIC.len());
    match (magic == MAGIC, rest) {
        (true, [THIS_KEY, key @ ..]) => match <&[u8; KEY_BYTES]>::try_from(key) {
            Ok(key) => Answer::Key(JobKey::from_bytes(key)),
            Err(_) => Answer::NotNow("rank 0 gave an answer of another length"),
        },
        (true, [BRING_YOURS, ..]) => Answer::BringYours,
        _ => Answer::NotNow("what listens there runs another version of this library"),
    }
}

fn read_answer(
    mut stream: UnixStream,
    mut answer: &mut [u8],
    clock: &mut RunningTime,
    until: Duration,
) -> io::Result<()> {
    let until = until.min(clock.now() + ANSWER_LIMIT);
    stream.set_nonblocking(false)?;
    while !answer.is_empty() {
        let nap = clock.nap(until);
        if nap.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(nap.max(Duration::from_millis(1))))?;
        match stream.read(answer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => answer = &mut answer[count..],
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the process that listens at the name of `port`, if there is one.
fn holder(port: u16) -> Option<Process> {
    connect(port).ok().and_then(|stream| process_behind(&stream).ok())
}

/// Returns the name, without the leading zero that makes it abstract.
fn name(port: u16) -> String {
    format!("efa-job {port}")
}

fn listen(port: u16) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&UnixAddress::from_abstract_name(name(port))?)
}

/// Connects without waiting: a full queue is an error, since nobody says how long an unauthenticated peer lets it stay full.
fn connect(port: u16) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.connect(&SockAddr::unix(format!("\0{}", name(port)))?)?;
    Ok(socket.into())
}

/// Returns who was at the other end when the connection was made: of a listener, whoever called `listen`.
fn process_behind(stream: &impl AsFd) -> io::Result<Process> {
    let credentials = getsockopt(stream, PeerCredentials)?;
    Ok(Process { user: credentials.uid(), pid: credentials.pid() })
}

/// Returns the user id that this process shows to others.
fn own_user() -> Result<u32> {
    let user = nix::unistd::geteuid().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    check_user(user, &map)?;
    Ok(user)
}

/// Refuses the one user id that also stands for all users that the user namespace with this map does not know.
pub(super) fn check_user(user: u32, map: &str) -> Result<()> {
    let knows_all = map.split_whitespace().eq(["0", "0", "4294967295"]);
    if user != UNKNOWN_USER || knows_all {
        return Ok(());
    }
    Err(Error::setting(
        format!("cannot tell the user with id {user} from others without a job key"),
        "this user namespace shows every user that it does not know under the same id",
        "set EFA_JOB_KEY (64 hexadecimal digits) or EFA_JOB_KEY_FILE, the same for all ranks",
    ))
}

fn no_socket(error: io::Error) -> Error {
    Error::system(
        error,
        "cannot ask rank 0 over an abstract Unix socket whether it belongs to the same user",
        "set EFA_JOB_KEY (64 hexadecimal digits) for all ranks: with a key the socket is not needed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    const SOON: Duration = Duration::from_secs(30);

    /// Serves until somebody was served.
    fn serve(desk: &KeyDesk) -> Result<(), Process> {
        loop {
            match desk.serve_one().unwrap() {
                Some(served) => return served,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    #[test]
    fn a_process_of_the_same_user_gets_the_key() {
        let (port, key) = (port(), JobKey::generate().unwrap());
        let desk = KeyDesk::handing_out(port, &key).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&desk).unwrap());
            let answer = ask_for_key(port, &mut RunningTime::start(), SOON).unwrap();
            assert!(matches!(&answer, Answer::Key(got) if got.to_hex() == key.to_hex()), "{answer:?}");
        });
    }

    #[test]
    fn a_rank_without_a_key_is_told_that_the_job_has_one() {
        let port = port();
        let desk = KeyDesk::asking_for_keys(port).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&desk).unwrap());
            assert!(matches!(ask_for_key(port, &mut RunningTime::start(), SOON), Ok(Answer::BringYours)));
        });
    }

    #[test]
    fn a_second_job_at_the_same_port_is_told_who_holds_it() {
        let (port, key) = (port(), JobKey::generate().unwrap());
        let _first = KeyDesk::handing_out(port, &key).unwrap();
        let error = KeyDesk::handing_out(port, &key).err().unwrap().to_string();
        assert!(error.contains("another job of the same user"), "{error}");
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    }

    #[test]
    fn nobody_is_asked_again_later_and_a_name_that_nobody_serves_does_not_hold_anyone_up() {
        let port = port();
        assert!(matches!(ask_for_key(port, &mut RunningTime::start(), SOON), Ok(Answer::NotNow(_))));
        let _silent = listen(port).unwrap();
        let asked = ask_for_key(port, &mut RunningTime::start(), Duration::from_millis(50));
        assert!(matches!(asked, Ok(Answer::NotNow(_))), "{asked:?}");
        let mut queue = Vec::new();
        let full = loop {
            match connect(port) {
                Ok(stream) => queue.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(matches!(ask_for_key(port, &mut RunningTime::start(), SOON), Ok(Answer::NotNow(_))));
    }

    #[test]
    fn a_user_that_stands_for_all_unknown_ones_is_refused() {
        assert!(check_user(1000, "0 1000 1").is_ok());
        assert!(check_user(UNKNOWN_USER, "         0          0 4294967295\n").is_ok());
        for map in ["0 100000 65536\n", "", "0 0 4294967295\n1 1 1"] {
            assert!(matches!(check_user(UNKNOWN_USER, map), Err(Error::Setting(_))), "{map}");
        }
    }

    #[test]
    fn answers_of_other_versions_are_no_key() {
        let mut answer = [0; ANSWER_BYTES];
        assert!(matches!(decode(&answer), Answer::NotNow(_)));
        answer[..MAGIC.len()].copy_from_slice(&MAGIC);
        answer[MAGIC.len()] = 2;
        assert!(matches!(decode(&answer), Answer::NotNow(_)));
    }
}
