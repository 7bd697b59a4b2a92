//! Carries out work requests: the sending process does what the devices of both sides would do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::attempt::{Attempt, Outcome};
use crate::completion::{Attached, Completion};
use crate::device::limits;
use crate::errno::Errno;
use crate::faults::{Subject, Verdict};
use crate::handles::Destination;
use crate::letters::PATIENCE;
use crate::peers::RemoteQueue;
use crate::queue::{Kind, Queue, RETRY_FOR_EVER};
use crate::rdma;
use crate::settings::Rdma;
use crate::status::Status;
use crate::wire::MAX_MESSAGE;
use crate::wire::queue::{STATE_GONE, STATE_READY, Which};
use crate::wire::ring::{Label, Refusal};
use crate::work::{Operation, Work};

/// The longest wait before a retry when a receiver isn't ready.
const RETRY_LAST: Duration = Duration::from_millis(1);
/// Wait before a peer whose device went away is given up.
const VANISHED: Duration = Duration::from_millis(500);

/// Carries out work requests, at once or through the helper. ENOMEM, and none is, if too many are unfinished.
pub(crate) fn post_all(queue: &Arc<Queue>, work: impl ExactSizeIterator<Item = Work>) -> Result<(), Errno> {
    queue.reserve(work.len())?;
    work.for_each(|work| post(queue, work));
    Ok(())
}

fn post(queue: &Arc<Queue>, work: Work) {
    let process = &queue.parts.process;
    if process.log.on() {
        log_post(queue, &work);
    }
    if process.faults.active() {
        return post_with_faults(queue, work);
    }
    let outcome = try_work(queue, &work);
    settle(queue, work, outcome, Attempt::first(queue.retries()));
}

/// Goes on from how a try went: finishes the request or hands it to the helper.
fn settle(queue: &Arc<Queue>, mut work: Work, outcome: Outcome, attempt: Attempt) {
    match outcome {
        Outcome::Done(status) => finish(queue, &work, status),
        Outcome::NotReady if queue.parts.kind == Kind::Unreliable => finish(queue, &work, Status::Ok),
        Outcome::NotReady if attempt.retries == 0 => finish(queue, &work, Status::ReceiverNotReady),
        Outcome::NotReady => {
            if let Err(status) = keep(queue, &mut work) {
                return finish(queue, &work, status);
            }
            let wait = attempt.wait;
            let retries =
                if attempt.retries == RETRY_FOR_EVER { RETRY_FOR_EVER } else { attempt.retries - 1 };
            let next = Attempt { retries, wait: (wait * 2).min(RETRY_LAST), ..attempt };
            hold(queue, work, wait, next);
        }
        Outcome::Later(Some(status)) if attempt.waited >= PATIENCE => finish(queue, &work, status),
        Outcome::Later(_) => {
            let next = Attempt { waited: attempt.waited + RETRY_LAST, ..attempt };
            hold(queue, work, RETRY_LAST, next);
        }
        Outcome::After(wait, status) => hold(queue, work, wait, Attempt { fail: Some(status), ..attempt }),
    }
}

/// Hands a request to the helper, which goes on with it after a wait.
fn hold(queue: &Arc<Queue>, work: Work, wait: Duration, attempt: Attempt) {
    let own = queue.clone();
    queue.parts.process.helper.after(wait, move || own.work_aside(|| go_on(&own, work, attempt)));
}

fn go_on(queue: &Arc<Queue>, work: Work, mut attempt: Attempt) {
    let outcome = if let Some(status) = attempt.fail {
        Outcome::Done(status)
    } else if attempt.not_ready > 0 {
        attempt.not_ready -= 1;
        Outcome::NotReady
    } else {
        try_work(queue, &work)
    };
    settle(queue, work, outcome, attempt);
}

/// Tries a request once.
fn try_work(queue: &Arc<Queue>, work: &Work) -> Outcome {
    match try_once(queue, work) {
        Ok(()) => Outcome::Done(Status::Ok),
        // An unreliable datagram that can't be delivered is lost, and nobody is told.
        Err(outcome) if queue.parts.kind == Kind::Unreliable => match outcome {
            Outcome::Done(Status::InvalidLocalKey | Status::LocalBadLength | Status::Flushed) => outcome,
            _ => Outcome::Done(Status::Ok),
        },
        Err(outcome) => outcome,
    }
}

fn try_once(queue: &Arc<Queue>, work: &Work) -> Result<(), Outcome> {
    let process = &queue.parts.process;
    if process.is_gone(queue.parts.device) {
        return Err(Outcome::Done(Status::Flushed));
    }
    let to = work.to.as_ref().ok_or(Outcome::Done(Status::BadDestination))?;
    let is_supported = match work.operation {
        Operation::Send => true,
        Operation::Read => process.rdma >= Rdma::Read,
        Operation::Write => process.rdma >= Rdma::Write,
    };
    if !is_supported {
        return Err(Outcome::Done(Status::Unsupported));
    }
    let len = work.len();
    let longest =
        if work.operation == Operation::Send { MAX_MESSAGE as u64 } else { u64::from(limits::MAX_RDMA) };
    if len > longest {
        return Err(Outcome::Done(Status::LocalBadLength));
    }
    work.check_local(&process.regions).map_err(Outcome::Done)?;
    let remote = reach(queue, to, work)?;
    if work.operation != Operation::Send {
        rdma::transfer(queue, work, to.address)?;
    }
    if work.takes_receive() { place(queue, work, to, &remote, len as u32) } else { Ok(()) }
}

/// Returns the receiving queue pair, if it is there and ours to send to.
fn reach(queue: &Arc<Queue>, to: &Arc<Destination>, work: &Work) -> Result<Arc<RemoteQueue>, Outcome> {
    let process = &queue.parts.process;
    if process.is_gone_at(to.address) {
        let status = Outcome::After(VANISHED, Status::Unresponsive);
        return Err(if process.rank_of(to.address).is_some() {
            status
        } else {
            Outcome::Done(Status::BadDestination)
        });
    }
    let bad = Outcome::Done(Status::BadDestination);
    let Ok(qpn) = u16::try_from(work.to_qpn) else { return Err(bad) };
    let Ok(remote) = to.queue(&process.job, qpn) else { return Err(bad) };
    let Ok(header) = remote.file.header() else { return Err(bad) };
    let state = header.state.load(Ordering::Acquire);
    if state == STATE_GONE || !remote.is_alive(&process.job) {
        to.forget(qpn);
        return Err(bad);
    }
    if state != STATE_READY || header.qkey.load(Ordering::Relaxed) != work.to_qkey {
        return Err(bad);
    }
    Ok(remote)
}

/// Places a message, or the notice of a write, with the receiver.
fn place(
    queue: &Queue,
    work: &Work,
    to: &Destination,
    remote: &RemoteQueue,
    len: u32,
) -> Result<(), Outcome> {
    let process = &queue.parts.process;
    let own = process.address(queue.parts.device);
    let is_write = work.operation == Operation::Write;
    let label = Label {
        len,
        imm: work.imm,
        is_write,
        source_qpn: u32::from(queue.qpn),
        source_slot: own.slot,
        source_generation: own.generation,
        source_device: own.device,
    };
    let Ok(header) = remote.file.header() else { return Err(Outcome::Done(Status::BadDestination)) };
    let unsolicited = is_write && header.unsolicited.load(Ordering::Relaxed) != 0;
    let which = if unsolicited { Which::Unsolicited } else { Which::Posted };
    let fill = |bytes: *mut u8| {
        if !is_write {
            // SAFETY: `place` gives room for the label's length, and the local keys have been checked.
            unsafe { work.gather(bytes) }
        }
    };
    let placed = remote.file.ring(which).place(remote.file.mapping(), own.slot, label, fill);
    placed.map_err(|refusal| match refusal {
        // A full device queue is waited for: the program has no receive to post against it.
        Refusal::NotReady if unsolicited => Outcome::Later(None),
        Refusal::NotReady => Outcome::NotReady,
        Refusal::TooLong => Outcome::Done(Status::RemoteBadLength),
        Refusal::Broken => Outcome::Done(Status::BadDestination),
    })?;
    std::sync::atomic::fence(Ordering::SeqCst);
    if header.armed.load(Ordering::Relaxed) != 0 && header.armed.swap(0, Ordering::SeqCst) != 0 {
        process.ring(to.address);
    }
    Ok(())
}

fn post_with_faults(queue: &Arc<Queue>, mut work: Work) {
    let process = &queue.parts.process;
    let n = process.faults.count();
    process.befall(n);
    let subject = Subject {
        to: work.to.as_ref().and_then(|to| process.rank_of(to.address)),
        takes_receive: work.takes_receive(),
        has_key: work.operation != Operation::Send,
    };
    let verdict = process.faults.verdict(n, subject);
    if verdict == Verdict::default() {
        let outcome = try_work(queue, &work);
        return settle(queue, work, outcome, Attempt::first(queue.retries()));
    }
    process.log.line(
        "fault",
        format_args!(
            "request={n} id={:#x} to={} hold_us={} fail={} not_ready={}",
            work.wr_id,
            subject.to.map_or_else(|| "?".to_owned(), |rank| rank.to_string()),
            verdict.hold.as_micros(),
            verdict.fail.map_or(0, Status::number),
            verdict.not_ready,
        ),
    );
    if let Err(status) = keep(queue, &mut work) {
        return finish(queue, &work, status);
    }
    let first = Attempt::first(queue.retries());
    hold(queue, work, verdict.hold, Attempt { fail: verdict.fail, not_ready: verdict.not_ready, ..first });
}

/// Makes a request fit to be held back: the bytes of a send are taken now, those of a write may stay, as the program
/// has to leave them alone until the completion either way.
fn keep(queue: &Queue, work: &mut Work) -> Result<(), Status> {
    if work.operation == Operation::Send && work.len() <= MAX_MESSAGE as u64 {
        work.take_data(&queue.parts.process.regions)?;
    }
    Ok(())
}

fn finish(queue: &Arc<Queue>, work: &Work, status: Status) {
    let log = &queue.parts.process.log;
    if log.on() {
        log.line(
            "done",
            format_args!(
                "device={} qp={} id={:#x} status={}",
                queue.parts.device,
                queue.qpn,
                work.wr_id,
                status.number()
            ),
        );
    }
    if queue.is_destroyed() || (status == Status::Ok && !work.signaled && !queue.parts.all_signaled) {
        return queue.end();
    }
    let opcode = work.operation.completion_opcode();
    let mut completion = Completion::new(work.wr_id, opcode, status, u32::from(queue.qpn));
    completion.sender = Some(queue.clone());
    queue.parts.send_completions.push(completion);
}

fn log_post(queue: &Queue, work: &Work) {
    let process = &queue.parts.process;
    let to = work.to.as_ref().and_then(|to| process.rank_of(to.address));
    process.log.line(
        "post",
        format_args!(
            "device={} qp={} id={:#x} kind={:?} to={} to_qp={} bytes={} imm={} key={:#x}",
            queue.parts.device,
            queue.qpn,
            work.wr_id,
            work.operation,
            to.map_or_else(|| "?".to_owned(), |rank| rank.to_string()),
            work.to_qpn,
            work.len(),
            work.imm.is_some(),
            work.remote_key,
        ),
    );
}
