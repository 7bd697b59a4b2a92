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

use std::ptr;

use crate::endpoint::driver::Shared;
use crate::error::{Error, Result};
use crate::ffi::Segment;
use crate::memory::{Buf, BufMut};

/// Returns an endpoint's view of a buffer that its device only reads.
#[inline]
fn segment(shared: &Shared, buf: &impl Buf) -> Segment {
    Segment {
        start: buf.as_ptr().cast_mut(),
        len: buf.byte_len(),
        descriptor: buf
            .registration()
            .map_or(ptr::null_mut(), |registration| registration.descriptor(shared.identity())),
    }
}

/// Returns an endpoint's view of a buffer that its device writes.
#[inline]
fn segment_mut(shared: &Shared, buf: &mut impl BufMut) -> Segment {
    let rest = segment(shared, buf);
    Segment { start: buf.as_mut_ptr(), ..rest }
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
