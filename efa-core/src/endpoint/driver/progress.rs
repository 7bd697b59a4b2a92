//! The progress thread: it polls when nobody else does, and ends what takes too long.
//!
//! Every provider here needs the target of an operation to poll now and then. A program that computes for a while
//! must not stop its peers for as long, so this thread takes over; while callers poll it only looks at the clock.
//!
//! The thread runs code of others: wakers, drops of buffers, the logger. What panics there closes the endpoint, and
//! while it does not return, those who wait look through the operations themselves.

use std::any::Any;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use log::Level;

use super::clock::Clock;
use super::connections::Connections;
use super::fence;
use super::wait::Led;
use super::{Deadline, Shared};
use crate::bootstrap::Status;
use crate::endpoint::engine::Engine;
use crate::endpoint::engine::slot::CancelReason;
use crate::endpoint::error;
use crate::endpoint::request::Operation;
use crate::ffi::{EndpointHandle, log_later, log_now};

/// The first and the longest nap of an idle thread without a descriptor to sleep on. The longest bounds how late a
/// peer's remote read is answered while this rank computes.
const FIRST_NAP: Duration = Duration::from_micros(50);
const LONGEST_NAP: Duration = Duration::from_millis(2);
/// How often the operations under way are looked through.
const WATCH_EVERY: u32 = 5;
/// How long an operation that is to be ended may take to end by itself, in ticks.
const GRACE: u32 = 100;
/// When the job is called off, an operation that has used up all but this part of its time is overdue by itself: it has
/// probably waited as long as the one whose rank was the first to give up, and then its own peer is to be named.
const NEARLY: u32 = 16;
/// What efa reports when a peer's remote operation named memory that is not registered for it
/// (`FI_EFA_ERR_RMA_ADDR`). The mistake is the peer's.
const REFUSED_ACCESS: i32 = 4111;
/// Polls before an operation counts as one that does not end: more than a provider has completions.
const MOST_POLLS: usize = 1 << 16;
/// How long messages of a rank that has left in good order may still be on their way, in ticks.
const FAREWELL: u32 = 200;

/// Runs until the endpoint is closed.
pub(in crate::endpoint) fn run(shared: &Arc<Shared>) {
    // Here nobody waits for it.
    fence::prepare();
    while !shared.stop.load(Ordering::Acquire) {
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| take_turns(shared))) else { continue };
        let why = format!("its progress thread panicked: {}", describe_panic(&*payload));
        // Dropping the payload runs code of others.
        std::mem::forget(payload);
        let _ = writeln!(io::stderr(), "efa: closing the endpoint: {why}");
        let mut core = shared.lock();
        // This thread may have led for others, who look for another leader when their operations have ended.
        core.led = false;
        shared.close_by_force(&mut core, why);
        shared.hand_over_to_threads(&mut core);
    }
    log_now();
}

/// The words of a panic.
pub(in crate::endpoint) fn describe_panic(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn take_turns(shared: &Shared) {
    let mut seen = 0;
    let mut nap = FIRST_NAP;
    // Kept from one turn of leading to the next, so that a long wait ends up asleep.
    let mut patience = None;
    let mut watched = 0;
    let activity = shared.lock().activity.clone();
    while !shared.stop.load(Ordering::Acquire) {
        if !log_now() {
            shared.lock().panicked.get_or_insert_with(|| "the program's logger panicked".into());
        }
        let others_poll = activity.is_enough_since(seen);
        if others_poll && shared.clock.advance().wrapping_sub(watched) < WATCH_EVERY {
            seen = activity.polls();
            thread::park_timeout(Clock::TICK);
            continue;
        }
        let mut core = shared.lock();
        let others_poll = activity.is_enough_since(seen);
        watched = shared.look(&mut core);
        if core.led || !core.followers.is_empty() || others_poll {
            seen = activity.polls();
            nap = FIRST_NAP;
            drop(core);
            thread::park_timeout(Clock::TICK);
            continue;
        }
        if activity.tasks() > 0 {
            // Nobody leads and tasks wait: lead for them, until the next look at the clock is due.
            core.led = true;
            let turn = std::time::Instant::now() + Clock::TICK;
            let stop = |core: &mut Engine| core.activity.tasks() == 0 || shared.stop.load(Ordering::Relaxed);
            let (mut core, led) = shared.lead(core, Deadline(Some(turn)), &mut patience, stop);
            if led != Led::Lost {
                core.led = false;
                shared.hand_over_to_threads(&mut core);
            }
            seen = activity.polls();
            continue;
        }
        patience = None;
        let active = core.poll();
        seen = activity.polls();
        if active {
            nap = FIRST_NAP;
        } else if core.queue().wait_fd().is_some() {
            shared.sleep(core, &mut nap, Deadline::NONE);
        } else {
            drop(core);
            thread::park_timeout(nap);
            nap = (nap * 2).min(LONGEST_NAP);
        }
    }
}

impl Shared {
    fn hand_over_to_threads(&self, core: &mut Engine) {
        if !core.followers.is_empty() {
            self.hand_over(core);
        }
    }

    /// Looks through the operations under way, if it is time for that; returns when that was done last.
    fn look(&self, core: &mut Engine) -> u32 {
        // Read under the lock: an operation must not have started later than what we take for now.
        let now = self.clock.advance();
        if now.wrapping_sub(core.watch.looked) >= WATCH_EVERY {
            let mut watch = std::mem::take(&mut core.watch);
            watch.looked = now;
            watch.look(self, core, now);
            core.watch = watch;
        }
        core.watch.looked
    }

    /// Looks through the operations under way in place of the progress thread, if that is held up: by a waker, a
    /// buffer's drop or a logger that does not return.
    #[cold]
    pub(in crate::endpoint) fn stand_in(&self, core: &mut Engine) {
        if self.clock.is_held_up() {
            self.look(core);
        }
    }
}

/// Ends operations whose time is over, whose peer is gone, or whose job has been called off.
#[derive(Default)]
pub(in crate::endpoint) struct Watch {
    /// The tick of the last look.
    looked: u32,
    /// Operations were being ended at the last look.
    is_ending: bool,
    epoch: Option<u64>,
    /// Since when each rank is known to be gone: its last messages get some time to arrive.
    gone: Vec<(usize, u32, bool)>,
    called_off: bool,
    connections: Connections,
}

impl Watch {
    /// The tick of the last look.
    pub(in crate::endpoint) fn looked(&self) -> u32 {
        self.looked
    }

    /// Whether there are connections that broke, but for those of ranks that are gone.
    pub(in crate::endpoint) fn has_broken_connections(&self) -> bool {
        !self.connections.is_empty()
    }

    fn look(&mut self, shared: &Shared, core: &mut Engine, now: u32) {
        let epoch = shared.liveness.epoch();
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.called_off = shared.liveness.called_off().is_some();
            for rank in 0..shared.peers.len() {
                let status = shared.liveness.status(rank);
                if status.is_gone() && !self.gone.iter().any(|gone| gone.0 == rank) {
                    self.gone.push((rank, now, status == Status::Left));
                }
            }
        }
        if let Some(why) = core.panicked.take() {
            return shared.close_by_force(core, why);
        }
        while let Some((code, device_status)) = core.endpoint().and_then(EndpointHandle::event_error) {
            if device_status == REFUSED_ACCESS {
                let text = "refused a peer's access to memory that is not, or no longer, exposed to it";
                log_later(Level::Warn, text.into());
                continue;
            }
            let why = error::device_failure(code, device_status);
            return shared.close_by_force(core, format!("the provider's own traffic failed: {why}"));
        }
        // What has arrived already counts, whoever is gone by now.
        // Of what is being ended, many may end at once, and failures are read one by one.
        let most = if std::mem::take(&mut self.is_ending) { MOST_POLLS } else { 1 };
        for _ in 0..most {
            if !core.poll() {
                break;
            }
        }
        if let Some(why) = self.connections.look(shared, core, now) {
            return shared.close_by_force(core, why);
        }
        core.end_doubts(now);
        let limit = Clock::ticks(shared.config.timeout);
        for id in core.slots.under_way() {
            // The end of one may bring that of another.
            if !core.slots.is_under_way(id) {
                continue;
            }
            let record = core.slots.get(id);
            if matches!(record.request.operation, Operation::Group) {
                continue;
            }
            if let Some((cancel_reason, since)) = record.cancel_reason
                && cancel_reason != CancelReason::Cancelled
            {
                self.is_ending = true;
                if now.wrapping_sub(since) > GRACE {
                    let request = record.request;
                    let what = shared.describe(&request);
                    return shared.close_by_force(
                        core,
                        format!("a {what} had to be ended: {}", cancel_reason.words()),
                    );
                }
                continue;
            }
            let peer = record.request.peer.map(|rank| rank as usize);
            // What nobody waits for, no scope either, may take its time, unless it can be taken back.
            let may_be_overdue = !record.is_orphan()
                || record.request.group.is_some()
                || record.request.operation.can_cancel();
            let age = now.wrapping_sub(record.started);
            let cancel_reason = if self.called_off && !(may_be_overdue && age > limit - limit / NEARLY) {
                CancelReason::Aborted
            } else if self.is_lost(shared, peer, now) {
                CancelReason::PeerLost
            } else if may_be_overdue && (age > limit || self.called_off) {
                CancelReason::Overdue
            } else {
                continue;
            };
            // Cancelled before, and still under way: the provider won't let go of it, so the reason is now this one.
            record.cancel_reason = None;
            self.is_ending = true;
            core.cancel(id, cancel_reason, now);
        }
    }

    /// Whether nothing can come of an operation with this peer, or with any.
    fn is_lost(&self, shared: &Shared, peer: Option<usize>, now: u32) -> bool {
        let lost = |rank: usize| {
            let is_over = |&(gone, since, left): &(usize, u32, bool)| {
                gone == rank && (!left || now.wrapping_sub(since) > FAREWELL)
            };
            self.gone.iter().any(is_over)
        };
        match peer {
            Some(rank) => lost(rank),
            // One can always send to oneself; of a job of one nobody else can be missed.
            None => {
                self.gone.len() + 1 >= shared.peers.len()
                    && shared.peers.len() > 1
                    && (0..shared.peers.len()).all(|rank| rank == shared.me || lost(rank))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use log::{Level, Log, Metadata, Record};

    use super::*;
    use crate::admission::{self, Policy, SecurityGroups};
    use crate::ffi::log_later;
    use crate::{Endpoint, EndpointConfig, Error};

    /// A logger that does to an endpoint what its records say.
    struct Hostile(Mutex<Option<Arc<Endpoint>>>);

    static HOSTILE: Hostile = Hostile(Mutex::new(None));

    impl Log for Hostile {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            let endpoint = HOSTILE.0.lock().unwrap().clone();
            let Some(endpoint) = endpoint else { return };
            match record.args().to_string().as_str() {
                "test: use the endpoint" => {
                    endpoint.send_blocking(0, 1u32, &[1u8; 8]).unwrap();
                    endpoint.recv_blocking(0, 1u32, &mut [0u8; 8]).unwrap();
                    endpoint.send_blocking(0, 2u32, &[1u8; 8]).unwrap();
                }
                "test: panic" => std::panic::resume_unwind(Box::new("the disk is full")),
                _ => {}
            }
        }

        fn flush(&self) {}
    }

    #[test]
    fn a_logger_may_use_the_endpoint_and_one_that_panics_closes_it() {
        let member = crate::this_member(0, Some([127, 0, 0, 1].into())).unwrap();
        let report = admission::evaluate(&[member], &SecurityGroups::none(), &Policy::strict());
        let config = EndpointConfig::default().source([127, 0, 0, 1].into()).timeout(Duration::from_secs(60));
        let endpoint = Arc::new(Endpoint::alone(&report.admit().unwrap(), config).unwrap());
        *HOSTILE.0.lock().unwrap() = Some(endpoint.clone());
        log::set_logger(&HOSTILE).unwrap();
        log::set_max_level(log::LevelFilter::Warn);

        // As the provider's failures are told: under the lock.
        let locked = endpoint.shared.lock();
        log_later(Level::Warn, "test: use the endpoint".into());
        drop(locked);
        endpoint.recv_blocking(0, 2u32, &mut [0u8; 8]).unwrap();

        let waiting = endpoint.recv(0, 3u32, vec![0u8; 8]);
        log_later(Level::Warn, "test: panic".into());
        let begun = Instant::now();
        let error = waiting.wait().unwrap_err().error;
        assert!(
            matches!(error, Error::Closed(_)) && error.to_string().contains("logger panicked"),
            "{error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(30) && !endpoint.is_open());
        *HOSTILE.0.lock().unwrap() = None;
    }
}
