//! One round, from the start of the job to the verdict.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::inject::inject;
use crate::job::Job;
use crate::plan::Plan;
use crate::verdict::{Verdict, judge, processes};

/// How long a round may take beside the time that operations have: joining, farewells of 30 s, a loaded machine.
const DEADLINE: Duration = Duration::from_secs(70);
/// How long the launcher may take to end once its ranks are gone.
const LAUNCHER: Duration = Duration::from_secs(10);

/// Runs a round in `folder`, which is made anew.
pub(crate) fn run(plan: &Plan, efa: &Path, folder: &Path) -> io::Result<Verdict> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    fs::write(folder.join("plan"), format!("{plan}\n{plan:?}\n"))?;
    let mut job = Job::start(plan, efa, folder)?;
    let until = job.started + DEADLINE + plan.timeout + plan.pause;
    let injected = inject(plan, &mut job, until);
    let mut hung = Vec::new();
    if !job.wait(until) {
        hung = (0..plan.ranks).filter(|&rank| job.status(rank).is_none()).collect();
        for &rank in &hung {
            if let Some(pid) = job.pid(rank) {
                keep_stacks(&job, rank, &["-p", &pid.to_string()]);
            }
            job.signal(rank, Signal::KILL);
        }
    }
    let ended = job.wait(Instant::now() + LAUNCHER);
    if !ended {
        job.launcher.kill()?;
        job.launcher.wait()?;
    }
    // Processes that were told to end with the launcher get the time to do so.
    let until = Instant::now() + LAUNCHER;
    while !processes(folder).is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    for rank in 0..plan.ranks {
        if let Some(core) = job.core(rank) {
            let program = std::env::current_exe()?;
            keep_stacks(&job, rank, &[&program.to_string_lossy(), &core.to_string_lossy()]);
            fs::remove_file(core)?;
        }
    }
    let mut verdict = judge(plan, &job, &injected, &hung);
    if !ended {
        verdict.violations.push((crate::verdict::Violation::Hang, "the launcher did not end".into()));
    }
    Ok(verdict)
}

/// Writes down where the threads of a process or of its core file are, if there is a debugger.
fn keep_stacks(job: &Job, rank: usize, what: &[&str]) {
    let stacks = Command::new("timeout")
        .args(["30", "gdb", "-batch", "-ex", "thread apply all bt 25"])
        .args(what)
        .stdin(Stdio::null())
        .output();
    if let Ok(stacks) = stacks {
        let text = [stacks.stdout, stacks.stderr].concat();
        // Without it the round is as bad, only harder to understand.
        let _ = fs::write(job.folder.join(format!("stacks-{rank}")), text);
    }
}
