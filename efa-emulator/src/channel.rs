//! Completion channels: a file descriptor to sleep on until a completion queue has something.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use crate::errno::Errno;

/// Events for one file descriptor: an eventfd that counts the completion queues waiting in a list.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
    events: Mutex<VecDeque<usize>>,
}

impl Channel {
    /// Makes a channel without events.
    pub(crate) fn new() -> Result<Self, Errno> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_SEMAPHORE) };
        if fd < 0 {
            return Err(Errno::last());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: Mutex::default() })
    }

    /// Returns the descriptor, readable while there are events.
    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Adds an event of a completion queue.
    pub(crate) fn send(&self, queue: usize) {
        self.lock().push_back(queue);
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes that live through the call.
        unsafe { libc::write(self.fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Waits for an event and takes it. EAGAIN if the descriptor was set not to block and there is none.
    pub(crate) fn receive(&self) -> Result<usize, Errno> {
        let mut count = [0u8; 8];
        loop {
            // SAFETY: eight bytes that live through the call.
            if unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) } < 0 {
                return Err(Errno::last());
            }
            // A queue destroyed meanwhile took its events along.
            if let Some(queue) = self.lock().pop_front() {
                return Ok(queue);
            }
        }
    }

    /// Drops the events of a queue that is being destroyed.
    pub(crate) fn forget(&self, queue: usize) {
        self.lock().retain(|other| *other != queue);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<usize>> {
        self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Channel;

    #[test]
    fn events_come_in_order_and_a_destroyed_queue_takes_its_own_along() {
        let channel = Channel::new().unwrap();
        // SAFETY: a descriptor of ours.
        unsafe { libc::fcntl(channel.fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        assert_eq!(channel.receive().unwrap_err().0, libc::EAGAIN);
        for queue in [1, 2, 3] {
            channel.send(queue);
        }
        channel.forget(2);
        assert_eq!(channel.receive(), Ok(1));
        assert_eq!(channel.receive(), Ok(3));
        assert_eq!(channel.receive().unwrap_err().0, libc::EAGAIN);
    }
}
