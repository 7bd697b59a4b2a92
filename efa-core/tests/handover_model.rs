//! The hand-over of polling from one waiting thread to the next, gone through in every order.
//!
//! A model of `endpoint/driver/wait.rs`: what a thread does with the endpoint's lock held is one step here. Threads are woken by
//! nothing but what another thread or the device does: the longest time a thread parks (`LONGEST_PARK`) is a net below all
//! this, and the model does without.

use std::collections::{HashSet, VecDeque};

/// Threads that wait, each for an operation of its own.
const WAITERS: usize = 3;

/// Where a waiting thread is in `Shared::wait_longer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Not there yet.
    Outside,
    /// At the top of the loop, about to take the lock.
    Top { followed: bool },
    /// Leads, and is about to poll.
    Leads { followed: bool },
    /// Led, gave the lead away, and sleeps until the device wakes it.
    Sleeps { followed: bool },
    /// Slept, and is about to take the lock and the lead again.
    Wakes { followed: bool },
    /// Parked until it is woken.
    Parked,
    /// It has its result, or its deadline has passed.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    at: [At; WAITERS],
    /// The token of `Thread::unpark`.
    token: [bool; WAITERS],
    /// `Notice::Unpark` is in the operation's record.
    told: [bool; WAITERS],
    /// The device is done with the operation, and nobody has polled since.
    arrived: [bool; WAITERS],
    over: [bool; WAITERS],
    led: bool,
    followers: Vec<usize>,
}

impl State {
    fn new() -> Self {
        Self {
            at: [At::Outside; WAITERS],
            token: [false; WAITERS],
            told: [false; WAITERS],
            arrived: [false; WAITERS],
            over: [false; WAITERS],
            led: false,
            followers: Vec::new(),
        }
    }

    /// `Core::poll`, with the wake-ups that come of it.
    fn poll(&mut self) {
        for id in 0..WAITERS {
            if std::mem::take(&mut self.arrived[id]) {
                self.over[id] = true;
                self.token[id] |= std::mem::take(&mut self.told[id]);
            }
        }
    }

    /// `Shared::hand_over`.
    fn hand_over(&mut self) {
        if let Some(&next) = self.followers.iter().rev().find(|&&next| self.told[next]) {
            self.told[next] = false;
            self.token[next] = true;
        }
    }

    /// A thread leads no more, and leaves.
    fn leave_the_lead(&mut self, id: usize) {
        self.led = false;
        self.hand_over();
        self.at[id] = At::Gone;
    }

    /// All that can happen next.
    fn next(&self) -> Vec<State> {
        let mut all = Vec::new();
        let mut then = |change: &dyn Fn(&mut State)| {
            let mut next = self.clone();
            change(&mut next);
            all.push(next);
        };
        if self.arrived.contains(&true) {
            // The progress thread looks in, or some thread asks whether an operation is done.
            then(&State::poll);
        }
        for id in 0..WAITERS {
            if !self.over[id] && !self.arrived[id] {
                // An event of the device wakes whoever sleeps on its descriptor.
                then(&|state| {
                    state.arrived[id] = true;
                    for at in &mut state.at {
                        if let At::Sleeps { followed } = *at {
                            *at = At::Wakes { followed };
                        }
                    }
                });
            }
            match self.at[id] {
                At::Outside => then(&|state| state.at[id] = At::Top { followed: false }),
                At::Top { followed } => then(&|state| state.top(id, followed)),
                At::Wakes { followed } => then(&|state| {
                    state.at[id] = if state.led { At::Top { followed } } else { At::Leads { followed } };
                    state.led = true;
                }),
                At::Leads { followed } => {
                    then(&|state| {
                        state.poll();
                        if state.over[id] {
                            state.leave_the_lead(id);
                        }
                    });
                    // Its deadline passes.
                    then(&|state| state.leave_the_lead(id));
                    // It found nothing for long. It may sleep only when there is nothing to poll for.
                    if !self.over[id] && !self.arrived.contains(&true) {
                        then(&|state| {
                            state.led = false;
                            state.at[id] = At::Sleeps { followed };
                        });
                    }
                }
                At::Parked => {
                    if self.token[id] {
                        then(&|state| {
                            state.token[id] = false;
                            state.unpark(id);
                            state.at[id] = At::Top { followed: true };
                        });
                    }
                    // Its deadline passes, also when it was woken.
                    then(&|state| {
                        state.unpark(id);
                        state.at[id] = At::Gone;
                        if !state.led {
                            state.hand_over();
                        }
                    });
                }
                At::Sleeps { .. } | At::Gone => {}
            }
        }
        all
    }

    /// One turn of the loop in `Shared::wait_longer`, up to where the lock is given back.
    fn top(&mut self, id: usize, followed: bool) {
        if self.led && !self.over[id] {
            self.poll();
        }
        if self.over[id] {
            if followed && !self.led {
                self.hand_over();
            }
            self.at[id] = At::Gone;
        } else if self.led {
            self.told[id] = true;
            self.followers.push(id);
            self.at[id] = At::Parked;
        } else {
            self.led = true;
            self.at[id] = At::Leads { followed };
        }
    }

    /// The end of `Shared::follow`.
    fn unpark(&mut self, id: usize) {
        self.followers.retain(|&follower| follower != id);
        self.told[id] = false;
    }

    /// What must never be: nobody is going to poll, or to wake somebody who should.
    fn is_stuck(&self) -> bool {
        let is_parked = |id: usize| self.at[id] == At::Parked && !self.token[id];
        let is_asleep = |id: usize| matches!(self.at[id], At::Sleeps { .. });
        let is_awake =
            |id: usize| !is_parked(id) && !is_asleep(id) && !matches!(self.at[id], At::Outside | At::Gone);
        let any = |what: &dyn Fn(usize) -> bool| (0..WAITERS).any(what);
        let unseen = self.arrived.contains(&true);
        any(&|id| is_parked(id) && self.over[id])
            || !any(&is_awake) && any(&is_parked) && !any(&is_asleep)
            || !any(&is_awake) && any(&is_asleep) && unseen
    }
}

#[test]
fn somebody_polls_as_long_as_somebody_waits_and_whoever_is_done_is_woken() {
    let mut seen = HashSet::from([State::new()]);
    let mut open = VecDeque::from([State::new()]);
    while let Some(state) = open.pop_front() {
        assert!(!state.is_stuck(), "{state:?}");
        for next in state.next() {
            if seen.insert(next.clone()) {
                open.push_back(next);
            }
        }
    }
    assert!(seen.len() > 1000, "only {} states were found", seen.len());
}
