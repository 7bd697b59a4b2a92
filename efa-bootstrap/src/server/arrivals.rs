//! Who comes to the rendezvous: accepts connections, answers who asks for the key, and makes room by closing the oldest
//! connections that have proved nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::{Connection, Party, Server};
use crate::gather::deadline_after;
use crate::secure_connection::SecureConnection;

/// Connections that have not said who they are, beyond those that the job still expects, and once it expects none. The
/// oldest make room for the newest: a rank says who it is at once, and one that was turned away comes again.
const SPARE_STRANGERS: usize = 256;
const SPARE_STRANGERS_LATER: usize = 32;

/// How many connections are accepted before the others have their turn.
const ACCEPTS_PER_TURN: usize = 64;

impl Server {
    /// Accepts some of those who wait.
    pub(super) fn accept(&mut self) {
        if !std::mem::take(&mut self.accepts_more) {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, from)) => {
                    if let Err(error) = self.accept_unauthenticated(stream, from) {
                        log::warn!("rendezvous: cannot serve the connection from {from}: {error}");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // No descriptor is free, most likely. Without unauthenticated peers to take one from, the next tick tries again.
                Err(error) => {
                    self.coordinator.accept_error = Some(error.to_string());
                    if !self.turn_oldest_away() {
                        log::warn!("rendezvous: cannot accept a connection: {error}");
                        return;
                    }
                }
            }
        }
        self.accepts_more = true;
    }

    /// Answers some of those who ask for the key.
    pub(super) fn hand_out_keys(&mut self) {
        if !std::mem::take(&mut self.serves_more) {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(desk) = &self.desk else { return };
            match desk.serve_one() {
                Ok(None) => return,
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(process))) => {
                    log::warn!("rendezvous: {process} asked for the key of the job and got none");
                    self.coordinator.other_user = Some(process.to_string());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.coordinator.accept_error = Some(error.to_string());
                    if !self.turn_oldest_away() {
                        log::warn!("rendezvous: cannot answer who asks for the key: {error}");
                        return;
                    }
                }
            }
        }
        self.serves_more = true;
    }

    fn accept_unauthenticated(&mut self, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        let room = match self.coordinator.is_arriving() {
            true => self.token_of.len() + SPARE_STRANGERS,
            false => SPARE_STRANGERS_LATER,
        };
        while self.unauthenticated.len() + self.ungreeted.len() >= room && self.turn_oldest_away() {}
        let token = self.next_token;
        self.next_token += 1;
        stream.set_nodelay(true)?;
        self.poll.registry().register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        let now = Instant::now();
        let secure = SecureConnection::responder(stream, &self.psk, now).map_err(io::Error::other)?;
        let party = Party::Unauthenticated { until: deadline_after(now, self.config.handshake_limit) };
        self.connections.insert(token, Connection { secure, party, from });
        self.unauthenticated.insert(token);
        // What it has sent already is not announced again.
        self.serve(token);
        Ok(())
    }

    /// Closes the connection that has gone without proving anything for the longest; false if there is none.
    fn turn_oldest_away(&mut self) -> bool {
        let Some(token) = self.unauthenticated.pop_first().or_else(|| self.ungreeted.pop_first()) else {
            return false;
        };
        self.connections.remove(&token);
        self.turned_away += 1;
        true
    }

    /// Tells in one line, however many there were.
    pub(super) fn log_turned_away(&mut self) {
        if self.turned_away > 0 {
            let count = std::mem::take(&mut self.turned_away);
            log::warn!("rendezvous: {count} connections that had not said who they are made room for others");
        }
    }
}
