//! `efa run`: starts the ranks of a job on this machine and stays with them to the end.
//!
//! Each rank runs in a process group of its own, so that signals reach what it has started too. The launcher's main
//! thread is a loop over events: a signal came, an output ended. Threads of their own carry the output.

mod args;
mod cores;
pub(crate) mod guard;
mod lines;
mod rank;
mod signals;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use efa_core::Error;
use efa_core::admission::Policy;
use efa_core::bootstrap::LaunchEnv;
use efa_core::fabric::ProviderChoice;
use rustix::io::Errno;
use rustix::process::{Signal, getpgrp};
use rustix::termios::tcgetpgrp;
use signal_hook::consts::signal::{SIGCHLD, SIGPIPE, SIGTSTP};

use crate::emulation::{self, EmulationArgs};
use crate::failure::{EXIT_FAILED, Failure};
use crate::terminal::wants_colour;
pub(crate) use args::{Part, RunArgs, parse_ranks};
use cores::{Bind, Places};
use guard::Guard;
use lines::{Decoration, Sink};
use rank::{RankProcess, Step, describe, exit_code};

/// The shell's status for a program that is not there.
const EXIT_NOT_FOUND: u8 = 127;
/// The shell's status for a program that can't be executed.
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The status of timeout(1) for a job that took too long.
const EXIT_TIMEOUT: u8 = 124;
/// How often to look after ranks that are on their way out.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long to wait for output from processes that left their rank's group and hold its pipes open.
const STRAGGLERS: Duration = Duration::from_millis(500);
/// Threads that carry output need little stack, and there may be two thousand of them.
const CARRIER_STACK: usize = 64 * 1024;
/// Colours of the prefixes: readable on dark and light, neighbours apart, red left for errors.
const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// What to start, and how.
pub(crate) struct Launch<'a> {
    /// The ranks, in order.
    pub(crate) parts: &'a [Part],
    /// Whether ranks are bound to cores; by default where there are enough.
    pub(crate) bind: Option<Bind>,
    /// After how long the job is ended.
    pub(crate) limit: Option<Duration>,
    /// Handed to the ranks, if given.
    pub(crate) provider: Option<ProviderChoice>,
    /// Handed to the ranks, if given.
    pub(crate) policy: Option<Policy>,
    /// Whether they find an emulated device.
    pub(crate) emulation: &'a EmulationArgs,
    /// What becomes of the ranks' output.
    pub(crate) output: Output,
    /// From SIGTERM to SIGKILL.
    pub(crate) grace: Duration,
}

/// What becomes of the output of ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Whole lines of all ranks, with the rank before each.
    Prefixed,
    /// Whole lines of all ranks as they are.
    Plain,
    /// The first rank speaks for all and has our outputs to itself; lines of the others are prefixed. The ranks
    /// explain their failures themselves, and nobody reads our input.
    FirstRankSpeaks,
}

impl Launch<'_> {
    fn ranks(&self) -> usize {
        self.parts.iter().map(|part| part.ranks).sum()
    }

    /// The program of each rank, by rank.
    fn programs(&self) -> impl Iterator<Item = &[OsString]> {
        self.parts.iter().flat_map(|part| std::iter::repeat_n(&part.program[..], part.ranks))
    }
}

/// Runs `efa run`.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    launch(&Launch {
        parts: &args.parts()?,
        bind: args.bind,
        limit: args.timeout,
        provider: args.provider,
        policy: args.policy.clone(),
        emulation: &args.emulation,
        output: if args.no_prefix { Output::Plain } else { Output::Prefixed },
        grace: args.grace,
    })
}

/// Starts the ranks, waits for all of them, and gives the status that the job ended with.
pub(crate) fn launch(launch: &Launch) -> Result<ExitCode, Failure> {
    // It keeps the rendezvous port reserved as long as it lives.
    let mut environment = LaunchEnv::new(launch.ranks())?;
    let (tell, events) = channel();
    let signals = tell.clone();
    // Before the first rank, so that the end of none is missed.
    signals::deliver(move |signal| drop(signals.send(Event::Signal(signal))))?;
    let mut job = Job {
        ranks: Vec::with_capacity(launch.ranks()),
        guard: Guard::start()?,
        grace: launch.grace,
        limit: launch.limit.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?))),
        tells_of_exits: launch.output != Output::FirstRankSpeaks,
        outputs: 0,
        verdict: None,
        interrupted: false,
        stdout: Arc::new(Sink::new(io::stdout())),
        stderr: Arc::new(Sink::new(io::stderr())),
    };
    let started = job.start(launch, &mut environment, &tell);
    if started.is_err() {
        // The error is reported below; that the others are ended is no further failure.
        job.verdict = Some(EXIT_FAILED);
        job.end(Signal::TERM);
    }
    job.attend(&events);
    job.drain(&events);
    job.guard.dismiss();
    started.map(|()| ExitCode::from(job.verdict.unwrap_or(0)))
}

enum Event {
    Signal(i32),
    /// An output of a rank ended; it failed if ours can't be written to.
    OutputEnded(io::Result<()>),
}

struct Job {
    ranks: Vec<RankProcess>,
    guard: Guard,
    grace: Duration,
    /// How long the job may take, and until when that is; none once it has been ended for that.
    limit: Option<(Duration, Instant)>,
    /// Whether to tell that a rank exited with an error; that a signal killed it is always told.
    tells_of_exits: bool,
    /// How many outputs of ranks are still being carried.
    outputs: usize,
    /// The status to exit with, decided by whatever went wrong first.
    verdict: Option<u8>,
    /// Somebody asked us to end.
    interrupted: bool,
    stdout: Arc<Sink<io::Stdout>>,
    stderr: Arc<Sink<io::Stderr>>,
}

impl Job {
    fn start(
        &mut self,
        launch: &Launch,
        environment: &mut LaunchEnv,
        tell: &Sender<Event>,
    ) -> Result<(), Failure> {
        let emulation = launch.emulation.variables(environment.job_id())?;
        if !emulation.is_empty()
            && let Some(folder) = emulation::folder(environment.job_id())
        {
            self.guard.remove_at_end(&folder);
        }
        let places = Places::new(launch.bind, launch.ranks())?;
        for (rank, program) in launch.programs().enumerate() {
            let speaks = rank == 0 && launch.output == Output::FirstRankSpeaks;
            let reads = rank == 0 && launch.output != Output::FirstRankSpeaks;
            let (stdin, pump) = if reads { stdin_of_first_rank() } else { (Stdio::null(), false) };
            let mut variables = environment.variables(rank);
            variables.extend(launch.provider.map(|provider| ("EFA_PROVIDER", provider.to_string())));
            variables.extend(launch.policy.as_ref().map(|policy| ("EFA_POLICY", policy.to_string())));
            variables.extend(emulation.iter().cloned());
            let output = if speaks { Stdio::inherit } else { Stdio::piped };
            let start = || RankProcess::start(rank, program, &variables, stdin, output);
            let mut process =
                places.at(rank, start).map_err(|error| cannot_start(error, rank, &program[0]))?;
            self.guard.watch(process.group);
            if rank == 0 {
                environment.set_root_process(process.pipes().id());
            }
            let carried = self.carry_output(&mut process, launch, tell);
            if pump {
                pump_stdin(&mut process);
            }
            self.ranks.push(process);
            carried.map_err(|error| {
                Error::system(error, "cannot start a thread", "raise the limit on threads (ulimit -u)")
            })?;
        }
        Ok(())
    }

    fn carry_output(
        &mut self,
        process: &mut RankProcess,
        launch: &Launch,
        tell: &Sender<Event>,
    ) -> io::Result<()> {
        let rank = process.rank;
        let pipes = process.pipes();
        let decoration = |coloured| Decoration {
            prefix: if launch.output == Output::Plain { String::new() } else { prefix(rank, coloured) },
            complete_last_line: launch.output != Output::Plain || launch.ranks() > 1,
        };
        let mut carry = |work: Box<dyn FnOnce() -> io::Result<()> + Send>| {
            let tell = tell.clone();
            let carrier = move || drop(tell.send(Event::OutputEnded(work())));
            thread::Builder::new().stack_size(CARRIER_STACK).spawn(carrier)?;
            self.outputs += 1;
            Ok::<(), io::Error>(())
        };
        if let Some(source) = pipes.stdout.take() {
            let (sink, decoration) = (self.stdout.clone(), decoration(wants_colour(&io::stdout())));
            carry(Box::new(move || lines::forward(source, &sink, &decoration)))?;
        }
        if let Some(source) = pipes.stderr.take() {
            let (sink, decoration) = (self.stderr.clone(), decoration(wants_colour(&io::stderr())));
            carry(Box::new(move || lines::forward(source, &sink, &decoration)))?;
        }
        Ok(())
    }

    /// Handles events until nothing of any rank is left.
    fn attend(&mut self, events: &Receiver<Event>) {
        // The end of a rank that was started before an error is found here too.
        self.reap();
        while !self.ranks.iter().all(RankProcess::is_gone) {
            let ending = self.ranks.iter().any(RankProcess::is_ending);
            let left = self.limit.map(|(_, until)| until.saturating_duration_since(Instant::now()));
            let patience = left.unwrap_or(Duration::MAX).min(if ending { LOOK_EVERY } else { Duration::MAX });
            match events.recv_timeout(patience) {
                Ok(Event::Signal(SIGCHLD)) => {}
                Ok(Event::Signal(signal)) => self.on_signal(signal),
                Ok(Event::OutputEnded(result)) => self.on_output_ended(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.reap();
            self.keep_limit();
            self.advance();
        }
    }

    /// Ends the job when its time is over.
    fn keep_limit(&mut self) {
        let Some((limit, until)) = self.limit else { return };
        if Instant::now() < until {
            return;
        }
        self.limit = None;
        if self.verdict.is_none() {
            self.verdict = Some(EXIT_TIMEOUT);
            self.say(&format!("the job did not end within {} s: ending it", limit.as_secs_f64()));
            self.end(Signal::TERM);
        }
    }

    /// Waits until everything that the ranks printed has been written.
    fn drain(&mut self, events: &Receiver<Event>) {
        let mut quiet_since = Instant::now();
        while self.outputs > 0 {
            match events.recv_timeout(LOOK_EVERY) {
                Ok(Event::OutputEnded(result)) => {
                    self.on_output_ended(result);
                    quiet_since = Instant::now();
                }
                // Who asks us to end now doesn't want to wait for a slow reader.
                Ok(Event::Signal(signal)) if signals::asks_to_end(signal) => {
                    self.verdict.get_or_insert(status_of_signal(signal));
                    return;
                }
                Ok(Event::Signal(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let idle = self.stdout.is_idle() && self.stderr.is_idle();
            // Whoever has asked us to end does not wait for a reader that has stopped reading.
            if !idle && !self.interrupted {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() > STRAGGLERS {
                return;
            }
        }
    }

    fn on_signal(&mut self, signal: i32) {
        if signal == SIGTSTP {
            self.signal_all(Signal::STOP);
            // Stops this process; returns when it is continued.
            let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
            self.signal_all(Signal::CONT);
        } else if !signals::asks_to_end(signal) {
            self.signal_all(named(signal));
        } else if !self.interrupted {
            self.interrupted = true;
            self.verdict.get_or_insert(status_of_signal(signal));
            self.end(named(signal));
        } else {
            // Somebody has lost patience.
            self.ranks.iter_mut().for_each(RankProcess::kill);
        }
    }

    fn on_output_ended(&mut self, result: io::Result<()>) {
        self.outputs -= 1;
        let Err(error) = result else { return };
        if self.verdict.is_none() {
            if error.kind() == io::ErrorKind::BrokenPipe {
                // Nobody wants to read on, as after `| head`: end quietly, as if by the signal.
                self.verdict = Some(status_of_signal(SIGPIPE));
            } else {
                self.say(&format!("cannot write the ranks' output: {error}; ending the job"));
                self.verdict = Some(EXIT_FAILED);
            }
            self.end(Signal::TERM);
        }
    }

    /// Takes note of ranks that have ended; the first failure ends the others.
    fn reap(&mut self) {
        let mut failures: Vec<(usize, ExitStatus)> = Vec::new();
        for process in &mut self.ranks {
            if let Some(status) = process.reap() {
                // What it has left running goes with it.
                process.ask_to_end(Signal::TERM, self.grace);
                if !status.success() {
                    failures.push((process.rank, status));
                }
            }
        }
        // Of several at once, one that was killed by a signal is the likelier cause.
        failures.sort_by_key(|(_, status)| status.code().is_some());
        if let (Some(&(rank, status)), None) = (failures.first(), self.verdict) {
            self.verdict = Some(exit_code(status));
            let others = self.ranks.iter().any(|process| process.status.is_none());
            let ending = if others { "; ending the others" } else { "" };
            if self.tells_of_exits || status.code().is_none() {
                self.say(&format!("rank {rank} {}{ending}", describe(status)));
            }
            self.end(Signal::TERM);
        }
    }

    fn advance(&mut self) {
        let mut killed = Vec::new();
        for process in &mut self.ranks {
            match process.advance() {
                Step::None => {}
                Step::Killed => killed.push(process.rank.to_string()),
                Step::Gone => self.guard.forget(process.group),
            }
        }
        if !killed.is_empty() {
            let ranks = if killed.len() == 1 { "rank" } else { "ranks" };
            let grace = self.grace.as_secs_f64();
            self.say(&format!("{ranks} {} did not end within {grace} s: killed", killed.join(", ")));
        }
    }

    fn end(&mut self, signal: Signal) {
        let grace = self.grace;
        self.ranks.iter_mut().for_each(|process| process.ask_to_end(signal, grace));
    }

    fn signal_all(&self, signal: Signal) {
        self.ranks.iter().for_each(|process| process.signal(signal));
    }

    /// Tells the user something, between the lines of the ranks.
    fn say(&self, text: &str) {
        // If stderr is gone there is nobody to tell.
        let _ = self.stderr.write(format!("efa run: {text}\n").as_bytes());
    }
}

/// Returns what rank 0 reads: our own input, except that a terminal is read by us and passed on, because a process
/// outside the terminal's foreground group is stopped when it reads. True if it must be passed on.
fn stdin_of_first_rank() -> (Stdio, bool) {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return (Stdio::inherit(), false);
    }
    let in_foreground = tcgetpgrp(stdin.as_fd()).is_ok_and(|group| group == getpgrp());
    if in_foreground { (Stdio::piped(), true) } else { (Stdio::null(), false) }
}

/// Passes what is typed on to the rank. The thread ends with the launcher; it is usually stuck in a read.
fn pump_stdin(process: &mut RankProcess) {
    let Some(mut to) = process.pipes().stdin.take() else { return };
    thread::spawn(move || {
        let mut from = io::stdin().lock();
        // It ends when the rank stops reading or the user types an end of file.
        let _ = io::copy(&mut from, &mut to).and_then(|_| to.flush());
    });
}

fn prefix(rank: usize, coloured: bool) -> String {
    if coloured {
        format!("\x1b[{}m[{rank}]\x1b[0m ", COLOURS[rank % COLOURS.len()])
    } else {
        format!("[{rank}] ")
    }
}

fn cannot_start(error: io::Error, rank: usize, program: &OsString) -> Failure {
    let what = format!("cannot start rank {rank}: {}", program.display());
    match error.kind() {
        io::ErrorKind::NotFound => {
            let why = "there is no such program here or on the PATH";
            Failure::new(
                Error::setting(what, why, "check the name, or give the path of the program"),
                EXIT_NOT_FOUND,
            )
        }
        io::ErrorKind::PermissionDenied => {
            let remedy = "make it executable (chmod +x), or name the interpreter";
            Failure::new(Error::system(error, what, remedy), EXIT_NOT_EXECUTABLE)
        }
        io::ErrorKind::WouldBlock => Failure::from(Error::system(
            error,
            what,
            "use fewer ranks, or raise the limit on processes (ulimit -u)",
        )),
        _ if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) => {
            Failure::from(Error::system(error, what, "use fewer ranks"))
        }
        _ => Failure::new(
            Error::system(error, what, "check that it is a program for this machine"),
            EXIT_NOT_EXECUTABLE,
        ),
    }
}

fn status_of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// Returns the same signal in the terms of the crate that sends it; all that come here have a name there.
fn named(signal: i32) -> Signal {
    Signal::from_named_raw(signal).unwrap_or(Signal::TERM)
}
