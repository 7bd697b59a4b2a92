//! What can be asked of the device, and what waits because the device has no room for it.

use std::collections::VecDeque;

use super::slot::{Kind, SlotId};
use crate::ffi::{AccessFlags, AtomicCall, AtomicWidth, RemotePlace, Segment};

/// What to ask of the device. The memory comes apart from it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Send {
        to: u64,
        tag: u64,
    },
    /// A send that may be copied at once and forgotten.
    Inject {
        to: u64,
        tag: u64,
    },
    Receive {
        tag: u64,
        ignore: u64,
    },
    Peek {
        tag: u64,
        ignore: u64,
    },
    Write {
        to: u64,
        place: RemotePlace,
        immediate: Option<u32>,
    },
    Read {
        from: u64,
        place: RemotePlace,
    },
    Atomic {
        at: u64,
        place: RemotePlace,
        call: AtomicCall,
        width: AtomicWidth,
    },
}

impl Call {
    /// What the device does with our own memory. What is only read may be read-only.
    #[inline]
    pub(in crate::endpoint) fn local_access(self) -> AccessFlags {
        match self {
            Self::Receive { .. } | Self::Read { .. } => AccessFlags::LOCAL_WRITE,
            _ => AccessFlags::LOCAL_READ,
        }
    }

    #[inline]
    pub(in crate::endpoint) fn work_queue(self) -> WorkQueue {
        match self {
            Self::Receive { .. } | Self::Peek { .. } => WorkQueue::Receive,
            _ => WorkQueue::Transmit,
        }
    }
}

/// Receives wait for room in another queue than everything else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::endpoint) enum WorkQueue {
    Transmit = 0,
    Receive = 1,
}

impl WorkQueue {
    #[inline]
    pub(in crate::endpoint) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Receive | Kind::Probe | Kind::Immediates | Kind::Group => Self::Receive,
            Kind::Send | Kind::Read | Kind::Write | Kind::Atomic => Self::Transmit,
        }
    }
}

/// A call that the provider has no room for yet.
pub(in crate::endpoint) struct Deferred {
    pub id: SlotId,
    pub call: Call,
    pub memory: Memory,
    turn: u64,
    /// It was cancelled, and stays in the line until it is its turn.
    is_withdrawn: bool,
}

/// Calls that wait for room, in the order in which they were made.
#[derive(Default)]
pub(in crate::endpoint) struct Backlog {
    /// In the order of their turns.
    calls: VecDeque<Deferred>,
    last_turn: u64,
}

impl Backlog {
    /// Puts a call at the end, and returns its turn.
    pub(in crate::endpoint) fn push(&mut self, id: SlotId, call: Call, memory: Memory) -> u64 {
        self.last_turn += 1;
        let turn = self.last_turn;
        self.calls.push_back(Deferred { id, call, memory, turn, is_withdrawn: false });
        turn
    }

    /// Takes the call whose turn it is.
    pub(in crate::endpoint) fn pop(&mut self) -> Option<Deferred> {
        loop {
            let next = self.calls.pop_front()?;
            if !next.is_withdrawn {
                return Some(next);
            }
        }
    }

    /// Puts back what was just taken.
    pub(in crate::endpoint) fn unpop(&mut self, call: Deferred) {
        self.calls.push_front(call);
    }

    /// Takes a call out of the line, in a time that hardly grows with the line. Returns `false` if it is not there.
    pub(in crate::endpoint) fn withdraw(&mut self, turn: u64, id: SlotId) -> bool {
        let Ok(place) = self.calls.binary_search_by_key(&turn, |call| call.turn) else { return false };
        let call = &mut self.calls[place];
        if call.id != id || call.is_withdrawn {
            return false;
        }
        call.is_withdrawn = true;
        while self.calls.back().is_some_and(|call| call.is_withdrawn) {
            self.calls.pop_back();
        }
        while self.calls.front().is_some_and(|call| call.is_withdrawn) {
            self.calls.pop_front();
        }
        true
    }

    /// Takes all calls, to put some back with [`Backlog::restore`].
    pub(in crate::endpoint) fn take(&mut self) -> VecDeque<Deferred> {
        let mut calls = std::mem::take(&mut self.calls);
        calls.retain(|call| !call.is_withdrawn);
        calls
    }

    /// Puts calls back, in their order.
    pub(in crate::endpoint) fn restore(&mut self, calls: VecDeque<Deferred>) {
        debug_assert!(self.calls.is_empty() && calls.iter().is_sorted_by_key(|call| call.turn));
        self.calls = calls;
    }

    pub(in crate::endpoint) fn iter(&self) -> impl Iterator<Item = &Deferred> {
        self.calls.iter().filter(|call| !call.is_withdrawn)
    }

    #[inline]
    pub(in crate::endpoint) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(in crate::endpoint) fn clear(&mut self) {
        self.calls.clear();
    }
}

pub(in crate::endpoint) enum Memory {
    One(Segment),
    Many(Box<[Segment]>),
}

impl Memory {
    pub(in crate::endpoint) fn of(segments: &[Segment]) -> Self {
        match segments {
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }

    pub(in crate::endpoint) fn segments(&self) -> &[Segment] {
        match self {
            Self::One(segment) => std::slice::from_ref(segment),
            Self::Many(segments) => segments,
        }
    }
}
