//! Looking for a message without receiving it.

use crate::endpoint::request::Bufferless;
use crate::endpoint::tag::Space;
use crate::endpoint::{Completion, Endpoint, Source, TagMatch};
use crate::error::Result;

impl Endpoint {
    /// Tells whether a message from `from` with a tag that agrees with `tag` has arrived and nobody has received it:
    /// who sent it, with which tag, and how long it is. Does not wait; a message may need several polls to arrive.
    ///
    /// A message that matches a receive of this endpoint, posted or still queued for room in the provider, counts as
    /// received.
    ///
    /// # Errors
    /// As [`Endpoint::send_blocking`].
    pub fn probe(&self, from: impl Into<Source>, tag: impl Into<TagMatch>) -> Result<Option<Completion>> {
        self.submit_probe(Bufferless::probe(Space::User, from.into(), tag.into()))
    }
}
