//! OS-bypass messaging and collectives over libfabric, in the manner of AWS's Elastic Fabric Adapter.

pub mod admission;
pub mod bootstrap;
pub mod collective;
pub mod endpoint;
mod error;
mod ffi;
pub mod memory;
pub mod tensor;

pub use endpoint::{Source, Tag, TagMatch};
pub use error::{Code, Error, Explanation, Peer, Result};
