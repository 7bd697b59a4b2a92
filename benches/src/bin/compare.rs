//! Measures ours and its peers in turn, on the same libfabric, and prints the ratio of medians with its spread.

use std::process::ExitCode;

use clap::Parser;
use efa_benches::artifacts::Artifacts;
use efa_benches::case::{Better, Case, Target, WINDOW};
use efa_benches::peers::fabtests::Fabtests;
use efa_benches::peers::raw::Raw;
use efa_benches::rounds::{Comparison, Contender};
use efa_benches::{machine, ours, report};
use efa_core::Result;

/// Compares the efa command with fabtests, and with bare sockets and bare shared memory as the limit.
///
/// Ours and the peers run in turn, round after round, with the same sizes, iterations, warm-up, window and
/// processors. Prints medians, the ratio of ours to theirs, and between what the middle half of the rounds' ratios
/// lies. The verdict on a target is told, and doesn't change the exit status: 1 means that something could not be
/// measured.
#[derive(Parser)]
struct Options {
    /// Only cases whose name contains this, such as "latency" or "shm"
    #[arg(long, value_name = "TEXT", default_value = "")]
    cases: String,
    /// Measurements of each program per case
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// libfabric's providers to compare on
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "tcp,shm")]
    providers: Vec<String>,
    /// One line of JSON per case and peer
    #[arg(long)]
    json: bool,
    /// Leave the choice of processors to the scheduler; otherwise each rank has one of its own
    #[arg(long)]
    unpinned: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match compare(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all chosen comparisons; true when everything could be measured.
fn compare(options: &Options) -> Result<bool> {
    let artifacts = Artifacts::build()?;
    let cpus = processors(options.unpinned);
    for line in conditions(options, cpus) {
        eprintln!("# {line}");
    }
    let mut complete = true;
    let mut contenders = Vec::new();
    let fabtests = built("fabtests", Fabtests::build(&artifacts), &mut complete);
    for provider in &options.providers {
        let raw = built("the limit", Raw::build(&artifacts, provider), &mut complete);
        contenders.push((provider.as_str(), raw));
    }

    let mut comparisons = Vec::new();
    for (provider, raw) in &contenders {
        for case in Case::on(provider) {
            comparisons.push(between_two_ranks(&artifacts, case, cpus, fabtests.as_ref(), raw.as_ref()));
        }
        comparisons.push(more_ranks_than_processors(&artifacts, provider));
    }
    comparisons.retain(|comparison| comparison.name.contains(&options.cases));
    if comparisons.is_empty() {
        eprintln!("error: no case has '{}' in its name", options.cases);
        return Ok(false);
    }

    if !options.json {
        println!("{}", report::head());
    }
    for comparison in &comparisons {
        match comparison.run(options.rounds.into(), |round, who| {
            eprintln!("# {}, round {round} of {}: {who}", comparison.name, options.rounds);
        }) {
            Ok(outcomes) if options.json => {
                outcomes.iter().for_each(|it| println!("{}", report::json_line(it)))
            }
            Ok(outcomes) => outcomes.iter().for_each(|it| println!("{}", report::row(it))),
            Err(error) => {
                eprintln!("error: {}: {error}", comparison.name);
                complete = false;
            }
        }
    }
    Ok(complete)
}

/// Two ranks, one message size: ours, fabtests and the limit.
fn between_two_ranks<'a>(
    artifacts: &'a Artifacts,
    case: Case,
    cpus: [Option<usize>; 2],
    fabtests: Option<&'a Fabtests>,
    raw: Option<&'a Raw>,
) -> Comparison<'a> {
    let mut contenders = Vec::new();
    if let Some(fabtests) = fabtests {
        let (case, target) = (case.clone(), case.target);
        let measure = Box::new(move || fabtests.measure(&case, cpus));
        contenders.push(Contender { name: "fabtests".into(), measure, target: Some(target) });
    }
    if let Some(raw) = raw {
        let case = case.clone();
        let measure = Box::new(move || raw.measure(&case, cpus));
        contenders.push(Contender { name: raw.name.into(), measure, target: None });
    }
    Comparison {
        name: case.name(),
        unit: case.measure.unit(),
        better: case.measure.better(),
        ours: Box::new(move || ours::measure(artifacts, &case, cpus)),
        contenders,
    }
}

/// Waiting must give the processor away: four ranks on two cores against two ranks.
fn more_ranks_than_processors<'a>(artifacts: &'a Artifacts, provider: &'a str) -> Comparison<'a> {
    let (many, few) = (2 * machine::processors().len().max(2), machine::processors().len().max(2));
    Comparison {
        name: format!("all-reduce {provider} 8, {many} ranks"),
        unit: "us",
        better: Better::Lower,
        ours: Box::new(move || ours::all_reduce(artifacts, provider, many)),
        contenders: vec![Contender {
            name: format!("ours, {few} ranks"),
            measure: Box::new(move || ours::all_reduce(artifacts, provider, few)),
            target: Some(Target::Below(10.0)),
        }],
    }
}

/// A peer that can't be built is left out and named; the rest goes on.
fn built<T>(name: &str, result: Result<T>, complete: &mut bool) -> Option<T> {
    result
        .inspect_err(|error| {
            eprintln!("error: {name} is left out: {error}");
            *complete = false;
        })
        .ok()
}

/// A processor for each of two ranks, where there are two.
fn processors(unpinned: bool) -> [Option<usize>; 2] {
    match machine::processors()[..] {
        [first, second, ..] if !unpinned => [Some(first), Some(second)],
        _ => [None, None],
    }
}

/// What the figures depend on, a line each.
fn conditions(options: &Options, cpus: [Option<usize>; 2]) -> Vec<String> {
    let mut lines = machine::description();
    lines.push(match cpus {
        [Some(first), Some(second)] => {
            format!("processors: rank 0 on {first}, rank 1 on {second}, for every program of a pair")
        }
        _ => "processors: left to the scheduler, for every program".to_owned(),
    });
    lines.push(format!(
        "rounds: {}, programs in turn; window of {WINDOW} messages, each answered by one of four bytes",
        options.rounds
    ));
    lines.extend(options.providers.iter().flat_map(|provider| Case::on(provider)).map(|case| {
        format!("{}: {} iterations after {} to warm up", case.name(), case.iterations, case.warmup)
    }));
    lines
}
