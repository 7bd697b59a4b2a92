//! What `compare` runs under callgrind: sends and receives of 64 bytes on an endpoint whose only peer is itself.
//!
//! `instructions PROVIDER COUNT`. Each operation is a function of its own, which callgrind is told to count in.

use std::hint::black_box;
use std::process::ExitCode;

use efa_benches::alone;
use efa_core::{Endpoint, Error, Result};

/// Bytes of each message: the size that message rates are compared at.
const SIZE: usize = 64;

/// Operations before those that count: buffers have grown and peers are connected by then, and the thread is the one
/// that the endpoint's lock favours.
const WARMUP: usize = 2000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [provider, count] = &arguments[..] else {
        eprintln!("usage: instructions PROVIDER COUNT");
        return ExitCode::from(2);
    };
    match run(provider, count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(provider: &str, count: &str) -> Result<()> {
    let count: usize = count.parse().map_err(|_| {
        Error::setting("cannot count operations", format!("'{count}' is no number"), "give one")
    })?;
    let endpoint = alone::endpoint(provider.parse()?)?;
    let mut message = vec![1u8; SIZE];

    for _ in 0..WARMUP {
        endpoint.send_blocking(0, 1u32, &message)?;
        endpoint.recv_blocking(0, 1u32, &mut message)?;
    }
    for _ in 0..count {
        message = owned_send(&endpoint, message)?;
        message = owned_receive(&endpoint, message)?;
        borrowed_send(&endpoint, &message)?;
        borrowed_receive(&endpoint, &mut message)?;
    }
    black_box(message);
    Ok(())
}

#[inline(never)]
fn owned_send(endpoint: &Endpoint, message: Vec<u8>) -> Result<Vec<u8>> {
    let (_, message) = endpoint.send(0, 1u32, message).wait()?;
    Ok(message)
}

#[inline(never)]
fn owned_receive(endpoint: &Endpoint, message: Vec<u8>) -> Result<Vec<u8>> {
    let (_, message) = endpoint.recv(0, 1u32, message).wait()?;
    Ok(message)
}

#[inline(never)]
fn borrowed_send(endpoint: &Endpoint, message: &[u8]) -> Result<()> {
    endpoint.send_blocking(0, 1u32, message)
}

#[inline(never)]
fn borrowed_receive(endpoint: &Endpoint, message: &mut [u8]) -> Result<()> {
    endpoint.recv_blocking(0, 1u32, message).map(drop)
}
