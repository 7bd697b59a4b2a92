//! OS-bypass messaging and collectives over libfabric, in the manner of AWS's Elastic Fabric Adapter.

pub mod admission;
pub mod bootstrap;
pub mod collective;
pub mod endpoint;
mod error;
pub mod fabric;
mod ffi;
mod init;
pub mod memory;
pub mod messaging;
pub mod tensor;

pub use collective::Communicator;
pub use endpoint::{Completion, Endpoint, EndpointConfig, Op, Source, Tag, TagMatch};
pub use error::{Code, Error, Explanation, Peer, Result};
pub use init::{Init, init};
