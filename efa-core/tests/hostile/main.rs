//! Attacks on an endpoint: by its own program, by a peer that misbehaves, and by processes that are not of the job.
//!
//! Each module is one kind of attacker. Every test states what must hold, on the provider that `EFA_TEST_PROVIDER`
//! names unless it is about one provider alone.

mod again;
#[path = "../common/mod.rs"]
mod common;
mod dead_peer;
mod descriptors;
mod few_descriptors;
#[path = "../collectives/job.rs"]
mod job;
mod killed_peer;
mod many;
mod memory;
mod others_code;
mod program;
mod shm;
mod surroundings;
mod tcp_headers;
mod tcp_loss;
mod tcp_order;
mod tcp_strangers;
mod tcp_wire;
mod time;
mod unexpected;
