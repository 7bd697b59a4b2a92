//! The proof that neighbours reach each other, before a program's first message.

use std::time::{Duration, Instant};

use super::introduction::parse;
use crate::admission::{CLOSED_EFA_PATH, ClosedPath};
use crate::bootstrap::Control;
use crate::endpoint::request::{Incoming, Outgoing};
use crate::endpoint::tag::Space;
use crate::endpoint::{Endpoint, Op, Source, Tag};
use crate::error::{Error, Result};

/// More than any provider here injects.
const LONGEST: usize = 16 << 10;
/// What counts as for ever: a moment so far ahead can still be named.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400 * 365);

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
    // A closed path can bring down the endpoint, which then says nothing about the other one.
    let mut down = None;
    if size > 1 {
        let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
        let tag = Tag::from(0u32);
        let receive = Incoming::receive(Space::Control, Source::Rank(previous), tag.into(), LONGEST);
        let receive = endpoint.submit(Ok(receive), vec![0u8; LONGEST]);
        // Longer than what is injected: of that nobody would learn whether it was delivered.
        let bytes = (endpoint.limits().inject_size + 1).min(LONGEST);
        let send = Outgoing::send(Space::Control, next, tag, bytes);
        let send = endpoint.submit(Ok(send), vec![0u8; bytes]);
        let until = Instant::now() + limit.min(LONGEST_WAIT);
        let outcomes = [
            (previous, me, "nothing arrived", finish(receive, until)),
            (me, next, "it was not delivered", finish(send, until)),
        ];
        for (from, to, late, outcome) in outcomes {
            let seen = match outcome {
                Some(Ok(())) => continue,
                Some(Err(error @ Error::Aborted { .. })) => return Err(error),
                Some(Err(error @ Error::Closed(_))) => {
                    down = Some(error);
                    continue;
                }
                Some(Err(error)) => cause(&error),
                None => format!("{late} within {} s", limit.as_secs_f64()),
            };
            closed.push(ClosedPath { from, to, seen });
        }
    }
    let mine = serde_json::to_vec(&closed).expect("a list of paths is plain data");
    let all = control.exchange("what came of the first messages", &mine, patience)?;
    let parts: Vec<Vec<ClosedPath>> =
        all.iter().enumerate().map(|(rank, wire)| parse(rank, wire)).collect::<Result<_>>()?;
    let closed: Vec<ClosedPath> = parts.into_iter().flatten().collect();
    match closed.iter().find(|path| path.from >= size || path.to >= size) {
        None if closed.is_empty() => down.map_or(Ok(closed), Err),
        None => Ok(closed),
        Some(path) => Err(Error::rendezvous(
            format!(
                "cannot understand what came of the first messages from rank {} to {}",
                path.from, path.to
            ),
            format!("the job has {size} ranks, counted from 0"),
            "use the same version of this library on all ranks",
        )),
    }
}

/// Waits for the operation; `None` when it is not over in time.
fn finish<B: Send>(operation: Op<B>, until: Instant) -> Option<Result<()>> {
    let is_over = operation.wait_timeout(until.saturating_duration_since(Instant::now()));
    is_over.then(|| operation.wait().map(drop).map_err(Error::from))
}

/// The cause without what the finding says anyway: whom it is about, and what a closed path means.
fn cause(error: &Error) -> String {
    let why = error.explanation().why.replace(&format!("; {CLOSED_EFA_PATH}"), "");
    match error {
        Error::PeerLost { peer, .. } => why.replace(&format!("{peer} is lost: "), ""),
        _ => why,
    }
}
