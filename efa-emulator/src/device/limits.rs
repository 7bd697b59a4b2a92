//! The device's limits, near those of a current EFA where nothing speaks against it.

/// Sends, reads and writes of one queue pair that may be unfinished.
pub(crate) const SEND_DEPTH: u32 = 1024;
/// Receives that one queue pair may have posted. Each costs 9 KB of shared memory, hence fewer than an EFA has.
pub(crate) const RECEIVE_DEPTH: u32 = 512;
/// Pieces of memory of one send.
pub(crate) const SEND_PIECES: u16 = 2;
/// Pieces of memory of one receive.
pub(crate) const RECEIVE_PIECES: u16 = 1;
/// Bytes of a send that are taken when it is posted.
pub(crate) const INLINE: usize = 32;
/// Bytes of one read or write.
pub(crate) const MAX_RDMA: u32 = 1 << 30;
/// Queue pairs, where the settings don't say another number.
pub(crate) const QUEUE_PAIRS: u32 = 256;
/// Completion queues.
pub(crate) const COMPLETION_QUEUES: i32 = 512;
/// Entries of a completion queue.
pub(crate) const COMPLETIONS: i32 = 1 << 15;
/// Memory that may be registered: as much as there is.
pub(crate) const REGION_BYTES: u64 = 1 << 46;
