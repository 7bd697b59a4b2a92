//! What can be asked of the device, and what waits because the device has no room for it.

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
    pub(super) fn local_access(self) -> AccessFlags {
        match self {
            Self::Receive { .. } | Self::Read { .. } => AccessFlags::LOCAL_WRITE,
            _ => AccessFlags::LOCAL_READ,
        }
    }

    #[inline]
    pub(super) fn lane(self) -> Lane {
        match self {
            Self::Receive { .. } | Self::Peek { .. } => Lane::In,
            _ => Lane::Out,
        }
    }
}

/// Receives wait for room in another queue than everything else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Out = 0,
    In = 1,
}

impl Lane {
    #[inline]
    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Receive | Kind::Probe | Kind::Immediates | Kind::Group => Self::In,
            Kind::Send | Kind::Read | Kind::Write | Kind::Atomic => Self::Out,
        }
    }
}

/// A call that the provider has no room for yet.
pub(super) struct Deferred {
    pub id: SlotId,
    pub call: Call,
    pub memory: Memory,
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
