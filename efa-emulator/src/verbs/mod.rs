//! The C interface: exported calls and the objects behind their pointers.
//!
//! Each object begins with the C structure that its users see, so that a pointer to one is a pointer to the other.
//! Handing in a pointer that didn't come from here, or was destroyed, is undefined behaviour, as it is with rdma-core.

pub mod completions;
pub mod context;
pub mod devices;
pub mod handles;
pub mod polling;
pub mod posting;
pub mod queues;
pub mod regions;
