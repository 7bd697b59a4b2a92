//! The verbs of an [`Endpoint`](crate::Endpoint), one per file.
//!
//! Each comes in two forms. `send`, `recv`, `read`, `write` take a buffer by value and return an
//! [`Op`](crate::endpoint::Op), which gives it back. `send_blocking` and the like borrow, and return when the device is
//! done with the memory.

mod atomic;
mod immediates;
mod probe;
mod read;
mod recv;
mod send;
mod write;

pub use atomic::AtomicInteger;

use crate::error::{Error, Result};
use crate::ffi::Segment;
use crate::memory::{Buf, Registration};

/// The device's view of a buffer.
#[inline]
fn segment(buf: &impl Buf) -> Segment {
    Segment {
        start: buf.as_ptr().cast_mut(),
        len: buf.byte_len(),
        descriptor: buf.registration().map_or(std::ptr::null_mut(), Registration::descriptor),
    }
}

/// Checks that a message can be made of this many pieces.
fn check_segments(verb: &str, count: usize, limit: usize) -> Result<()> {
    if (1..=limit).contains(&count) {
        return Ok(());
    }
    Err(Error::misuse(
        format!("cannot {verb} a message of {count} pieces"),
        format!("the provider takes 1 to {limit}"),
        "copy pieces together, or send several messages; Endpoint::limits tells how many pieces work",
    ))
}
