//! Address handles: peers by number, as each device counts them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::errno::Errno;
use crate::job::Job;
use crate::peers::RemoteQueue;
use crate::spin::Spin;
use crate::wire::Address;

/// Most address handles of a device. 0xFFFF means "none".
pub(crate) const MAX_HANDLES: u16 = 0x7fff;

/// The address handles of one device: one number per peer device, however often it is asked for.
#[derive(Default)]
pub(crate) struct Handles(Spin<Table>);

#[derive(Default)]
struct Table {
    by_address: HashMap<Address, (u16, u32)>,
    free: Vec<u16>,
    fresh: u16,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handles({})", self.0.lock().by_address.len())
    }
}

impl Handles {
    /// Returns the number of a peer device, and counts one more use of it. ENOMEM if there are too many.
    pub(crate) fn acquire(&self, address: Address) -> Result<u16, Errno> {
        let mut table = self.0.lock();
        if let Some((number, uses)) = table.by_address.get_mut(&address) {
            *uses += 1;
            return Ok(*number);
        }
        let number = match table.free.pop() {
            Some(number) => number,
            None if table.fresh < MAX_HANDLES => {
                table.fresh += 1;
                table.fresh - 1
            }
            None => return Err(Errno(libc::ENOMEM)),
        };
        table.by_address.insert(address, (number, 1));
        Ok(number)
    }

    /// Counts once less; true if that was the last.
    pub(crate) fn release(&self, address: Address) -> bool {
        let mut table = self.0.lock();
        let Some((number, uses)) = table.by_address.get_mut(&address) else { return false };
        *uses -= 1;
        if *uses > 0 {
            return false;
        }
        let number = *number;
        table.by_address.remove(&address);
        table.free.push(number);
        true
    }

    /// Returns the number of a peer device, if it has one.
    pub(crate) fn number(&self, address: Address) -> Option<u16> {
        self.0.lock().by_address.get(&address).map(|(number, _)| *number)
    }
}

/// A peer's device, to send to.
pub(crate) struct Destination {
    /// Whose device.
    pub(crate) address: Address,
    /// The queue pairs met there, the latest first: nearly always there is one.
    queues: Spin<Vec<(u16, Arc<RemoteQueue>)>>,
}

impl Destination {
    /// Names a peer's device, which has not been looked at yet.
    pub(crate) fn new(address: Address) -> Self {
        Self { address, queues: Spin::new(Vec::new()) }
    }

    /// Returns one of the device's queue pairs, or an error if it isn't there.
    pub(crate) fn queue(&self, job: &Job, qpn: u16) -> Result<Arc<RemoteQueue>, Errno> {
        if let Some((_, queue)) = self.queues.lock().iter().find(|(number, _)| *number == qpn) {
            return Ok(queue.clone());
        }
        let queue = Arc::new(RemoteQueue::open(job, self.address, qpn)?);
        self.queues.lock().insert(0, (qpn, queue.clone()));
        Ok(queue)
    }

    /// Unmaps a queue pair that turned out to be gone.
    pub(crate) fn forget(&self, qpn: u16) {
        self.queues.lock().retain(|(number, _)| *number != qpn);
    }
}

#[cfg(test)]
mod tests {
    use super::Handles;
    use crate::wire::Address;

    #[test]
    fn one_number_per_peer_until_the_last_release() {
        let handles = Handles::default();
        let a = Address { slot: 1, generation: 5, device: 0 };
        let b = Address { slot: 2, ..a };
        let first = handles.acquire(a).unwrap();
        assert_eq!(handles.acquire(a).unwrap(), first);
        assert_ne!(handles.acquire(b).unwrap(), first);
        assert!(!handles.release(a));
        assert_eq!(handles.number(a), Some(first));
        assert!(handles.release(a));
        assert_eq!(handles.number(a), None);
        assert!(!handles.release(a));
    }
}
