//! Looking for a message without receiving it.

use crate::endpoint::call::Call;
use crate::endpoint::slot::{About, Kind, Outcome};
use crate::endpoint::tag::{self, Space};
use crate::endpoint::{Completion, Endpoint, NO_MESSAGE, Source, TagMatch};
use crate::error::Result;

impl Endpoint {
    /// Tells whether a message from `from` with a tag that agrees with `tag` has arrived and nobody has received it:
    /// who sent it, with which tag, and how long it is. Does not wait; a message may need several polls to arrive.
    ///
    /// # Errors
    /// As [`Endpoint::send_blocking`].
    pub fn probe(&self, from: impl Into<Source>, tag: impl Into<TagMatch>) -> Result<Option<Completion>> {
        let (from, tag) = (from.into(), tag.into());
        let peer = match from {
            Source::Rank(rank) => {
                self.shared.address(rank)?;
                Some(rank as u32)
            }
            Source::Any => None,
        };
        let (fabric_tag, ignore) = tag::pack_match(Space::User, from, tag);
        let about = About { kind: Kind::Probe, peer, tag: tag.tag().value(), bytes: 0, group: None };
        let mut core = self.shared.lock();
        // What has come in over the wire is seen only after a poll.
        core.poll();
        // SAFETY: a peek is given no memory.
        let id = unsafe {
            self.shared.start_locked(&mut core, about, Call::Peek { tag: fabric_tag, ignore }, &mut [])
        };
        let (mut core, _) = self.shared.wait_locked(core, id, Default::default());
        if let Some(Outcome::Failed(error)) = core.slots.get(id).outcome()
            && error.code == NO_MESSAGE
        {
            core.release(id);
            return Ok(None);
        }
        self.shared.take_result(core, id).map(Some)
    }
}
