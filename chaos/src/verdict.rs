//! What a round showed: hangs, crashes, wrong bytes, leftovers and times.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::inject::Injected;
use crate::job::{FOLDER, Job, device_folder};
use crate::plan::{Fault, Plan};
use crate::report::{Entry, Event};

/// The library's words when it ends the process rather than give back memory that a device still uses.
const ANNOUNCED: &str = "efa: ending this process";
/// An error that comes later than this after the time that an operation may take is a hang that ended.
const LATE: Duration = Duration::from_secs(20);
/// A Rust program's status after a panic.
const PANICKED: i32 = 101;
/// Statuses from here on are those of signals.
const SIGNALLED: i32 = 128;
/// 128 and SIGKILL.
const KILLED: i32 = 137;
/// 128 and SIGABRT.
const ABORTED: i32 = 134;

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// A process that lived past its deadline, or an error that came far too late.
    Hang,
    /// A process that was ended by a signal of its own, or by a panic.
    Crash,
    /// Bytes, results or a success that must not be; a failure where nothing may fail.
    Wrong,
    /// Files, processes, descriptors or threads that stayed.
    Leftover,
}

/// What a round showed.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Each with the words for people.
    pub(crate) violations: Vec<(Violation, String)>,
    /// From the fault to the last rank's error.
    pub(crate) worst: Option<Duration>,
    /// The fault from outside came too late: the job was over.
    pub(crate) missed: bool,
    /// How many ranks ended themselves with the library's announcement.
    pub(crate) announced: usize,
}

impl Verdict {
    fn add(&mut self, violation: Violation, what: impl Into<String>) {
        self.violations.push((violation, what.into()));
    }
}

/// Judges a job that has ended, or been ended: `hung` are the ranks that lived past the deadline.
pub(crate) fn judge(plan: &Plan, job: &Job, injected: &Injected, hung: &[usize]) -> Verdict {
    let missed = plan.fault.is_from_outside() && injected.time.is_none();
    let mut verdict = Verdict { missed, ..Verdict::default() };
    let log = job.log();
    let reports: Vec<Vec<Entry>> = (0..plan.ranks).map(|rank| job.report(rank)).collect();
    let of_victim = reports[plan.victim].iter().find(|entry| entry.event == Event::Fault);
    let fault = injected.time.or(of_victim.map(|entry| entry.time));
    for (rank, report) in reports.iter().enumerate() {
        if hung.contains(&rank) {
            verdict.add(
                Violation::Hang,
                format!("rank {rank} lived past the deadline, last: {:?}", report.last()),
            );
            continue;
        }
        judge_rank(plan, job, rank, report, fault, &log, &mut verdict);
    }
    judge_success(plan, &reports, injected, &mut verdict);
    judge_files(plan, job, &mut verdict);
    verdict
}

fn judge_rank(
    plan: &Plan,
    job: &Job,
    rank: usize,
    report: &[Entry],
    fault: Option<u64>,
    log: &str,
    verdict: &mut Verdict,
) {
    let is_victim = rank == plan.victim;
    match job.status(rank) {
        // Nothing notes the status of ranks that the launcher's SIGTERM ends.
        None if plan.fault == Fault::KillAndTerminate => {}
        // The launcher ended it, because another one failed, before its shell ignored SIGTERM.
        None if report.is_empty() => {}
        None => verdict.add(Violation::Crash, format!("rank {rank} has no status")),
        Some(KILLED) if is_victim && plan.fault.is_kill() => {}
        Some(PANICKED) if is_victim && plan.fault == Fault::Panic => {}
        Some(ABORTED) if log.contains(&format!("[{rank}] {ANNOUNCED}")) => verdict.announced += 1,
        Some(status) if status >= SIGNALLED => {
            verdict.add(Violation::Crash, format!("rank {rank} was ended by signal {}", status - SIGNALLED));
        }
        Some(PANICKED) => verdict.add(Violation::Crash, format!("rank {rank} panicked")),
        Some(_) => {}
    }
    for entry in report {
        match entry.event {
            Event::Wrong => verdict.add(Violation::Wrong, format!("rank {rank}: {}", entry.text)),
            Event::Left if !entry.text.is_empty() => {
                verdict.add(Violation::Leftover, format!("rank {rank} kept {}", entry.text));
            }
            Event::Failed if plan.fault.is_harmless() => {
                verdict.add(Violation::Wrong, format!("rank {rank} failed: {}", entry.text));
            }
            Event::Failed => {
                let Some(fault) = fault else { continue };
                let took = Duration::from_micros(entry.time.saturating_sub(fault));
                verdict.worst = verdict.worst.max(Some(took));
                if took > plan.timeout + plan.pause + LATE {
                    verdict.add(
                        Violation::Hang,
                        format!("rank {rank} learned of it after {took:?}: {}", entry.text),
                    );
                }
            }
            _ => {}
        }
    }
}

/// Judges who left in good order: nobody can whose job's victim was killed, panicked or exited before it came to leave.
fn judge_success(plan: &Plan, reports: &[Vec<Entry>], injected: &Injected, verdict: &mut Verdict) {
    let has = |rank: usize, event: Event| reports[rank].iter().any(|entry| entry.event == event);
    let is_gone = match plan.fault {
        Fault::EarlyExit | Fault::Panic => has(plan.victim, Event::Fault),
        fault => fault.is_kill() && injected.time.is_some(),
    };
    if !is_gone || has(plan.victim, Event::Leaving) {
        return;
    }
    for rank in (0..plan.ranks).filter(|&rank| has(rank, Event::Done)) {
        verdict
            .add(Violation::Wrong, format!("rank {rank} succeeded in a job that lost rank {}", plan.victim));
    }
}

fn judge_files(plan: &Plan, job: &Job, verdict: &mut Verdict) {
    let pids: Vec<String> = job.pids().iter().map(i32::to_string).collect();
    let device = device_folder(&job.folder);
    let is_ours = |name: &str| name.split(['.', '-', '_']).any(|part| pids.iter().any(|pid| pid == part));
    let mut left: Vec<String> =
        names(Path::new("/dev/shm")).into_iter().filter(|name| is_ours(name)).collect();
    left.extend(names(&device));
    left.extend(names(&job.folder.join("tmp")));
    for name in &left {
        // The next round starts with none.
        let _ = fs::remove_file(Path::new("/dev/shm").join(name));
    }
    let _ = fs::remove_dir_all(&device);
    if !left.is_empty() {
        verdict.add(Violation::Leftover, format!("files {left:?}"));
    }
    for (pid, program) in processes(&job.folder) {
        verdict.add(Violation::Leftover, format!("process {pid} ({program}) of {}", plan.carrier));
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // It is ours by its environment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Returns the processes whose environment names the folder of a round.
pub(crate) fn processes(folder: &Path) -> Vec<(i32, String)> {
    let mark = format!("{FOLDER}={}", folder.display());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let process = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let is_ours = environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes());
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        is_ours.then(|| (pid, name.trim().to_owned()))
    };
    entries.filter_map(process).collect()
}
