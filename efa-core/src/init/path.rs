//! The proof that neighbours reach each other, before a program's first message.

use std::time::{Duration, Instant};

use super::introduction::parse;
use crate::admission::{CLOSED_EFA_PATH, ClosedPath};
use crate::bootstrap::Control;
use crate::endpoint::tag::Space;
use crate::endpoint::{Endpoint, Op, Source, Tag};
use crate::error::{Error, Result};

/// More than any provider here injects.
const LONGEST: usize = 16 << 10;

/// Sends a small message around the ring of ranks, so that a path that is closed shows now and by name. All ranks get
/// the same list of closed paths. The messages have `limit` to get through, and the list `patience` to be collected.
pub(super) fn try_neighbours(
    control: &Control,
    endpoint: &Endpoint,
    limit: Duration,
    patience: Duration,
) -> Result<Vec<ClosedPath>> {
    let (me, size) = (endpoint.rank(), endpoint.size());
    let mut closed = Vec::new();
    if size > 1 {
        let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
        let tag = Tag::from(0u32);
        let receive =
            endpoint.recv_op(Space::Control, Source::Rank(previous), tag.into(), vec![0u8; LONGEST]);
        // Longer than what is injected: of that nobody would learn whether it was delivered.
        let bytes = (endpoint.limits().inject_size + 1).min(LONGEST);
        let send = endpoint.send_op(Space::Control, next, tag, vec![0u8; bytes]);
        let until = Instant::now() + limit;
        let late = |what: &str| format!("{what} within {} s", limit.as_secs_f64());
        if let Some(seen) = failure(receive, until, late("nothing arrived"))? {
            closed.push(ClosedPath { from: previous, to: me, seen });
        }
        if let Some(seen) = failure(send, until, late("it was not delivered"))? {
            closed.push(ClosedPath { from: me, to: next, seen });
        }
    }
    let mine = serde_json::to_vec(&closed).expect("a list of paths is plain data");
    let all = control.exchange("what came of the first messages", &mine, patience)?;
    let parts: Vec<Vec<ClosedPath>> =
        all.iter().enumerate().map(|(rank, wire)| parse(rank, wire)).collect::<Result<_>>()?;
    Ok(parts.into_iter().flatten().collect())
}

/// What was seen of a message that did not get through; an error when it says nothing about the path.
fn failure<B: Send>(operation: Op<B>, until: Instant, late: String) -> Result<Option<String>> {
    let Ok((result, _)) = operation.wait_deadline(until.saturating_duration_since(Instant::now())) else {
        return Ok(Some(late));
    };
    match result {
        Ok(_) => Ok(None),
        Err(error @ Error::Aborted { .. }) => Err(error),
        Err(error) => {
            let why = &error.explanation().why;
            Ok(Some(why.replace(&format!("; {CLOSED_EFA_PATH}"), "")))
        }
    }
}
