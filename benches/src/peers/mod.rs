//! Whom we are compared with, one module each.

pub mod fabtests;
pub mod mpi;
pub mod raw;
