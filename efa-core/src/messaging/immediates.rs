//! Waiting for what peers' writes leave behind.

use crate::endpoint::request::Bufferless;
use crate::endpoint::{Endpoint, Op};
use crate::error::Result;

impl Endpoint {
    /// Waits until `count` writes with the immediate `value` have come, from whichever ranks, and uses them up. Those
    /// that came before count. When it is over, the bytes of these writes are in place.
    ///
    /// So one number says "all parts of layer 3 are here", however many ranks wrote them and in whatever order.
    pub fn immediate_data(&self, value: u32, count: u64) -> Op<()> {
        self.submit(Ok(Bufferless::immediate_data(value, count)), ())
    }

    /// [`Endpoint::immediate_data`], and waits for it.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) when they don't come; [`Error::Closed`](crate::Error::Closed).
    pub fn wait_for_immediate_data(&self, value: u32, count: u64) -> Result<()> {
        Ok(self.immediate_data(value, count).wait().map(drop)?)
    }
}
