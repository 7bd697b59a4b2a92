//! The verbs, one per file: methods of an [`Endpoint`](crate::Endpoint) and of a [`Scope`](crate::endpoint::Scope).
//!
//! Each comes in three forms. `send`, `recv`, `read`, `write` of an endpoint take a buffer by value and return an
//! [`Op`](crate::endpoint::Op), which gives it back. `send_blocking` and the like borrow, and return when the device is
//! done with the memory. Those of a scope borrow, and the scope waits.
//!
//! A verb checks what it is given, describes the operation, and hands the description over with the buffer.

#![forbid(unsafe_code)]

mod atomic;
mod immediates;
mod probe;
mod read;
mod recv;
mod send;
mod write;

pub use atomic::AtomicInteger;

use crate::error::{Error, Result};

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
