//! Waiting for what peers' writes leave behind.

use crate::endpoint::engine::slot::{Kind, OperationInfo};
use crate::endpoint::{Endpoint, Op, State};
use crate::error::Result;
use crate::memory::Held;

impl Endpoint {
    /// Waits until `count` writes with the immediate `value` have come, from whichever ranks, and uses them up. Those
    /// that came before count. When it is over, the bytes of these writes are in place.
    ///
    /// So one number says "all parts of layer 3 are here", however many ranks wrote them and in whatever order.
    pub fn immediate_data(&self, value: u32, count: u64) -> Op<()> {
        let info =
            OperationInfo { kind: Kind::Immediates, peer: None, tag: value.into(), bytes: 0, group: None };
        let mut core = self.shared.lock();
        let id = core.slots.take(info, self.shared.clock.now());
        core.expect(id, value, count);
        drop(core);
        Op::new(self.shared.clone(), State::Posted(id), Held::new(()))
    }

    /// [`Endpoint::immediate_data`], and waits for it.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) when they don't come; [`Error::Closed`](crate::Error::Closed).
    pub fn wait_for_immediate_data(&self, value: u32, count: u64) -> Result<()> {
        Ok(self.immediate_data(value, count).wait().map(drop)?)
    }
}
