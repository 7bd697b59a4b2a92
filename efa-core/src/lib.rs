//! OS-bypass messaging and collectives over libfabric, in the manner of AWS's Elastic Fabric Adapter.

pub mod admission;
pub mod bootstrap;
pub mod collective;
mod error;
pub mod tensor;

pub use error::{Code, Error, Explanation, Peer, Result};
