//! Who owns bytes while the device uses them.
//!
//! The device may touch a buffer from the moment an operation is posted until its completion arrives, or until
//! the endpoint has been closed. Everything here exists to make that impossible to get wrong from safe code.

mod buf;
mod copy;
mod held;
mod mapped;
mod pool;
mod region;
mod registered;
mod remote;

pub use buf::{Buf, BufMut};
pub(crate) use copy::copy_of;
pub(crate) use held::Held;
pub use mapped::{MappedFile, MappedSlice};
pub use pool::{BufferPool, PooledBuf};
pub use region::{Access, Region};
pub use registered::{Pages, RegisteredBuf, RegisteredPiece, Registration};
pub(crate) use registered::{Registrar, Registry};
pub use remote::RemoteRegion;
