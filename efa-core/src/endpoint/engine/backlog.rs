//! The operations that wait because the device has no room for them.

use std::collections::VecDeque;

use super::slot::SlotId;
use crate::ffi::Segment;

/// An operation that the provider has no room for yet.
pub(super) struct Deferred {
    pub id: SlotId,
    pub memory: Memory,
    turn: u64,
    /// It was cancelled, and stays in the line until it is its turn.
    is_withdrawn: bool,
}

/// Operations that wait for room, in the order in which they were started.
#[derive(Default)]
pub(super) struct Backlog {
    /// In the order of their turns.
    calls: VecDeque<Deferred>,
    last_turn: u64,
}

impl Backlog {
    /// Puts an operation at the end, and returns its turn.
    pub(super) fn push(&mut self, id: SlotId, memory: Memory) -> u64 {
        self.last_turn += 1;
        let turn = self.last_turn;
        self.calls.push_back(Deferred { id, memory, turn, is_withdrawn: false });
        turn
    }

    /// Takes the operation whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Deferred> {
        loop {
            let next = self.calls.pop_front()?;
            if !next.is_withdrawn {
                return Some(next);
            }
        }
    }

    /// Puts back what was just taken.
    pub(super) fn unpop(&mut self, call: Deferred) {
        self.calls.push_front(call);
    }

    /// Takes an operation out of the line, in a time that hardly grows with the line. Returns `false` if it is not there.
    pub(super) fn withdraw(&mut self, turn: u64, id: SlotId) -> bool {
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

    /// Takes all operations, to put some back with [`Backlog::restore`].
    pub(super) fn take(&mut self) -> VecDeque<Deferred> {
        let mut calls = std::mem::take(&mut self.calls);
        calls.retain(|call| !call.is_withdrawn);
        calls
    }

    /// Puts operations back, in their order.
    pub(super) fn restore(&mut self, calls: VecDeque<Deferred>) {
        debug_assert!(self.calls.is_empty() && calls.iter().is_sorted_by_key(|call| call.turn));
        self.calls = calls;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Deferred> {
        self.calls.iter().filter(|call| !call.is_withdrawn)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.calls.clear();
    }
}

pub(super) enum Memory {
    One(Segment),
    Many(Box<[Segment]>),
}

impl Memory {
    pub(super) fn of(segments: &[Segment]) -> Self {
        match segments {
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }

    pub(super) fn segments(&self) -> &[Segment] {
        match self {
            Self::One(segment) => std::slice::from_ref(segment),
            Self::Many(segments) => segments,
        }
    }
}
