//! What the comparisons share: cases, the programs they run, the peers, statistics, and how figures are printed.
//!
//! The programs are in `src/bin`: `compare` measures ours and a peer in turn on the same libfabric, `instructions`
//! is what it counts under callgrind. The criterion benches of the hot paths are in `benches`.

#![forbid(unsafe_code)]

pub mod alone;
pub mod artifacts;
pub mod callgrind;
pub mod case;
pub mod instructions;
pub mod machine;
pub mod ours;
pub mod peers;
pub mod process;
pub mod report;
pub mod rounds;
