//! An EFA device in user space.
