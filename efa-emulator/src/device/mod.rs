//! The device: its limits, what it answers when asked, and the tree of files that describes it.

pub(crate) mod limits;
pub(crate) mod query;
pub(crate) mod sysfs;
