//! Starts jobs, injects faults and checks how the ranks end: the program behind `ci/chaos`.
//!
//! A round starts a job of 2 to 6 ranks by `efa run`. The ranks do work whose every byte is a function of the seed, and
//! the plan's fault befalls them at a random moment. Then no rank may hang, crash, keep bytes that were not sent, or
//! leave anything behind, and where the fault is harmless all ranks must succeed. What happens is a function of the
//! seed and the number of the round, so that every round can be repeated.

#![forbid(unsafe_code)]

mod inject;
mod job;
mod plan;
mod random;
mod rank;
mod report;
mod round;
mod sockets;
mod table;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use plan::{Carrier, Fault, Phase, Plan};
use table::Table;

/// Runs jobs and breaks them: each round one fault, chosen by the seed.
#[derive(Debug, Parser)]
struct Options {
    /// Chooses what happens; the same seed chooses the same
    #[arg(default_value_t = 1)]
    seed: u64,
    /// How many rounds
    #[arg(default_value_t = 100)]
    rounds: u64,
    /// The number of the first round
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Starts no round after this many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Only rounds whose description (provider, phase, fault) contains all of these words
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Goes on after a violation
    #[arg(long)]
    keep_going: bool,
    /// The `efa` command
    #[arg(long)]
    efa: PathBuf,
    /// Where the output of rounds with a violation is kept
    #[arg(long)]
    folder: PathBuf,
}

fn main() -> ExitCode {
    // A rank is told its plan by the environment, because its command line is for the launcher.
    if let (Ok(round), Some(folder)) = (std::env::var(job::ROUND), std::env::var_os(job::FOLDER)) {
        let numbers: Vec<u64> = round.split(' ').filter_map(|number| number.parse().ok()).collect();
        let [seed, round] = numbers[..] else {
            eprintln!("{} is not a seed and a round: {round}", job::ROUND);
            return ExitCode::from(2);
        };
        return rank::main(&Plan::new(seed, round), PathBuf::from(folder).as_path());
    }
    match drive(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the rounds. Returns `true` if none showed a violation.
fn drive(options: &Options) -> std::io::Result<bool> {
    if let Some(refused) = refuse(&options.only) {
        return Err(std::io::Error::other(refused));
    }
    let efa = options.efa.canonicalize()?;
    std::fs::create_dir_all(&options.folder)?;
    let folder = options.folder.canonicalize()?;
    let limit = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut table = Table::default();
    let (mut done, mut bad) = (0, 0);
    for round in options.from.. {
        if done >= options.rounds || limit.is_some_and(|limit| Instant::now() >= limit) {
            break;
        }
        let plan = Plan::new(options.seed, round);
        let name = format!("{} {} {}", plan.carrier, plan.phase, plan.fault);
        if !options.only.iter().all(|word| name.split(' ').any(|part| part == word)) {
            continue;
        }
        let folder = folder.join(format!("{}-{round}", options.seed));
        let verdict = round::run(&plan, &efa, &folder)?;
        table.add(&plan, &verdict);
        done += 1;
        if verdict.violations.is_empty() {
            std::fs::remove_dir_all(&folder)?;
            continue;
        }
        bad += 1;
        let lines: Vec<String> =
            verdict.violations.iter().map(|(kind, what)| format!("  {kind:?}: {what}\n")).collect();
        std::fs::write(folder.join("violations"), lines.concat())?;
        println!("VIOLATION: {plan}\n{}  output: {}", lines.concat(), folder.display());
        println!("  repeat: ci/chaos {} 1 --from {round}", options.seed);
        if !options.keep_going {
            break;
        }
    }
    println!("{table}");
    println!("seed {}: {done} rounds, {bad} with a violation", options.seed);
    Ok(bad == 0)
}

/// Returns why no round has all of these words in its description, if none can have.
fn refuse(only: &[String]) -> Option<String> {
    let names: [Vec<String>; 3] = [
        Carrier::ALL.map(|carrier| carrier.to_string()).to_vec(),
        Phase::ALL.map(|phase| phase.to_string()).to_vec(),
        Fault::ALL.map(|fault| fault.to_string()).to_vec(),
    ];
    let kinds = ["provider", "phase", "fault"];
    let list = || -> String {
        kinds.iter().zip(&names).map(|(kind, names)| format!("\n  {kind}: {}", names.join(", "))).collect()
    };
    if let Some(unknown) = only.iter().find(|word| !names.iter().flatten().any(|name| name == *word)) {
        return Some(format!("--only: no round has '{unknown}'; the words are{}", list()));
    }
    let twice = kinds.iter().zip(&names).find_map(|(kind, names)| {
        let mut named: Vec<&String> = only.iter().filter(|word| names.contains(word)).collect();
        named.sort();
        named.dedup();
        (named.len() > 1).then_some(kind)
    });
    twice.map(|kind| format!("--only: a round has one {kind}; the words are{}", list()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(only: &[&str]) -> Option<String> {
        refuse(&only.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_that_no_round_has_are_refused_with_those_that_there_are() {
        assert_eq!(refused(&[]), None);
        assert_eq!(refused(&["tcp", "kill", "tcp"]), None);
        let text = refused(&["tcp", "kil"]).unwrap();
        assert!(text.contains("'kil'") && text.contains("kill-root") && text.contains("mixed"), "{text}");
        assert!(refused(&["tcp", "shm"]).unwrap().contains("one provider"));
    }
}
