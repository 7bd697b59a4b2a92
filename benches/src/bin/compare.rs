//! Measures ours and its peers in turn, on the same libfabric, and prints the ratio of medians with its spread.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use efa_benches::artifacts::Artifacts;
use efa_benches::case::{Better, Case, Target};
use efa_benches::peers::fabtests::Fabtests;
use efa_benches::peers::mpi::{Implementation, Mpi};
use efa_benches::peers::raw::Raw;
use efa_benches::rounds::{Comparison, Contender, Outcome};
use efa_benches::{instructions, machine, ours, report};
use efa_core::{Error, Result};

/// Compares the efa command with fabtests, with MPI, and with bare sockets and bare shared memory as the limit.
///
/// Ours and the peers run in turn, round after round, with the same sizes, iterations, warm-up, window and
/// processors. Prints medians, the ratio of ours to theirs, and between what the middle half of the rounds' ratios
/// lies. The verdict on a target is told, and doesn't change the exit status unless `--enforce` is given: 1 means that
/// something could not be measured.
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
    /// Whom to compare with; an MPI that isn't installed is left out
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "fabtests,raw,mpi")]
    peers: Vec<Peer>,
    /// One line of JSON per case and peer
    #[arg(long)]
    json: bool,
    /// Exit with status 1 if a target is missed: for figures that don't depend on time, such as `--cases instructions`
    #[arg(long)]
    enforce: bool,
    /// Leave the choice of processors to the scheduler; otherwise each rank has one of its own
    #[arg(long)]
    unpinned: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// libfabric's own benchmarks, on the same libfabric
    Fabtests,
    /// Bare sockets and bare shared memory: the limit
    Raw,
    /// Open MPI and MPICH
    Mpi,
}

/// The peers that were chosen and could be built.
struct Peers {
    fabtests: Option<Fabtests>,
    /// The limit of each provider, in the order of the options.
    limits: Vec<Option<Raw>>,
    mpi: Vec<Mpi>,
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

/// Runs all chosen comparisons. Returns `true` if everything could be measured and, with `--enforce`, met its target.
fn compare(options: &Options) -> Result<bool> {
    let artifacts = Artifacts::build()?;
    let cpus = processors(options.unpinned);
    for line in conditions(options, cpus) {
        eprintln!("# {line}");
    }
    let mut complete = true;
    let peers = build_peers(options, &artifacts, &mut complete);
    let mut comparisons = Vec::new();
    for (provider, limit) in options.providers.iter().zip(&peers.limits) {
        for case in Case::on(provider) {
            comparisons.push(between_two_ranks(&artifacts, case, cpus, &peers, limit.as_ref()));
        }
        comparisons.push(more_ranks_than_processors(&artifacts, provider));
    }
    comparisons.retain(|comparison| comparison.name.contains(&options.cases));
    let counted = options.providers.iter().flat_map(|provider| instructions::names(provider));
    if comparisons.is_empty() && !counted.into_iter().any(|name| name.contains(&options.cases)) {
        eprintln!("error: no case has '{}' in its name", options.cases);
        return Ok(false);
    }

    if !options.json {
        println!("{}", report::head());
    }
    let mut show = |case: &str, outcomes: Result<Vec<Outcome>>| match outcomes {
        Ok(outcomes) => {
            for outcome in &outcomes {
                let line = if options.json { report::json_line(outcome) } else { report::row(outcome) };
                println!("{line}");
                if options.enforce && !outcome.meets_target() {
                    eprintln!("error: {} misses its target", outcome.case);
                    complete = false;
                }
            }
        }
        Err(error) => {
            eprintln!("error: {case}: {error}");
            complete = false;
        }
    };
    for comparison in &comparisons {
        let outcomes = comparison.run(options.rounds.into(), |round, who| {
            eprintln!("# {}, round {round} of {}: {who}", comparison.name, options.rounds);
        });
        show(&comparison.name, outcomes);
    }
    for provider in &options.providers {
        show("instructions", instructions::outcomes(&artifacts, provider, &options.cases));
    }
    Ok(complete)
}

/// Compares ours with all peers, for two ranks and one message size.
fn between_two_ranks<'a>(
    artifacts: &'a Artifacts,
    case: Case,
    cpus: [Option<usize>; 2],
    peers: &'a Peers,
    limit: Option<&'a Raw>,
) -> Comparison<'a> {
    let mut contenders = Vec::new();
    if let Some(fabtests) = &peers.fabtests {
        let (case, target) = (case.clone(), case.target);
        let measure = Box::new(move || fabtests.measure(&case, cpus));
        contenders.push(Contender { name: "fabtests".into(), measure, target: Some(target) });
    }
    for mpi in &peers.mpi {
        let case = case.clone();
        let measure = Box::new(move || mpi.measure(&case, cpus));
        contenders.push(Contender { name: mpi.implementation.name().into(), measure, target: None });
    }
    if let Some(limit) = limit {
        let case = case.clone();
        let measure = Box::new(move || limit.measure(&case, cpus));
        contenders.push(Contender { name: limit.name.into(), measure, target: None });
    }
    Comparison {
        name: case.name(),
        unit: case.measure.unit(),
        better: case.measure.better(),
        ours: Box::new(move || ours::measure(artifacts, &case, cpus)),
        contenders,
    }
}

/// Compares four ranks on two cores with two ranks: waiting must give the processor away.
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

/// Builds the chosen peers. One that can't be built is left out and named, and the rest goes on; `complete` becomes
/// false unless it is an MPI, which only some machines have.
fn build_peers(options: &Options, artifacts: &Artifacts, complete: &mut bool) -> Peers {
    // Building takes a while: not for cases that no peer has a part in.
    let mut cases = options.providers.iter().flat_map(|provider| Case::on(provider));
    let needed = cases.any(|case| case.name().contains(&options.cases));
    let chosen = |peer| needed && options.peers.contains(&peer);
    let mut required = |name: &str, error: &Error| {
        eprintln!("error: {name} is left out: {error}");
        *complete = false;
    };
    let fabtests =
        chosen(Peer::Fabtests).then(|| Fabtests::build(artifacts).inspect_err(|it| required("fabtests", it)));
    let limits = options.providers.iter().map(|provider| {
        let limit = chosen(Peer::Raw).then(|| Raw::build(artifacts, provider));
        limit.and_then(|limit| limit.inspect_err(|error| required("the limit", error)).ok())
    });
    let limits = limits.collect();
    let wanted = if chosen(Peer::Mpi) { &Implementation::ALL[..] } else { &[] };
    let built = wanted.iter().map(|implementation| (implementation, Mpi::build(artifacts, *implementation)));
    let mpi = built.filter_map(|(implementation, mpi)| {
        mpi.inspect_err(|error| eprintln!("# {} is left out: {error}", implementation.name())).ok()
    });
    Peers { fabtests: fabtests.and_then(Result::ok), limits, mpi: mpi.collect() }
}

/// Returns a processor for each of two ranks, where there are two.
fn processors(unpinned: bool) -> [Option<usize>; 2] {
    match machine::processors()[..] {
        [first, second, ..] if !unpinned => [Some(first), Some(second)],
        _ => [None, None],
    }
}

/// Returns what the figures depend on, a line each.
fn conditions(options: &Options, cpus: [Option<usize>; 2]) -> Vec<String> {
    let mut lines = machine::description();
    lines.push(match cpus {
        [Some(first), Some(second)] => {
            format!("processors: rank 0 on {first}, rank 1 on {second}, for every program of a pair")
        }
        _ => "processors: left to the scheduler, for every program".to_owned(),
    });
    lines.push(format!("rounds: {}, programs in turn", options.rounds));
    lines.extend(options.providers.iter().flat_map(|provider| Case::on(provider)).map(|case| {
        let (name, Case { iterations, warmup, window, .. }) = (case.name(), &case);
        format!("{name}: {iterations} iterations after {warmup} to warm up, window of {window}")
    }));
    lines
}
