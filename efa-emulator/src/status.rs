//! How a piece of work ended, in the device's own numbers.

use std::ffi::c_int;

/// Completion status as EFA reports it; libfabric reads it as the vendor's error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The device or the queue went away first.
    Flushed = 1,
    /// The device can't do it.
    Unsupported = 3,
    /// The local key doesn't cover the memory.
    InvalidLocalKey = 5,
    /// Longer than the device takes.
    LocalBadLength = 6,
    /// The remote key is unknown, doesn't cover the address, or doesn't allow the access.
    RemoteBadAddress = 7,
    /// No such queue pair, or one of an earlier process.
    BadDestination = 9,
    /// The receiver had no receive posted, for as many tries as were allowed.
    ReceiverNotReady = 10,
    /// The posted receive is too short.
    RemoteBadLength = 11,
    /// The peer didn't answer.
    Unresponsive = 13,
    /// The peer has no address handle for us.
    UnknownPeer = 14,
    /// No way to the peer.
    Unreachable = 15,
}

impl Status {
    /// Returns the nearest `ibv_wc_status`.
    pub(crate) fn verbs(self) -> c_int {
        match self {
            Self::Ok => 0,
            Self::Unsupported => 2,
            Self::LocalBadLength => 1,
            Self::InvalidLocalKey => 4,
            Self::Flushed => 5,
            Self::RemoteBadAddress => 10,
            Self::RemoteBadLength => 9,
            Self::BadDestination => 11,
            Self::ReceiverNotReady => 13,
            Self::Unresponsive | Self::Unreachable => 20,
            Self::UnknownPeer => 21,
        }
    }

    /// Returns the number that libfabric prints.
    pub fn number(self) -> u32 {
        self as u32
    }
}
