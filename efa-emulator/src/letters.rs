//! Reading and writing memory by letter, where one process may not access another's: the asking side puts a request
//! into the peer's mailbox, and the peer's helper copies the bytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::abi::verbs::{IBV_ACCESS_REMOTE_READ, IBV_ACCESS_REMOTE_WRITE};
use crate::attempt::Outcome;
use crate::futex;
use crate::process::Process;
use crate::status::Status;
use crate::wire::Address;
use crate::wire::process::{LETTER_BYTES, LETTERS, Letter, ProcessFile, RegionInfo, letter};
use crate::work::{Operation, Ranges, Work};

/// How long a peer that must answer letters is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Sleep between looks at the peer's answer: it also wakes us.
const LOOK: Duration = Duration::from_millis(1);

/// Begins answering letters, once this process knows that others will write them. Called where programs pass often.
pub(crate) fn attend(process: &Arc<Process>) {
    if process.may_cross_memory() {
        return;
    }
    let Ok(header) = process.regions.file().header() else { return };
    if header.answers_letters.load(Ordering::Relaxed) == 0 && process.regions.reserve_letters().is_ok() {
        header.answers_letters.store(1, Ordering::Release);
        let weak = Arc::downgrade(process);
        process.helper.at_each_ring(move || weak.upgrade().inspect(|process| answer(process)).is_some());
    }
}

/// Moves the bytes of a read or write by letters, as many as it takes.
pub(crate) fn transfer(
    process: &Arc<Process>,
    peer: &ProcessFile,
    to: Address,
    work: &Work,
    ranges: &Ranges,
) -> Result<(), Outcome> {
    attend(process);
    let Ok(header) = peer.header() else { return Err(Outcome::Done(Status::BadDestination)) };
    if header.answers_letters.load(Ordering::Acquire) == 0 {
        // The peer begins when it next calls us.
        return Err(Outcome::Later(Some(Status::Unresponsive)));
    }
    let mut remote = work.remote_address;
    for (local, len) in ranges.iter() {
        for first in (0..*len).step_by(LETTER_BYTES) {
            let count = LETTER_BYTES.min(len - first);
            // SAFETY: `first` is within the range.
            let piece = unsafe { local.add(first) };
            ask(process, peer, to, work, Piece { local: piece, remote, count })?;
            remote = remote.wrapping_add(count as u64);
        }
    }
    Ok(())
}

struct Piece {
    local: *mut u8,
    remote: u64,
    count: usize,
}

fn ask(
    process: &Arc<Process>,
    peer: &ProcessFile,
    to: Address,
    work: &Work,
    piece: Piece,
) -> Result<(), Outcome> {
    let own = process.job.slot();
    let deadline = Instant::now() + PATIENCE;
    let free = |index: usize| {
        let letter = peer.letter(index)?;
        let taken = letter::of(letter::TAKEN, own);
        letter
            .state
            .compare_exchange(letter::FREE, taken, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|_| letter)
    };
    let letter = loop {
        if let Some(letter) = (0..LETTERS).find_map(free) {
            break letter;
        }
        wait_for_peer(process, to, deadline)?;
        std::thread::sleep(LOOK);
    };
    let is_write = work.operation == Operation::Write;
    letter.is_write.store(u32::from(is_write), Ordering::Relaxed);
    letter.key.store(work.remote_key, Ordering::Relaxed);
    letter.device.store(u32::from(to.device), Ordering::Relaxed);
    letter.address.store(piece.remote, Ordering::Relaxed);
    letter.len.store(piece.count as u32, Ordering::Relaxed);
    let data: *mut u8 = letter.data.as_ptr().cast_mut().cast();
    if is_write {
        // SAFETY: the piece is part of a checked local range, and no longer than a letter's data.
        unsafe { data.copy_from(piece.local, piece.count) };
    }
    letter.state.store(letter::of(letter::ASKED, own), Ordering::Release);
    process.ring(to);
    loop {
        let state = letter.state.load(Ordering::Acquire);
        if letter::parts(state).0 == letter::ANSWERED {
            break;
        }
        futex::wait(&letter.state, state, LOOK);
        // Two helpers that ask each other must also answer each other.
        answer(process);
        if let Err(outcome) = wait_for_peer(process, to, deadline) {
            letter.state.store(letter::FREE, Ordering::Release);
            return Err(outcome);
        }
    }
    let ok = letter.status.load(Ordering::Relaxed) == Status::Ok.number();
    if ok && !is_write {
        // SAFETY: as above; the range was checked for writing.
        unsafe { piece.local.copy_from(data, piece.count) };
    }
    letter.state.store(letter::FREE, Ordering::Release);
    if ok { Ok(()) } else { Err(Outcome::Done(Status::RemoteBadAddress)) }
}

fn wait_for_peer(process: &Process, to: Address, deadline: Instant) -> Result<(), Outcome> {
    if !process.job.is_alive(to.slot, to.generation) {
        return Err(Outcome::Done(Status::BadDestination));
    }
    if Instant::now() >= deadline { Err(Outcome::Done(Status::Unresponsive)) } else { Ok(()) }
}

/// Answers the letters in this process's mailbox, and throws away those of the dead.
pub(crate) fn answer(process: &Process) {
    let file = process.regions.file();
    let attends = file.header().is_ok_and(|header| header.answers_letters.load(Ordering::Relaxed) != 0);
    for letter in (0..LETTERS).filter(|_| attends).filter_map(|index| file.letter(index)) {
        let word = letter.state.load(Ordering::Acquire);
        let (state, asker) = letter::parts(word);
        if state == letter::FREE {
            continue;
        }
        let dead = || {
            let entry = process.job.table().entry(asker);
            entry.is_none_or(|e| !process.job.is_alive(asker, e.generation.load(Ordering::Acquire)))
        };
        if state == letter::ASKED {
            let busy = letter::of(letter::TAKEN, asker);
            if letter.state.compare_exchange(word, busy, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                letter.status.store(carry_out(process, letter).number(), Ordering::Relaxed);
                letter.state.store(letter::of(letter::ANSWERED, asker), Ordering::Release);
                futex::wake(&letter.state);
            }
        } else if dead() {
            let _ = letter.state.compare_exchange(word, letter::FREE, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

fn carry_out(process: &Process, letter: &Letter) -> Status {
    let is_write = letter.is_write.load(Ordering::Relaxed) != 0;
    let access = if is_write { IBV_ACCESS_REMOTE_WRITE } else { IBV_ACCESS_REMOTE_READ };
    let (address, len) =
        (letter.address.load(Ordering::Relaxed), letter.len.load(Ordering::Relaxed) as usize);
    let device = letter.device.load(Ordering::Relaxed);
    let allows =
        |info: RegionInfo| u32::from(info.device) == device && info.allows(address, len as u64, access);
    if len > LETTER_BYTES
        || !process.regions.file().lookup(letter.key.load(Ordering::Relaxed)).is_some_and(allows)
    {
        return Status::RemoteBadAddress;
    }
    let data: *mut u8 = letter.data.as_ptr().cast_mut().cast();
    let (from, to) = if is_write { (data as u64, address) } else { (address, data as u64) };
    match copy_within(from, to, len) {
        true => Status::Ok,
        false => Status::RemoteBadAddress,
    }
}

/// Copies within this process, by system call where possible: the program may have unmapped what it registered.
fn copy_within(from: u64, to: u64, len: usize) -> bool {
    let here = libc::iovec { iov_base: to as *mut libc::c_void, iov_len: len };
    let there = libc::iovec { iov_base: from as *mut libc::c_void, iov_len: len };
    // SAFETY: both ranges are checked by the caller: one is a letter's data, the other a registered region.
    let moved = unsafe { libc::process_vm_readv(libc::getpid(), &here, 1, &there, 1, 0) };
    if usize::try_from(moved) == Ok(len) {
        return true;
    }
    if moved < 0 && matches!(crate::errno::Errno::last().0, libc::EPERM | libc::ENOSYS) {
        // SAFETY: as above; without the system call we rely on the program not to unmap what it registered.
        unsafe { (to as *mut u8).copy_from(from as *const u8, len) };
        return true;
    }
    false
}
