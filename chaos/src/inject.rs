//! Faults that come from outside of the ranks.

use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::job::Job;
use crate::plan::{Fault, Phase, Plan};
use crate::random::Random;
use crate::report::{self, Event};
use crate::sockets::{self, Socket};

/// How often to look how far a rank has come.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// What was done to a job.
#[derive(Default)]
pub(crate) struct Injected {
    /// When, by [`report::now`]; none if the job was over before.
    pub(crate) time: Option<u64>,
    /// Connections that are to stay open until the job has ended.
    _connections: Vec<TcpStream>,
}

/// Waits for the moment of the plan and brings its fault about, if it is one from outside.
pub(crate) fn inject(plan: &Plan, job: &mut Job, until: Instant) -> Injected {
    let mut injected = Injected::default();
    if !plan.fault.is_from_outside() || !reach(plan, job, until) {
        return injected;
    }
    let mut random = plan.random(1 << 34);
    let now = report::now();
    let done = match plan.fault {
        Fault::ShortPause | Fault::LongPause => {
            let stopped = job.signal(plan.victim, Signal::STOP);
            sleep(plan.pause);
            job.signal(plan.victim, Signal::CONT);
            stopped
        }
        Fault::Garbage => {
            for pid in job.pids() {
                for socket in sockets::listening(pid) {
                    injected._connections.extend(sockets::pester(&socket, &mut random));
                }
            }
            true
        }
        Fault::DataReset | Fault::ControlReset => reset(plan, job, &mut random),
        _ => job.signal(plan.victim, Signal::KILL),
    };
    injected.time = done.then_some(now);
    injected
}

/// Waits until the victim has come to the moment of the plan. Returns `false` if the job ended before.
fn reach(plan: &Plan, job: &mut Job, until: Instant) -> bool {
    let is_there = |job: &Job| {
        job.report(plan.victim).iter().any(|entry| match plan.phase {
            Phase::Start => entry.event == Event::Started,
            Phase::Leave => entry.event == Event::Leaving,
            _ => entry.event == Event::Step && entry.text.parse() == Ok(plan.at_step),
        })
    };
    while !is_there(job) {
        if job.wait(Instant::now()) || Instant::now() >= until {
            return false;
        }
        sleep(LOOK_EVERY);
    }
    job.let_go();
    // Joining takes longer than a step.
    sleep(if plan.phase == Phase::Start { plan.after * 8 } else { plan.after });
    true
}

/// Resets data or control connections of the victim.
fn reset(plan: &Plan, job: &Job, random: &mut Random) -> bool {
    let Some(pid) = job.pid(plan.victim) else { return false };
    let Some(rendezvous) = rendezvous_port(pid) else { return false };
    let wanted = |socket: &Socket| socket.has_port(rendezvous) == (plan.fault == Fault::ControlReset);
    let mut sockets: Vec<Socket> = sockets::connected(pid).into_iter().filter(wanted).collect();
    random.shuffle(&mut sockets);
    sockets.truncate(if random.chance(50) { 1 } else { usize::MAX });
    sockets.iter().filter(|socket| sockets::reset(pid, socket).is_ok()).count() > 0
}

/// Returns the port at which the ranks meet, from the environment of one of them.
fn rendezvous_port(pid: i32) -> Option<u16> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let variables = environment.split(|&byte| byte == 0);
    let value = variables.filter_map(|variable| variable.strip_prefix(b"EFA_RENDEZVOUS=")).next()?;
    std::str::from_utf8(value).ok()?.rsplit_once(':')?.1.parse().ok()
}
