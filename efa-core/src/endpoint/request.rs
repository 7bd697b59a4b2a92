//! What an operation is to do, as data: [`Request`].
//!
//! A verb describes its operation and hands the description over together with the memory. What the device does with that
//! memory is part of the description's type: [`Outgoing`], [`Incoming`] or [`Bufferless`]. So safe code can't lend memory
//! that is only readable to an operation that writes.

use std::marker::PhantomData;
use std::ptr;

use super::engine::slot::SlotId;
use super::tag::{Source, Space, Tag, TagMatch};
use crate::ffi::{AccessFlags, AtomicCall, AtomicWidth, MAX_SEGMENTS, RemotePlace, Segment};
use crate::memory::{Buf, BufMut};

/// What an operation is to do. The engine keeps it while the operation is under way; errors are worded by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub operation: Operation,
    /// The peer's rank; none for a receive from any.
    pub peer: Option<u32>,
    /// The program's tag of a send, receive or probe.
    pub tag: Tag,
    /// How many bytes the memory has.
    pub length: usize,
    /// The group that waits for the operation.
    pub group: Option<SlotId>,
}

/// The kinds of operations, each with what it has beside peer, tag and length.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Send {
        space: Space,
    },
    Receive {
        space: Space,
        /// The bits of the tag that are not compared.
        ignore: u64,
    },
    Probe {
        space: Space,
        ignore: u64,
    },
    Read {
        place: RemotePlace,
    },
    Write {
        place: RemotePlace,
    },
    WriteImmediate {
        place: RemotePlace,
        data: u32,
    },
    Atomic {
        place: RemotePlace,
        call: AtomicCall,
        width: AtomicWidth,
    },
    /// No operation of the device: a wait for writes by peers that bring this immediate data.
    ImmediateData {
        value: u32,
        count: u64,
    },
    /// No operation of the device: the end of all operations of a scope.
    Group,
}

/// Receives wait for room in another queue than everything else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkQueue {
    Transmit = 0,
    Receive = 1,
}

impl Request {
    /// The request of a group.
    pub(crate) const GROUP: Self =
        Self { operation: Operation::Group, peer: None, tag: Tag::ZERO, length: 0, group: None };
}

impl Operation {
    /// The name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Send { .. } => "send",
            Self::Receive { .. } => "receive",
            Self::Read { .. } => "remote read",
            Self::Write { .. } | Self::WriteImmediate { .. } => "remote write",
            Self::Atomic { .. } => "remote atomic",
            Self::Probe { .. } => "probe",
            Self::ImmediateData { .. } => "wait for immediates",
            Self::Group => "scope",
        }
    }

    #[inline(always)]
    pub(crate) fn work_queue(self) -> WorkQueue {
        match self {
            Self::Receive { .. } | Self::Probe { .. } | Self::ImmediateData { .. } | Self::Group => {
                WorkQueue::Receive
            }
            Self::Send { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::WriteImmediate { .. }
            | Self::Atomic { .. } => WorkQueue::Transmit,
        }
    }

    /// Returns `true` if the operation can be withdrawn before it takes effect: receives before a message has come, and
    /// nothing else of the device's.
    pub(crate) fn can_cancel(self) -> bool {
        matches!(self, Self::Receive { .. } | Self::Probe { .. } | Self::ImmediateData { .. })
    }

    #[inline(always)]
    pub(crate) fn is_send(self) -> bool {
        matches!(self, Self::Send { .. })
    }

    #[inline(always)]
    pub(crate) fn is_receive(self) -> bool {
        matches!(self, Self::Receive { .. })
    }

    /// Returns `true` if the operation works on a peer's memory.
    #[inline(always)]
    pub(crate) fn is_remote(self) -> bool {
        matches!(
            self,
            Self::Read { .. } | Self::Write { .. } | Self::WriteImmediate { .. } | Self::Atomic { .. }
        )
    }

    /// Returns `true` if the device writes the operation's memory. Memory that it only reads may be read-only.
    #[inline(always)]
    pub(crate) fn writes_memory(self) -> bool {
        matches!(self, Self::Receive { .. } | Self::Read { .. })
    }

    /// What memory has to be registered for.
    pub(crate) fn local_access(self) -> AccessFlags {
        if self.writes_memory() { AccessFlags::LOCAL_WRITE } else { AccessFlags::LOCAL_READ }
    }
}

/// What a verb asks for: a request whose peer has not been checked yet. `M` says what the device does with the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Description<M> {
    request: Request,
    peer: Source,
    memory: PhantomData<M>,
}

/// The device only reads the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reads {}

/// The device writes the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Writes {}

/// There is no memory of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Nothing {}

pub(crate) type Outgoing = Description<Reads>;
pub(crate) type Incoming = Description<Writes>;
pub(crate) type Bufferless = Description<Nothing>;

impl<M> Description<M> {
    #[inline(always)]
    fn new(operation: Operation, peer: Source, tag: Tag, length: usize) -> Self {
        let request = Request { operation, peer: None, tag, length, group: None };
        Self { request, peer, memory: PhantomData }
    }

    /// Returns the request to a job of so many ranks, or the rank that is none of them.
    #[inline(always)]
    pub(super) fn request(self, ranks: usize, group: Option<SlotId>) -> Result<Request, usize> {
        match self.peer {
            Source::Rank(rank) if rank >= ranks => Err(rank),
            peer => Ok(Request { peer: peer.rank(), group, ..self.request }),
        }
    }
}

impl Outgoing {
    #[inline(always)]
    pub(crate) fn send(space: Space, to: usize, tag: Tag, length: usize) -> Self {
        Self::new(Operation::Send { space }, Source::Rank(to), tag, length)
    }

    /// Writes to a place in the memory of a rank, and leaves `immediate` there.
    pub(crate) fn write(rank: usize, place: RemotePlace, immediate: Option<u32>, length: usize) -> Self {
        let operation = match immediate {
            Some(data) => Operation::WriteImmediate { place, data },
            None => Operation::Write { place },
        };
        Self::new(operation, Source::Rank(rank), Tag::ZERO, length)
    }
}

impl Incoming {
    #[inline(always)]
    pub(crate) fn receive(space: Space, from: Source, tag: TagMatch, length: usize) -> Self {
        Self::new(Operation::Receive { space, ignore: tag.ignore() }, from, tag.tag(), length)
    }

    /// Receives any message whatsoever, of the program or of the library.
    pub(crate) fn receive_anything(length: usize) -> Self {
        let operation = Operation::Receive { space: Space::Control, ignore: u64::MAX };
        Self::new(operation, Source::Any, Tag::ZERO, length)
    }

    pub(crate) fn read(rank: usize, place: RemotePlace, length: usize) -> Self {
        Self::new(Operation::Read { place }, Source::Rank(rank), Tag::ZERO, length)
    }
}

impl Bufferless {
    pub(crate) fn probe(space: Space, from: Source, tag: TagMatch) -> Self {
        Self::new(Operation::Probe { space, ignore: tag.ignore() }, from, tag.tag(), 0)
    }

    /// Waits for `count` writes that bring the immediate data `value`.
    pub(crate) fn immediate_data(value: u32, count: u64) -> Self {
        Self::new(Operation::ImmediateData { value, count }, Source::Any, Tag::ZERO, 0)
    }

    pub(crate) fn atomic(rank: usize, place: RemotePlace, call: AtomicCall, width: AtomicWidth) -> Self {
        let length = match width {
            AtomicWidth::U32 => 4,
            AtomicWidth::U64 => 8,
        };
        Self::new(Operation::Atomic { place, call, width }, Source::Rank(rank), Tag::ZERO, length)
    }
}

/// What the device does with memory of type `B`.
pub(crate) trait Use<B> {
    type Segments: AsMut<[Segment]>;

    /// Returns the endpoint's view of the memory. The endpoint is given by its
    /// [identity](crate::memory::Registration::descriptor).
    fn segments(memory: &mut B, endpoint: *const ()) -> Self::Segments;
}

impl<B: Buf> Use<B> for Reads {
    type Segments = [Segment; 1];

    #[inline(always)]
    fn segments(memory: &mut B, endpoint: *const ()) -> [Segment; 1] {
        [segment(memory, endpoint)]
    }
}

impl<B: BufMut> Use<B> for Writes {
    type Segments = [Segment; 1];

    #[inline(always)]
    fn segments(memory: &mut B, endpoint: *const ()) -> [Segment; 1] {
        [segment_mut(memory, endpoint)]
    }
}

impl Use<()> for Nothing {
    type Segments = [Segment; 0];

    fn segments((): &mut (), _: *const ()) -> [Segment; 0] {
        []
    }
}

/// The pieces that one message is gathered from: 1 to [`MAX_SEGMENTS`].
pub(crate) struct Pieces<'a, P>(pub &'a [P]);

/// The pieces that one message is scattered over: 1 to [`MAX_SEGMENTS`].
pub(crate) struct PiecesMut<'a, P>(pub &'a mut [P]);

impl<P: Buf> Use<Pieces<'_, P>> for Reads {
    type Segments = SegmentList;

    fn segments(memory: &mut Pieces<'_, P>, endpoint: *const ()) -> SegmentList {
        SegmentList::new(memory.0.iter().map(|piece| segment(piece, endpoint)))
    }
}

impl<P: BufMut> Use<PiecesMut<'_, P>> for Writes {
    type Segments = SegmentList;

    fn segments(memory: &mut PiecesMut<'_, P>, endpoint: *const ()) -> SegmentList {
        SegmentList::new(memory.0.iter_mut().map(|piece| segment_mut(piece, endpoint)))
    }
}

/// Up to [`MAX_SEGMENTS`] segments.
pub(crate) struct SegmentList {
    list: [Segment; MAX_SEGMENTS],
    count: usize,
}

impl SegmentList {
    fn new(segments: impl ExactSizeIterator<Item = Segment>) -> Self {
        let none = Segment { start: ptr::null_mut(), len: 0, descriptor: ptr::null_mut() };
        let (mut list, count) = ([none; MAX_SEGMENTS], segments.len());
        list.iter_mut().zip(segments).for_each(|(place, segment)| *place = segment);
        Self { list, count }
    }
}

impl AsMut<[Segment]> for SegmentList {
    fn as_mut(&mut self) -> &mut [Segment] {
        &mut self.list[..self.count]
    }
}

/// Returns an endpoint's view of a buffer that its device only reads.
#[inline(always)]
fn segment(buf: &impl Buf, endpoint: *const ()) -> Segment {
    Segment {
        start: buf.as_ptr().cast_mut(),
        len: buf.byte_len(),
        descriptor: buf
            .registration()
            .map_or(ptr::null_mut(), |registration| registration.descriptor(endpoint)),
    }
}

/// Returns an endpoint's view of a buffer that its device writes.
#[inline(always)]
fn segment_mut(buf: &mut impl BufMut, endpoint: *const ()) -> Segment {
    let rest = segment(buf, endpoint);
    Segment { start: buf.as_mut_ptr(), ..rest }
}
