//! Jobs on libfabric's real efa provider over an emulated device, started as users start them, with `--emulate-efa`.
//!
//! Needs a libfabric with that provider and `EFA_EMULATOR_LIBRARY`; `ci/suite efa` sees to both. Each rank is this test
//! program again, running only [`parts::rank`].

mod command;
mod faults;
mod job;
mod leftovers;
mod parts;
mod regions;
mod truncated;
