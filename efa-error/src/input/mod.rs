//! What programs are told from outside, read with an [`Error`](crate::Error) that names the source: variables of the
//! environment, and files.

mod file;
mod variables;

pub use file::read_bounded;
pub use variables::{optional_seconds, seconds, variable};
