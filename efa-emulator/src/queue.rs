//! A queue pair, behind its C structure.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::abi::queue::{IBV_WC_RECV, IBV_WC_RECV_RDMA_WITH_IMM};
use crate::abi::verbs::{IBV_ACCESS_LOCAL_WRITE, ibv_grh};
use crate::completion::{Attached, Completion, Completions};
use crate::errno::Errno;
use crate::process::Process;
use crate::receive::{Arrival, Receive, Receives};
use crate::spin::Spin;
use crate::status::Status;
use crate::wire::Address;
use crate::wire::queue::{QueueFile, STATE_GONE, STATE_READY, STATE_RESET, Which};
use crate::wire::ring::Label;

/// Bytes in front of a received datagram.
pub(crate) const ROUTE_HEADER: usize = size_of::<ibv_grh>();
/// Retry count that means "for ever".
pub(crate) const RETRY_FOR_EVER: u32 = 7;

/// Kind of queue pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Scalable reliable datagrams.
    Reliable,
    /// Unreliable datagrams.
    Unreliable,
}

/// What a queue pair is made of.
pub(crate) struct Parts {
    pub(crate) process: Arc<Process>,
    pub(crate) device: u8,
    pub(crate) kind: Kind,
    pub(crate) send_completions: Arc<Completions>,
    pub(crate) receive_completions: Arc<Completions>,
    /// Sends, reads and writes that may be unfinished or unpolled.
    pub(crate) send_depth: u32,
    /// Receives that may be posted.
    pub(crate) receive_depth: u32,
    /// Every send gives a completion.
    pub(crate) all_signaled: bool,
    /// Writes with immediate data take no receive.
    pub(crate) unsolicited: bool,
}

/// A queue pair, shared between the C structure, completion queues and the helper.
pub(crate) struct Queue {
    pub(crate) parts: Parts,
    pub(crate) qpn: u16,
    pub(crate) file: QueueFile,
    path: PathBuf,
    receives: Spin<Receives>,
    outstanding: AtomicU32,
    retries: AtomicU32,
    /// How many threads besides the program's are carrying out its work.
    busy: AtomicU32,
    destroyed: AtomicBool,
    place: Spin<Option<QueuePair>>,
}

/// One of the queue pairs that a device has; given back when dropped.
struct QueuePair {
    process: Arc<Process>,
    device: u8,
}

impl QueuePair {
    fn take(process: &Arc<Process>, device: u8) -> Result<Self, Errno> {
        process.job.take_queue_pair(device, process.queue_pairs)?;
        Ok(Self { process: process.clone(), device })
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        self.process.job.give_queue_pair(self.device);
    }
}

impl Queue {
    /// Makes a queue pair that doesn't receive yet. ENOSPC if shared memory is full, ENOMEM if the device has no more.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>, Errno> {
        let process = &parts.process;
        let device = process.device(parts.device).ok_or(Errno(libc::ENODEV))?;
        let (slot, generation) = (process.job.slot(), process.job.generation());
        let count = parts.receive_depth.max(1).next_power_of_two();
        let place = QueuePair::take(process, parts.device)?;
        let (qpn, path, file) = loop {
            let qpn = device.next_qpn();
            let path = process.job.queue_path(slot, generation, parts.device, qpn);
            match QueueFile::create(&path, count) {
                Err(Errno(libc::EEXIST)) => {} // number in use: the next one
                Err(e) => return Err(e),
                Ok(file) => break (qpn, path, file),
            }
        };
        let header =
            u32::try_from(if parts.kind == Kind::Unreliable { ROUTE_HEADER } else { 0 }).unwrap_or(0);
        let receives = Spin::new(Receives::new(&file, parts.receive_depth, header));
        file.header()?.unsolicited.store(u32::from(parts.unsolicited), Ordering::Release);
        let queue = Arc::new(Self {
            parts,
            qpn,
            file,
            path,
            receives,
            outstanding: AtomicU32::new(0),
            retries: AtomicU32::new(RETRY_FOR_EVER),
            busy: AtomicU32::new(0),
            destroyed: AtomicBool::new(false),
            place: Spin::new(Some(place)),
        });
        queue.parts.receive_completions.attach(queue.clone());
        Ok(queue)
    }

    /// Takes effect of `ibv_modify_qp`.
    pub(crate) fn modify(
        &self,
        receives: Option<bool>,
        qkey: Option<u32>,
        retries: Option<u32>,
    ) -> Result<(), Errno> {
        let header = self.file.header()?;
        if let Some(qkey) = qkey {
            header.qkey.store(qkey, Ordering::Release);
        }
        if let Some(retries) = retries {
            self.retries.store(retries.min(RETRY_FOR_EVER), Ordering::Relaxed);
        }
        if let Some(receives) = receives {
            header.state.store(if receives { STATE_READY } else { STATE_RESET }, Ordering::Release);
        }
        Ok(())
    }

    /// Ends the queue pair: peers see it gone, nothing of it completes any more.
    pub(crate) fn destroy(self: &Arc<Self>) {
        self.destroyed.store(true, Ordering::SeqCst);
        // What the helper is doing for us may use the program's memory, which it may free once we return.
        while self.busy.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        if let Ok(header) = self.file.header() {
            header.state.store(STATE_GONE, Ordering::Release);
        }
        let _ = std::fs::remove_file(&self.path);
        drop(self.place.lock().take());
        let attached: Arc<dyn Attached> = self.clone();
        self.parts.receive_completions.detach(&attached);
        self.parts.send_completions.detach(&attached);
    }

    /// Returns `true` if it has been destroyed: nothing of it completes any more.
    pub(crate) fn is_destroyed(&self) -> bool {
        self.destroyed.load(Ordering::Acquire)
    }

    /// Returns how often to retry when a receiver isn't ready.
    pub(crate) fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Carries out work from another thread than the program's, unless the queue pair is destroyed: then it is waited
    /// for.
    pub(crate) fn work_aside(&self, work: impl FnOnce()) {
        self.busy.fetch_add(1, Ordering::SeqCst);
        if !self.destroyed.load(Ordering::SeqCst) {
            work();
        }
        self.busy.fetch_sub(1, Ordering::SeqCst);
    }

    /// Takes places for a number of sends, all or none. ENOMEM if there aren't as many.
    pub(crate) fn reserve(&self, count: usize) -> Result<(), Errno> {
        let count = u32::try_from(count).map_err(|_| Errno(libc::ENOMEM))?;
        let before = self.outstanding.fetch_add(count, Ordering::Relaxed);
        if before.saturating_add(count) > self.parts.send_depth {
            self.outstanding.fetch_sub(count, Ordering::Relaxed);
            return Err(Errno(libc::ENOMEM));
        }
        Ok(())
    }

    /// Posts a receive. ENOMEM if there are as many as agreed.
    pub(crate) fn post_receive(&self, receive: Receive) -> Result<(), Errno> {
        if self.receives.lock().post(&self.file, receive) { Ok(()) } else { Err(Errno(libc::ENOMEM)) }
    }

    fn deliver(&self, arrival: &Arrival) -> Completion {
        let label = arrival.label;
        let source = Address {
            slot: label.source_slot,
            generation: label.source_generation,
            device: label.source_device,
        };
        let handles = self.parts.process.device(self.parts.device).map(|device| &device.handles);
        let opcode = if label.is_write { IBV_WC_RECV_RDMA_WITH_IMM } else { IBV_WC_RECV };
        let wr_id = arrival.receive.map_or(0, |receive| receive.wr_id);
        let mut completion = Completion::new(wr_id, opcode, Status::Ok, u32::from(self.qpn));
        completion.len = label.len;
        completion.imm = label.imm;
        completion.unsolicited = arrival.which == Which::Unsolicited;
        completion.source_qpn = label.source_qpn & 0xffff;
        completion.source = Some(source);
        completion.source_handle = handles.and_then(|handles| handles.number(source));
        if let (false, Some(receive)) = (label.is_write, arrival.receive) {
            match self.copy_out(&receive, arrival.ticket, label, source) {
                Ok(header) => {
                    completion.len = completion.len.saturating_add(header);
                    completion.has_route_header = header > 0;
                }
                Err(status) => completion.status = status,
            }
        }
        completion
    }

    /// Copies a message into a receive's memory. Answers how many bytes of header are in front of it.
    fn copy_out(&self, receive: &Receive, ticket: u64, label: Label, source: Address) -> Result<u32, Status> {
        let len = label.len as usize;
        let data = self
            .file
            .ring(Which::Posted)
            .data(self.file.mapping(), ticket, len)
            .ok_or(Status::RemoteBadLength)?;
        // SAFETY: `data` checked that this many bytes lie in the file. Other processes can change them while they are
        // being copied, which can only spoil the copy.
        let message = unsafe { std::slice::from_raw_parts(data, len) };
        let mut pieces = Scatter { process: &self.parts.process, receive, index: 0, offset: 0 };
        if self.parts.kind == Kind::Reliable {
            pieces.write(message)?;
            return Ok(0);
        }
        let header = route_header(source, self.parts.process.address(self.parts.device), len);
        pieces.write(&header)?;
        pieces.write(message)?;
        Ok(header.len() as u32)
    }

    fn log(&self, c: &Completion) {
        let log = &self.parts.process.log;
        if log.on() {
            let from = c.source.and_then(|source| self.parts.process.rank_of(source));
            log.line(
                "receive",
                format_args!(
                    "device={} qp={} from={} from_qp={} bytes={} status={} write={} unsolicited={}",
                    self.parts.device,
                    c.qpn,
                    from.map_or_else(|| "?".to_owned(), |rank| rank.to_string()),
                    c.source_qpn,
                    c.len,
                    c.status.number(),
                    c.opcode == IBV_WC_RECV_RDMA_WITH_IMM,
                    c.unsolicited,
                ),
            );
        }
    }
}

impl Attached for Queue {
    fn arm(&self) {
        if let Ok(header) = self.file.header() {
            header.armed.store(1, Ordering::SeqCst);
        }
    }

    fn has_receive(&self) -> bool {
        self.receives.lock().is_ready(&self.file)
    }

    fn receive(&self) -> Option<Completion> {
        let job = &self.parts.process.job;
        let is_dead = |slot: u16| {
            slot != job.slot()
                && job
                    .table()
                    .entry(slot)
                    .is_none_or(|e| !job.is_alive(slot, e.generation.load(Ordering::Acquire)))
        };
        let mut receives = self.receives.lock();
        if self.parts.process.is_gone(self.parts.device) {
            let flushed = receives.flush(&self.file)?;
            drop(receives);
            let completion =
                Completion::new(flushed.wr_id, IBV_WC_RECV, Status::Flushed, u32::from(self.qpn));
            self.log(&completion);
            return Some(completion);
        }
        let arrival = receives.front(&self.file, self.parts.unsolicited, is_dead)?;
        let completion = self.deliver(&arrival);
        receives.take_out(&self.file, &arrival);
        drop(receives);
        self.log(&completion);
        Some(completion)
    }

    fn end(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Writes one piece of bytes after the other into a receive's memory.
struct Scatter<'a> {
    process: &'a Process,
    receive: &'a Receive,
    index: usize,
    offset: u32,
}

impl Scatter<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        while !bytes.is_empty() {
            let piece = self.receive.pieces.get(self.index).filter(|_| self.index < self.receive.count);
            let piece = piece.ok_or(Status::RemoteBadLength)?;
            let room = (piece.length - self.offset) as usize;
            let (now, later) = bytes.split_at(bytes.len().min(room));
            let address = piece.addr + u64::from(self.offset);
            if !self.process.regions.allows(piece.lkey, address, now.len() as u64, IBV_ACCESS_LOCAL_WRITE) {
                return Err(Status::InvalidLocalKey);
            }
            // SAFETY: the range lies in a region that the program registered for writing, and so keeps mapped and
            // leaves to the device while the receive is posted.
            unsafe { (address as *mut u8).copy_from(now.as_ptr(), now.len()) };
            self.offset += now.len() as u32;
            if self.offset == piece.length {
                (self.index, self.offset) = (self.index + 1, 0);
            }
            bytes = later;
        }
        Ok(())
    }
}

/// Returns the header in front of a datagram: version, lengths, both addresses.
fn route_header(from: Address, to: Address, len: usize) -> [u8; ROUTE_HEADER] {
    let mut bytes = [0; ROUTE_HEADER];
    bytes[0] = 6 << 4;
    bytes[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    bytes[6] = 0x1b;
    bytes[8..24].copy_from_slice(&from.gid().raw);
    bytes[24..40].copy_from_slice(&to.gid().raw);
    bytes
}
