//! Ends the process when a call into libfabric can never return.
//!
//! libfabric's shm provider protects a peer's buffers with a spin lock in shared memory. A process that is killed while
//! it holds such a lock takes the lock along, and whoever wants the lock next spins inside libfabric for ever, with the
//! endpoint's lock held: no deadline is kept any more. Nothing can release a spin lock whose owner is unknown. So a
//! thread that takes no lock looks for that state, and ends the process with a message.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::Shared;
use super::activity::Activity;
use crate::fabric::Owner;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After how many looks in a row at the same state a call counts as one that does not return. Looks are counted rather
/// than time, since a stopped process makes no progress either.
const LOOKS: u32 = 20;

/// Whether an endpoint needs a watchdog: one that shares memory with other processes.
pub(in crate::endpoint) fn is_needed(shared: &Shared) -> bool {
    let ours = shared.owners.get(shared.me).copied().flatten();
    shared.quirks.lives_in_files && shared.owners.iter().any(|owner| owner.is_some() && *owner != ours)
}

/// Looks until the endpoint is closed.
///
/// The lock is held and nobody polls: whoever holds the lock is inside one call. Were the lock given back in between, the
/// progress thread would get it and poll, at least every 50 ms.
pub(in crate::endpoint) fn run(shared: &Shared, activity: &Arc<Activity>) {
    let mut seen = activity.polls();
    let mut stuck = 0;
    while !shared.stop.load(Ordering::Acquire) {
        thread::park_timeout(LOOK_EVERY);
        let polls = activity.polls();
        if !shared.is_locked() || polls != seen {
            (seen, stuck) = (polls, 0);
            continue;
        }
        stuck += 1;
        if stuck >= LOOKS
            && let Some(rank) = first_gone(shared)
        {
            end_process(shared, rank, LOOK_EVERY * stuck);
        }
    }
}

/// A peer whose process has ended.
fn first_gone(shared: &Shared) -> Option<usize> {
    let has_ended = |owner: &Option<Owner>| owner.is_some_and(Owner::is_gone);
    shared.owners.iter().position(has_ended)
}

#[cold]
fn end_process(shared: &Shared, rank: usize, after: Duration) -> ! {
    let peer = &shared.peers[rank];
    let _ = writeln!(
        io::stderr(),
        "efa: ending this process: a call into libfabric has not returned for {after:?}, and the process of {peer} has \
         ended; a lock in shared memory that it held when it was killed can't be released; look at the output of rank \
         {rank}, and start the job again"
    );
    std::process::abort();
}
