//! What each rank of a benchmark does: size by size, and rank 0 tells.

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use efa_core::collective::Algorithm;
use efa_core::fabric::Provider;
use efa_core::{Communicator, Error, Init};

use super::case::Case;
use super::collectives::{self, Place, Run};
use super::counts::Counts;
use super::options::{BenchArgs, Plan, collective};
use super::output::{Collective, InPlace, Printer, Record};
use super::pair::Pair;
use super::plot;
use super::point_to_point::{self, Flow};
use super::progress::Progress;
use super::remote::{self, Verb};
use super::sizes::Sizes;
use super::statistics::{Summary, rounded};
use crate::bytes::Bytes;
use crate::emulation::is_emulated;
use crate::failure::{EXIT_FAILED, Failure};
use crate::plot_file::PlotFile;

/// How many results of each size `--check` checks. Collectives are always checked once.
const CHECKED: u64 = 10;

/// What a shell shows of a program whose reader has gone: 128 and the number of SIGPIPE.
const EXIT_BROKEN_PIPE: u8 = 141;

/// The ranks between which messages are measured in a job of two.
const FIRST_TWO: [usize; 2] = [0, 1];

/// How long the other ranks leave it to rank 0 to end the job when it has failed.
const FIRST_RANK_SPEAKS: Duration = Duration::from_secs(2);

/// Joins the job and measures what the options ask for.
pub(super) fn member(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let mut init = Init::from_env()?;
    let plan = Plan::new(args, init.job.size)?;
    if let Some(provider) = args.provider {
        init.provider = provider;
    }
    let mut world = init.join()?;
    let take_part = if world.rank() == 0 { lead } else { follow };
    let wrong = take_part(&mut world, args, &plan).inspect_err(|failure| {
        // The others would wait for a rank that has given up.
        world.control().abort("the benchmark failed there");
        if world.rank() > 0 && failure.rank() == Some(0) {
            // Rank 0 tells why itself, or has nobody left to tell; the launcher ends the others then.
            thread::sleep(FIRST_RANK_SPEAKS);
        }
    })?;
    world.finish()?;
    if wrong == 0 { Ok(ExitCode::SUCCESS) } else { Err(wrong_results(wrong)) }
}

/// Measures and prints, at rank 0.
fn lead(world: &mut Communicator, args: &BenchArgs, plan: &Plan) -> Result<u64, Failure> {
    let provider = world.endpoint().provider().to_string();
    if world.endpoint().provider() == Provider::Efa && is_emulated() {
        eprintln!("# emulated device: not EFA's speed");
    }
    // A path that can't be written to must not cost all the measuring.
    let plot_file = args.plot.as_deref().map(PlotFile::open).transpose()?;
    if let Some(note) = args.sizes.as_ref().and_then(Sizes::note) {
        eprintln!("# {note}");
    }
    let mut progress = Progress::on_stderr(plan.sizes.len());
    let mut printer = Printer::begin(io::stdout(), args.format, plan.case, &provider, world.size())
        .map_err(cannot_print)?;
    let mut records = Vec::with_capacity(plan.sizes.len());
    let mut wrong = 0;
    for (done, &size) in plan.sizes.iter().enumerate() {
        progress.show(done, &format!("{} {}", plan.case, Bytes(size)));
        let (record, wrong_here) = measure(world, args, plan, size, FIRST_TWO)?;
        progress.clear();
        printer.record(&record).map_err(cannot_print)?;
        records.push(record);
        wrong += wrong_here;
    }
    printer.finish().map_err(cannot_print)?;
    if let Some(file) = plot_file {
        file.write(&plot::svg(&records)?)?;
    }
    Ok(wrong)
}

/// Takes part, at the other ranks.
fn follow(world: &mut Communicator, args: &BenchArgs, plan: &Plan) -> Result<u64, Failure> {
    for &size in &plan.sizes {
        measure(world, args, plan, size, FIRST_TWO)?;
    }
    // Rank 0 has counted what was wrong here, and tells.
    Ok(0)
}

/// Measures one size; a case between two ranks between the two given. The record is complete at rank 0 only, which is the
/// first of the two. Also returns how much was wrong.
pub(super) fn measure(
    world: &mut Communicator,
    args: &BenchArgs,
    plan: &Plan,
    size: u64,
    between: [usize; 2],
) -> Result<(Record, u64), Error> {
    let counts = Counts::of(plan.case, size, args);
    let mut record = blank(world, plan, size, counts);
    if plan.case.is_collective() {
        let wrong = measure_collective(world, args, plan, counts, &mut record)?;
        return Ok((record, wrong));
    }
    let Some(pair) = Pair::of(world.endpoint(), between) else { return Ok((record, 0)) };
    let bytes = size as usize;
    let rounds = if args.check { CHECKED } else { 0 };
    let wrong = match plan.case {
        Case::Latency => {
            record.time_us = Some(Summary::of(&mut point_to_point::latency(&pair, bytes, counts)?));
            point_to_point::check(&pair, bytes, rounds)?
        }
        Case::Write | Case::Read => {
            let verb = if plan.case == Case::Write { Verb::Write } else { Verb::Read };
            let windows = Counts::of(Case::Bandwidth, size, args);
            let mut remote = remote::measure(&pair, verb, bytes, counts, windows, rounds)?;
            record.iterations = remote.times.len() as u64;
            record.time_us = Some(Summary::of(&mut remote.times));
            record.mb_per_s = Some(megabytes(remote.rate, size));
            remote.wrong
        }
        _ => {
            let flow = if plan.case == Case::Bidirectional { Flow::BothWays } else { Flow::OneWay };
            let rate = point_to_point::rate(&pair, bytes, counts, flow)?;
            record.mb_per_s = Some(megabytes(rate, size));
            record.messages_per_s = (plan.case == Case::MessageRate).then(|| rate.round());
            point_to_point::check(&pair, bytes, rounds)?
        }
    };
    Ok((record, wrong))
}

fn measure_collective(
    world: &mut Communicator,
    args: &BenchArgs,
    plan: &Plan,
    counts: Counts,
    record: &mut Record,
) -> Result<u64, Error> {
    if plan.case == Case::Barrier {
        let mut run = collectives::barrier(world, counts)?;
        record.time_us = Some(Summary::of(&mut run.times));
        return Ok(0);
    }
    let rounds = if args.check { CHECKED } else { 1 };
    let elements = record.size as usize / plan.dtype.size();
    let ranks = world.size();
    let summarise = |run: &mut Run| {
        let time = Summary::of(&mut run.times);
        // Bytes per microsecond are megabytes per second.
        let algbw = record.size as f64 / time.mean.max(f64::MIN_POSITIVE) / 1000.0;
        let busbw = algbw * plan.case.busbw_factor(ranks);
        (time, Collective { algbw: fine(algbw), busbw: fine(busbw), wrong: run.wrong })
    };
    let mut run = collectives::measure(world, plan, elements, counts, Place::OutOfPlace, rounds)?;
    let (time, out_of_place) = summarise(&mut run);
    let mut run = collectives::measure(world, plan, elements, counts, Place::InPlace, rounds)?;
    let (time_us, in_place) = summarise(&mut run);
    record.count = elements as u64;
    record.time_us = Some(time);
    record.collective = Some(out_of_place);
    record.in_place = Some(InPlace { time_us, collective: in_place });
    Ok(out_of_place.wrong + in_place.wrong)
}

/// Returns a record that names what is measured, without results.
fn blank(world: &Communicator, plan: &Plan, size: u64, counts: Counts) -> Record {
    let elements = size as usize / plan.dtype.size();
    let chosen = |kind| match plan.algorithm {
        Algorithm::Auto => world.algorithm(kind, elements, plan.dtype),
        named => named,
    };
    let moves_data = plan.case.moves_data_collectively();
    Record {
        bench: plan.case,
        provider: world.endpoint().provider().to_string(),
        ranks: if plan.case.is_collective() { world.size() } else { 2 },
        algorithm: collective(plan.case).map(|kind| chosen(kind).to_string()),
        dtype: moves_data.then(|| plan.dtype.to_string()),
        op: (plan.case == Case::AllReduce).then(|| plan.op.to_string()),
        size,
        iterations: counts.iterations,
        time_us: None,
        mb_per_s: None,
        messages_per_s: None,
        collective: None,
        count: 0,
        in_place: None,
    }
}

/// Returns millions of bytes per second.
fn megabytes(messages_per_second: f64, size: u64) -> f64 {
    rounded(messages_per_second * size as f64 / 1e6)
}

/// Gigabytes per second to the kilobyte: small messages have small bandwidths.
fn fine(gigabytes: f64) -> f64 {
    (gigabytes * 1e6).round() / 1e6
}

fn cannot_print(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        // Nobody wants to read on, as after `| head`.
        return Failure::quiet(EXIT_BROKEN_PIPE);
    }
    Error::system(error, "cannot write the results", "check where the output goes").into()
}

fn wrong_results(wrong: u64) -> Failure {
    let text = Error::setting(
        "the results are wrong",
        format!("{wrong} elements or bytes are not what they should be"),
        "report it, with the line above and what 'efa info' prints",
    );
    Failure::new(text, EXIT_FAILED)
}
