//! Sends and receives between random pairs, in and out of order, early and late, through owned operations.

use std::ops::DerefMut;
use std::thread::{sleep, yield_now};
use std::time::Duration;

use efa_core::memory::{BufMut, RegisteredBuf};
use efa_core::{Endpoint, Op, OpResult, Result, Source, Tag, TagMatch};

use super::{Rank, Stop};
use crate::plan::Fault;
use crate::random::Random;

/// The longest message.
const LONGEST: usize = 8 << 20;
/// The longest message where endpoints hold few operations: a longer one may wait for its receive, which waits for room
/// behind others.
const SHORT: usize = 100;
/// Most messages of a step. tcp keeps 64 unexpected messages per peer without stalling.
const MOST: usize = 40;
/// How many tags a sender uses in a step.
const CLASSES: usize = 3;

/// A message of a step. All ranks make the same list.
#[derive(Clone, Copy, Debug)]
struct Message {
    from: usize,
    to: usize,
    tag: u32,
    size: usize,
    number: u64,
}

/// Memory that messages are sent from and received into.
trait Memory: BufMut + DerefMut<Target = [u8]> + Send + Sized + 'static {
    fn of_size(endpoint: &Endpoint, size: usize) -> Result<Self>;
}

impl Memory for Vec<u8> {
    fn of_size(_: &Endpoint, size: usize) -> Result<Self> {
        Ok(vec![0; size])
    }
}

impl Memory for RegisteredBuf<u8> {
    fn of_size(endpoint: &Endpoint, size: usize) -> Result<Self> {
        endpoint.allocate(size)
    }
}

/// Does one step.
pub(super) fn step(rank: &Rank, step: usize, random: &mut Random) -> Result<(), Stop> {
    let longest = if rank.plan.depth.is_some() { SHORT } else { LONGEST };
    let messages = messages(rank.plan.ranks, step, longest, random);
    // From here on each rank does as it likes.
    let mut own = Random::new(&[random.next(), rank.me as u64]);
    if rank.plan.fault == Fault::DroppedOperations && step >= rank.plan.at_step {
        drop_operations(rank, step, &mut own)?;
    }
    if own.chance(50) {
        exchange::<Vec<u8>>(rank, &messages, &mut own)
    } else {
        exchange::<RegisteredBuf<u8>>(rank, &messages, &mut own)
    }
}

fn messages(ranks: usize, step: usize, longest: usize, random: &mut Random) -> Vec<Message> {
    let count = random.between(1, MOST);
    // Keeps the bytes of a step within some tens of MiB.
    let limit = if count > 8 { longest.min(1 << 18) } else { longest };
    let one = |number: usize| {
        let (from, to) = (random.below(ranks), random.below(ranks));
        let tag = (step << 8 | from << 4 | random.below(CLASSES)) as u32;
        let number = (step << 16 | number) as u64;
        Message { from, to, tag, size: random.size(limit), number }
    };
    (0..count).map(one).collect()
}

fn exchange<B: Memory>(rank: &Rank, messages: &[Message], own: &mut Random) -> Result<(), Stop> {
    let endpoint = rank.world.endpoint();
    let is_early = own.chance(50);
    let mut receives = Vec::new();
    if is_early {
        receives = post_receives::<B>(rank, messages, own)?;
    }
    let mut sends: Vec<Op<B>> = Vec::new();
    for message in messages.iter().filter(|message| message.from == rank.me) {
        let mut buffer = B::of_size(endpoint, message.size)?;
        rank.payload(rank.me, message.number).fill(&mut buffer);
        sends.push(endpoint.send(message.to, message.tag, buffer));
    }
    if !is_early {
        if own.chance(50) {
            sleep(Duration::from_micros(own.below(20_000) as u64));
        }
        receives = post_receives::<B>(rank, messages, own)?;
    }
    own.shuffle(&mut receives);
    for (op, message) in receives {
        let (completion, buffer) = wait(op, own)?;
        let expected = (message.from, Tag::from(message.tag), message.size);
        if (completion.peer, completion.tag, completion.bytes) != expected {
            return Err(Stop::Wrong(format!("a receive of {message:?} ended with {completion:?}")));
        }
        rank.payload(message.from, message.number).check(0, &buffer[..message.size])?;
    }
    own.shuffle(&mut sends);
    for op in sends {
        wait(op, own)?;
    }
    Ok(())
}

/// Posts a receive for each message to this rank, in an order in which messages of one sender and tag keep theirs.
fn post_receives<B: Memory>(
    rank: &Rank,
    messages: &[Message],
    own: &mut Random,
) -> Result<Vec<(Op<B>, Message)>> {
    let mine: Vec<Message> = messages.iter().copied().filter(|message| message.to == rank.me).collect();
    let mut order: Vec<u32> = mine.iter().map(|message| message.tag).collect();
    own.shuffle(&mut order);
    let mut left = mine;
    let mut receives = Vec::new();
    for tag in order {
        let place = left.iter().position(|message| message.tag == tag).expect("one for each tag");
        let message = left.remove(place);
        let spare = if own.chance(50) { own.below(100) } else { 0 };
        let buffer = B::of_size(rank.world.endpoint(), message.size + spare)?;
        // The sender is part of the tag, so "any" can only be that one.
        let from = if own.chance(30) { Source::Any } else { Source::Rank(message.from) };
        let tag = match own.chance(20) {
            true => TagMatch::masked(Tag::from(message.tag | 1 << 31), 1 << 31),
            false => TagMatch::from(message.tag),
        };
        receives.push((rank.world.endpoint().recv(from, tag, buffer), message));
    }
    Ok(receives)
}

/// Waits in one of the ways there are.
fn wait<B: Send + 'static>(op: Op<B>, own: &mut Random) -> OpResult<B> {
    match own.below(4) {
        0 => {
            while !op.wait_timeout(Duration::from_millis(1)) {}
            op.wait()
        }
        1 => {
            for _ in 0..own.below(100) {
                if op.is_done() {
                    break;
                }
                yield_now();
            }
            op.wait()
        }
        _ => op.wait(),
    }
}

/// Receives that nobody sends to, cancelled or dropped, and messages to oneself whose handles are dropped.
fn drop_operations(rank: &Rank, step: usize, own: &mut Random) -> Result<(), Stop> {
    let endpoint = rank.world.endpoint();
    // No message has this bit.
    let tag = (step << 8 | 1 << 30) as u32;
    for number in 0..own.between(1, 10) {
        let unmatched = endpoint.recv(Source::Any, tag | number as u32, vec![0u8; own.size(1 << 16)]);
        match own.below(3) {
            0 => drop(unmatched),
            1 => {
                unmatched.cancel();
                drop(unmatched);
            }
            _ => {
                unmatched.cancel();
                if let Ok((completion, _)) = unmatched.wait() {
                    return Err(Stop::Wrong(format!("a cancelled receive ended with {completion:?}")));
                }
            }
        }
    }
    let size = own.size(1 << 18);
    let mut message = vec![0; size];
    rank.payload(rank.me, u64::from(tag)).fill(&mut message);
    drop(endpoint.send(rank.me, tag | 1 << 29, message));
    let mut got = vec![0u8; size];
    endpoint.recv_blocking(rank.me, tag | 1 << 29, &mut got)?;
    Ok(rank.payload(rank.me, u64::from(tag)).check(0, &got)?)
}
