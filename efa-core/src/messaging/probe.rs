//! Looking for a message without receiving it.

use crate::endpoint::engine::slot::{Kind, OperationInfo};
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
        let (from, tag) = (from.into(), tag.into());
        self.check_source(from)?;
        let (fabric_tag, ignore) = self.shared.tags.pack_match(Space::User, from, tag);
        let info = OperationInfo {
            kind: Kind::Probe,
            peer: from.rank(),
            tag: tag.tag().value(),
            bytes: 0,
            group: None,
        };
        let mut core = self.shared.lock();
        // What has come in over the wire is seen only after a poll.
        core.poll();
        match core.probe(info, fabric_tag, ignore, self.shared.clock.now()) {
            Some(id) => self.shared.take_result(core, id).map(Some),
            None => Ok(None),
        }
    }
}
