//! Whether memory is there, and may be written: what the kernel finds out when it pins pages for a device.

use std::sync::OnceLock;

use crate::errno::Errno;

/// Faults the pages of a range in, for writing or only for reading. EFAULT if the program itself could not access them
/// so. Kernels before 5.14 have no call for it; there nothing is checked.
pub(crate) fn populate(start: usize, len: usize, write: bool) -> Result<(), Errno> {
    if len == 0 || !can_populate() {
        return Ok(());
    }
    match advise(start, len, write) {
        Ok(()) => Ok(()),
        // What the call answers depends on why: ENOMEM for a gap, EINVAL or EFAULT for the wrong rights.
        Err(Errno(libc::EINTR | libc::EAGAIN)) => populate(start, len, write),
        Err(_) => Err(Errno(libc::EFAULT)),
    }
}

/// Returns `true` if the kernel knows the advice, tried with memory that is certainly there.
fn can_populate() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let here = 0u8;
        advise(std::ptr::from_ref(&here) as usize, 1, false).is_ok()
    })
}

fn advise(start: usize, len: usize, write: bool) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let first = start / page * page;
    let len = start.checked_add(len).ok_or(Errno(libc::EFAULT))? - first;
    let advice = if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
    // SAFETY: the advice changes no contents; it only has pages faulted in, as an access would.
    match unsafe { libc::madvise(first as *mut libc::c_void, len, advice) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

#[cfg(test)]
mod tests {
    use super::populate;

    #[test]
    fn memory_that_is_read_only_or_not_there_is_refused() {
        let map = |rights| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a fresh mapping at an address of the kernel's choice.
            unsafe { libc::mmap(std::ptr::null_mut(), 3 * 4096, rights, flags, -1, 0) as usize }
        };
        let (both, read) = (map(libc::PROT_READ | libc::PROT_WRITE), map(libc::PROT_READ));
        assert_eq!(populate(both + 100, 2 * 4096, true), Ok(()));
        assert_eq!(populate(read, 4096, false), Ok(()));
        assert_eq!(populate(read, 4096, true).unwrap_err().0, libc::EFAULT);
        // SAFETY: the mapping is ours, and nobody uses it.
        unsafe { libc::munmap(both as *mut libc::c_void, 3 * 4096) };
        assert_eq!(populate(both, 4096, false).unwrap_err().0, libc::EFAULT);
        assert_eq!(populate(usize::MAX - 100, 4096, true).unwrap_err().0, libc::EFAULT);
    }
}
