//! A memory fence that one thread executes for all threads of the process, so that the others need none of their own.
//!
//! It is what lets the [lock](super::lock) leave a thread's plain loads and stores unfenced. Linux has had it since 4.14;
//! a container may forbid it, and then the lock does without.

use std::io::{self, Write};
use std::process;
use std::sync::OnceLock;

/// Makes the process one that may ask for the fence.
const REGISTER: i32 = libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
const FENCE: i32 = libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED;

static IS_THERE: OnceLock<bool> = OnceLock::new();

/// Finds out whether [`for_all_threads`] works here. The first time takes some ten milliseconds in a process of several
/// threads.
pub(super) fn prepare() -> bool {
    *IS_THERE.get_or_init(|| ask(REGISTER) && ask(FENCE))
}

/// Whether [`for_all_threads`] works here, as far as is known.
pub(super) fn is_there() -> bool {
    IS_THERE.get() == Some(&true)
}

/// When this returns, every running thread of the process has executed a full fence since the call began. Only where
/// [it is there](is_there).
#[cold]
pub(super) fn for_all_threads() {
    if !ask(FENCE) {
        // It worked before. Whoever took it away since, there is no other way to know that nobody is in a lock.
        let why = io::Error::last_os_error();
        let _ =
            writeln!(io::stderr(), "efa: ending this process: membarrier is not permitted any more: {why}");
        process::abort();
    }
}

fn ask(command: i32) -> bool {
    // SAFETY: these commands take no memory of ours; flags and processor are not used with them.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_used_where_it_is_there() {
        if prepare() {
            for_all_threads();
        } else {
            println!("NOT TESTED: there is no membarrier here");
        }
    }
}
