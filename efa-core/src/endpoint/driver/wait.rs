//! Waiting: whoever waits polls.
//!
//! With several waiters one leads and polls for all; the others park, and are woken when their operation is over or
//! when the leader leaves. A leader spins for a short time, then yields its core, then sleeps: on the completion
//! queue's descriptor where the provider has one, else in short growing naps.

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{Deadline, Locked, Shared};
use crate::endpoint::engine::Engine;
use crate::endpoint::engine::slot::{SlotId, WakeUp};

/// Polls between two looks at the clock and at who else wants the lock.
const POLLS_PER_ROUND: usize = 16;
/// How often a waiter yields between two looks at the clock where there are more ranks than cores.
const TURNS_PER_LOOK: u32 = 16;
/// How long a waiter yields before it sleeps. Long, since a nap costs far more than a few turns of the scheduler.
const YIELD: Duration = Duration::from_millis(1);
/// The same where there are more ranks than cores, and yielding is what lets the others answer.
const YIELD_OVERSUBSCRIBED: Duration = Duration::from_millis(10);
const FIRST_NAP: Duration = Duration::from_micros(20);
const LONGEST_NAP: Duration = Duration::from_millis(1);
/// The longest sleep on a descriptor: the time after which a change that made no event is noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(10);
/// A parked thread looks up this often, should a wake-up ever be missed.
const LONGEST_PARK: Duration = Duration::from_millis(100);

impl Shared {
    /// Waits until the operation is over, for whoever has the lock already, and wants it back. False: the deadline passed
    /// first.
    #[inline(always)]
    pub(crate) fn wait_locked<'a>(
        &'a self,
        mut core: Locked<'a>,
        id: SlotId,
        deadline: Deadline,
    ) -> (Locked<'a>, bool) {
        if core.slots.get(id).is_over() {
            return (core, true);
        }
        let guard = Unwinding;
        let waited = self.wait_polling(core, id, deadline);
        std::mem::forget(guard);
        waited
    }

    #[inline(always)]
    fn wait_polling<'a>(
        &'a self,
        mut core: Locked<'a>,
        id: SlotId,
        deadline: Deadline,
    ) -> (Locked<'a>, bool) {
        if !core.led {
            // What comes soon is awaited with the lock held throughout, so nobody need be told who leads.
            for _ in 0..POLLS_PER_ROUND {
                if core.poll() && core.slots.get(id).is_over() {
                    return (core, true);
                }
                if self.oversubscribed {
                    break;
                }
            }
        }
        self.wait_longer(core, id, deadline)
    }

    #[inline(never)]
    fn wait_longer<'a>(&'a self, mut core: Locked<'a>, id: SlotId, deadline: Deadline) -> (Locked<'a>, bool) {
        let mut followed = false;
        let mut patience = None;
        loop {
            if core.slots.get(id).is_over() {
                if followed && !core.led {
                    // We may have been woken in order to lead.
                    self.hand_over(&mut core);
                }
                return (core, true);
            }
            if !core.led {
                core.led = true;
                let (locked, led) =
                    self.lead(core, deadline, &mut patience, |core| core.slots.get(id).is_over());
                core = locked;
                if led != Led::Lost {
                    core.led = false;
                    self.hand_over(&mut core);
                    return (core, led == Led::Done);
                }
                continue;
            }
            // The leader may be asleep; what has come meanwhile need not wait for it.
            core.poll();
            if core.slots.get(id).is_over() {
                continue;
            }
            core = self.follow(core, id, deadline);
            self.stand_in(&mut core);
            followed = true;
            if deadline.passed() && !core.slots.get(id).is_over() {
                if !core.led {
                    self.hand_over(&mut core);
                }
                return (core, false);
            }
        }
    }

    /// Polls for everybody until `done` says so.
    #[inline]
    pub(in crate::endpoint) fn lead<'a>(
        &'a self,
        mut core: Locked<'a>,
        deadline: Deadline,
        patience: &mut Option<Patience>,
        mut done: impl FnMut(&mut Engine) -> bool,
    ) -> (Locked<'a>, Led) {
        loop {
            for _ in 0..POLLS_PER_ROUND {
                // Most polls find nothing, and then nothing can be done that was not before.
                if core.poll() {
                    if done(&mut core) {
                        if let Some(patience) = patience {
                            self.learn(patience);
                        }
                        return (core, Led::Done);
                    }
                    // There is traffic: what comes next may come soon.
                    if let Some(patience) = patience {
                        patience.renew();
                    }
                }
                if self.oversubscribed {
                    break;
                }
            }
            // Other threads polled too, or closed the endpoint.
            if done(&mut core) {
                return (core, Led::Done);
            }
            if deadline.passed() {
                return (core, Led::TimeOut);
            }
            let gave_way;
            (core, gave_way) = self.pause(core, patience.get_or_insert_with(|| self.patience()), deadline);
            if gave_way {
                if core.led {
                    return (core, Led::Lost);
                }
                core.led = true;
            }
        }
    }

    fn patience(&self) -> Patience {
        let spin = match self.oversubscribed {
            true => Duration::ZERO,
            false => Duration::from_micros(self.spin_now.load(Ordering::Relaxed).into()),
        };
        Patience { since: None, turns: 0, spin, nap: FIRST_NAP, slept: false }
    }

    /// Spins, yields or sleeps, whichever it is time for, or runs the wakers that are due.
    /// True: it slept or ran wakers, and gave the lead away for that time, so that others who wait can poll.
    fn pause<'a>(
        &'a self,
        mut core: Locked<'a>,
        patience: &mut Patience,
        deadline: Deadline,
    ) -> (Locked<'a>, bool) {
        patience.turns += 1;
        if core.wake_ups.iter().any(WakeUp::runs_foreign_code) {
            // A waker may wait for other operations in turn, and would follow this very thread.
            core.led = false;
            drop(core);
            return (self.lock(), true);
        }
        if self.oversubscribed && !patience.turns.is_multiple_of(TURNS_PER_LOOK) {
            drop(core);
            thread::yield_now();
            return (self.lock(), false);
        }
        let waited = patience.since.get_or_insert_with(Instant::now).elapsed();
        if waited < patience.spin {
            if core.wake_ups.is_empty() && !self.is_contended() {
                return (core, false);
            }
            drop(core);
        } else if waited < patience.spin + self.yield_time() {
            self.stand_in(&mut core);
            drop(core);
            thread::yield_now();
        } else {
            patience.slept = true;
            self.stand_in(&mut core);
            core.led = false;
            self.sleep(core, &mut patience.nap, deadline);
            return (self.lock(), true);
        }
        (self.lock(), false)
    }

    fn yield_time(&self) -> Duration {
        if self.oversubscribed { YIELD_OVERSUBSCRIBED } else { YIELD }
    }

    /// Sleeps until there may be something to poll for.
    pub(in crate::endpoint) fn sleep(&self, core: Locked<'_>, nap: &mut Duration, deadline: Deadline) {
        let left =
            deadline.0.map_or(LONGEST_SLEEP, |deadline| deadline.saturating_duration_since(Instant::now()));
        match core.queue().wait_fd() {
            Some(_) if !core.is_open() => {
                drop(core);
                thread::park_timeout(LONGEST_NAP);
            }
            Some(fd) => {
                if core.queue().may_sleep() {
                    drop(core);
                    wait_readable(fd, left.min(LONGEST_SLEEP));
                }
            }
            None => {
                drop(core);
                thread::sleep((*nap).min(left));
                *nap = (*nap * 2).min(LONGEST_NAP);
            }
        }
    }

    /// A wait that had to sleep was one for which spinning was wasted; one that did not can spin again.
    fn learn(&self, patience: &Patience) {
        let most = u32::try_from(self.config.spin.as_micros()).unwrap_or(u32::MAX);
        let now = self.spin_now.load(Ordering::Relaxed);
        let next =
            if patience.slept { (now / 2).max(most / 16) } else { now.saturating_mul(2).max(1).min(most) };
        if next != now {
            self.spin_now.store(next, Ordering::Relaxed);
        }
    }

    /// Parks while another thread leads, for those who wait for more than this operation.
    pub(in crate::endpoint) fn wait_briefly<'a>(&'a self, core: Locked<'a>, id: SlotId) -> Locked<'a> {
        self.follow(core, id, Deadline(Some(Instant::now() + LONGEST_NAP)))
    }

    /// Parks until the operation is over or the leader has left.
    fn follow<'a>(&'a self, mut core: Locked<'a>, id: SlotId, deadline: Deadline) -> Locked<'a> {
        core.unpark_when_over(id, thread::current());
        core.followers.push(id);
        drop(core);
        let left =
            deadline.0.map_or(LONGEST_PARK, |deadline| deadline.saturating_duration_since(Instant::now()));
        thread::park_timeout(left.min(LONGEST_PARK));
        let mut core = self.lock();
        core.followers.retain(|follower| *follower != id);
        core.tell_nobody(id);
        core
    }

    /// Lets somebody else poll, now that the leader leaves.
    #[inline]
    pub(in crate::endpoint) fn hand_over(&self, core: &mut Engine) {
        // Followers whose operation is over have been told already, and leave without leading.
        for place in (0..core.followers.len()).rev() {
            let next = core.followers[place];
            let wake_up = &mut core.slots.get(next).wake_up;
            if matches!(wake_up, WakeUp::Unpark(_)) {
                let wake_up = std::mem::replace(wake_up, WakeUp::None);
                core.wake_ups.push(wake_up);
                return;
            }
        }
        if core.activity.tasks() > 0 {
            self.wake_progress();
        }
    }
}

/// How leading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::endpoint) enum Led {
    /// What was waited for has come.
    Done,
    /// The deadline passed first.
    TimeOut,
    /// Somebody else leads now.
    Lost,
}

/// Ends the process when dropped: a wait that is left by a panic would leave borrowed memory to the device.
struct Unwinding;

impl Drop for Unwinding {
    fn drop(&mut self) {
        let _ = writeln!(
            io::stderr(),
            "efa: ending this process: a panic while memory was in the device's hands"
        );
        std::process::abort();
    }
}

/// How far a waiter has got from spinning to sleeping.
pub(in crate::endpoint) struct Patience {
    /// Since the first look at the clock.
    since: Option<Instant>,
    turns: u32,
    spin: Duration,
    nap: Duration,
    slept: bool,
}

impl Patience {
    /// Begins anew.
    fn renew(&mut self) {
        (self.since, self.nap) = (None, FIRST_NAP);
    }
}

/// Waits until the descriptor can be read, or the time is over.
fn wait_readable(fd: std::os::fd::RawFd, at_most: Duration) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let milliseconds = at_most.as_millis().clamp(1, i32::MAX as u128) as i32;
    // SAFETY: one structure, ours. A descriptor closed meanwhile makes poll return at once.
    unsafe { libc::poll(&mut poll, 1, milliseconds) };
}
