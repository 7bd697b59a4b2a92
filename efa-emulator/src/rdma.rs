//! Remote reads and writes: checks the key, then copies between the two processes' memory.

use std::sync::Arc;

use crate::abi::verbs::{IBV_ACCESS_REMOTE_READ, IBV_ACCESS_REMOTE_WRITE};
use crate::attempt::Outcome;
use crate::errno::Errno;
use crate::letters;
use crate::queue::Queue;
use crate::status::Status;
use crate::wire::Address;
use crate::wire::process::ProcessFile;
use crate::work::{Operation, Ranges, Work};

/// Moves the bytes of a read or write. The key must cover the remote range and allow the access.
pub(crate) fn transfer(queue: &Arc<Queue>, work: &Work, to: Address) -> Result<(), Outcome> {
    let process = &queue.parts.process;
    let gone = |_: Errno| Outcome::Done(Status::BadDestination);
    let own = process.address(queue.parts.device);
    let mapped;
    let peer: &ProcessFile = if to.slot == own.slot {
        process.regions.file()
    } else {
        mapped = process.peers.process(&process.job, to).map_err(gone)?;
        &mapped
    };
    if !peer.knows(to.device, own) {
        return Err(Outcome::Done(Status::UnknownPeer));
    }
    let is_write = work.operation == Operation::Write;
    let access = if is_write { IBV_ACCESS_REMOTE_WRITE } else { IBV_ACCESS_REMOTE_READ };
    let len = work.len();
    let allowed = peer
        .lookup(work.remote_key)
        .is_some_and(|region| region.device == to.device && region.allows(work.remote_address, len, access));
    if !allowed && len > 0 {
        return Err(Outcome::Done(Status::RemoteBadAddress));
    }
    let ranges = work.ranges();
    // Checked each time: the number of a process that died may soon be another's.
    if !process.job.is_alive(to.slot, to.generation) {
        return Err(Outcome::Done(Status::BadDestination));
    }
    let direct = process.may_cross_memory() || to.slot == own.slot;
    match process.job.pid(to.slot).filter(|_| direct) {
        None if direct => process.deny_cross_memory(),
        None => {}
        Some(pid) => match copy_across(pid, &ranges, work.remote_address, is_write) {
            Ok(()) => return Ok(()),
            Err(Errno(libc::ESRCH)) => return Err(Outcome::Done(Status::BadDestination)),
            Err(Errno(libc::EPERM | libc::ENOSYS)) if to.slot != own.slot => process.deny_cross_memory(),
            Err(_) => return Err(Outcome::Done(Status::RemoteBadAddress)),
        },
    }
    letters::transfer(process, peer, to, work, &ranges)
}

/// Copies between this process's memory and that of another. EFAULT where the other has no memory, EPERM where it isn't
/// allowed.
pub(crate) fn copy_across(pid: u32, ranges: &Ranges, remote: u64, is_write: bool) -> Result<(), Errno> {
    let mut remote = remote;
    for (local, len) in ranges.iter() {
        let mut done = 0;
        while done < *len {
            // SAFETY: `done` is less than the length of the range.
            let here = libc::iovec { iov_base: unsafe { local.add(done) }.cast(), iov_len: len - done };
            let there = libc::iovec { iov_base: remote as *mut libc::c_void, iov_len: len - done };
            let call = if is_write { libc::process_vm_writev } else { libc::process_vm_readv };
            // SAFETY: the local range was checked against its key, and so stays valid until the completion; the kernel
            // checks the remote one.
            let moved = unsafe { call(pid as libc::pid_t, &here, 1, &there, 1, 0) };
            match usize::try_from(moved) {
                Err(_) => return Err(Errno::last()),
                Ok(0) => return Err(Errno(libc::EFAULT)),
                Ok(moved) => {
                    done += moved;
                    remote += moved as u64;
                }
            }
        }
    }
    Ok(())
}
