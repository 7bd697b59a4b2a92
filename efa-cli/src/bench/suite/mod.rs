//! `efa bench suite`: checks the job, measures everything, and writes one folder that can be attached to a question.

mod content;
mod folder;
mod others;
mod page;
mod published;
mod results;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use efa_core::admission::Facts;
use efa_core::fabric::ProviderChoice;
use efa_core::{Communicator, Error, Init, Judged};

use super::case::Case;
use super::member::measure;
use super::options::{BenchArgs, Plan};
use super::output::Format;
use super::plot;
use super::progress::Progress;
use super::sizes::Sizes;
use super::start;
use crate::bytes::Bytes;
use crate::doctor::{Examination, Place, examine_job};
use crate::emulation::EmulationArgs;
use crate::failure::{EXIT_FAILED, EXIT_USAGE, Failure};
use crate::info::Info;
use crate::run::parse_ranks;
use folder::Folder;
use others::{QUICK_ITERATIONS, STEP};
use results::{Measured, Results};

/// The sizes with `--quick`. The others are those of `efa bench`.
const QUICK_SIZES: &str = "64,4K,64K";

/// The options of `efa bench suite`.
#[derive(Debug, Args)]
#[command(
    override_usage = "efa bench suite --report DIR [-n N] [--provider P] [--emulate-efa [--devices D]] [--quick]",
    after_help = "\
Starts its own ranks on this machine, unless a launcher (efa run, torchrun, srun, mpirun) has started it. Cases
between two ranks are measured between rank 0 and the first rank of another host, if there is one.

The folder gets report.html and report.md, what 'efa doctor --json' and 'efa info --json' print, and a JSON file and
a plot per case. Beside the results stand those of fabtests and of the OSU benchmarks, if they are on PATH, and
published figures for the instance type. The folder names hosts, instances and addresses: look before you share it.

Exit status: 0; 1 if something failed, a result was wrong, or the job is refused; 3 if it could not be judged.

Examples:
  efa bench suite --report results
  srun -N 2 -n 2 efa bench suite --report results --provider efa"
)]
pub(crate) struct SuiteArgs {
    /// The folder to write; it is made, or is empty
    #[arg(long, value_name = "DIR")]
    report: PathBuf,
    /// How many ranks to start [default: 2]
    #[arg(short = 'n', long = "ranks", value_name = "N", value_parser = parse_ranks)]
    ranks: Option<usize>,
    /// Provider to use: auto, efa, shm, tcp or sockets [default: auto]
    #[arg(long, value_name = "P")]
    provider: Option<ProviderChoice>,
    #[command(flatten)]
    emulation: EmulationArgs,
    /// Three sizes and few iterations: takes seconds, and its figures are rough
    #[arg(long)]
    quick: bool,
}

/// Runs the suite as a member of the job that this process is in, or else starts a job of its own.
pub(super) fn suite(args: &SuiteArgs) -> Result<ExitCode, Failure> {
    if start::job(args.ranks)?.is_some() {
        return member(args);
    }
    // A folder that can't be used is told once, here, and not by a rank of a job.
    Folder::prepare(&args.report)?;
    start::ranks(args.ranks.unwrap_or(start::DEFAULT_RANKS), args.provider, &args.emulation)
}

/// Takes part as a rank.
fn member(args: &SuiteArgs) -> Result<ExitCode, Failure> {
    let mut init = Init::from_env()?;
    if let Some(provider) = args.provider {
        init.provider = provider;
    }
    let place = Place { local_rank: init.job.local_rank, local_size: init.job.local_size, limit: init.path };
    let judged = init.judge()?;
    let Some(folder) = prepare(args, &judged)? else {
        judged.leave();
        return Err(Failure::quiet(EXIT_USAGE));
    };
    let examination =
        examine_job(&judged, place).inspect_err(|error| judged.control().abort(&error.to_string()))?;
    if examination.exit != 0 {
        return refused(args, judged, folder, examination);
    }
    let types: Vec<Option<String>> =
        judged.members().map(|facts: &Facts| facts.member.instance_type.clone()).collect();
    let mut world = judged.join()?;
    let measured =
        measure_all(&mut world, args, &types).inspect_err(|failure| abort(&world, &failure.to_string()))?;
    let wrong = measured.wrong;
    if let Some(folder) = folder {
        let info = Info::of_this_host();
        let results = Results { quick: args.quick, examination, info, measured: Some(measured) };
        write(&folder, &results).inspect_err(|error| abort(&world, &error.to_string()))?;
    }
    world.finish()?;
    match wrong {
        0 => Ok(ExitCode::SUCCESS),
        _ => Err(Failure::new(
            Error::setting(
                "results are wrong",
                format!("{wrong} elements or bytes are not what they should be"),
                format!("report it, with the folder {}", args.report.display()),
            ),
            EXIT_FAILED,
        )),
    }
}

/// Prepares the folder, at rank 0. Returns `None` at all ranks, once rank 0 has said why, if the folder can't be used.
fn prepare(args: &SuiteArgs, judged: &Judged) -> Result<Option<Option<Folder>>, Error> {
    let control = judged.control();
    let prepared = (control.rank() == 0).then(|| Folder::prepare(&args.report)).transpose();
    let is_usable = [u8::from(prepared.is_ok())];
    let folder = prepared.map_err(|error| Failure::from(error).report()).ok();
    // Sent after the error is printed, because a launcher ends a job with its first rank.
    let all = control.exchange("the folder of the report", &is_usable, STEP)?;
    Ok(folder.filter(|_| all.iter().all(|it| it[..] == [1])))
}

/// Ends the job: the others would wait for a rank that has given up.
fn abort(world: &Communicator, why: &str) {
    world.control().abort(why);
}

/// Writes what there is of a job that is not admitted, and ends as the doctor does.
fn refused(
    args: &SuiteArgs,
    judged: Judged,
    folder: Option<Folder>,
    examination: Examination,
) -> Result<ExitCode, Failure> {
    let exit = examination.exit;
    let written = folder.map_or(Ok(()), |folder| {
        eprint!("{}", examination.table);
        let info = Info::of_this_host();
        write(&folder, &Results { quick: args.quick, examination, info, measured: None })
    });
    // A launcher may end the job once a rank has ended with a status other than 0, so nobody goes before it is told.
    judged.control().barrier("the report", STEP)?;
    judged.leave();
    written?;
    Ok(ExitCode::from(exit))
}

/// Measures every case, here and with other programs.
fn measure_all(
    world: &mut Communicator,
    args: &SuiteArgs,
    types: &[Option<String>],
) -> Result<Measured, Error> {
    let between = between(world);
    let cases: Vec<Case> = Case::value_variants()
        .iter()
        .copied()
        .filter(|case| case.is_collective() || between.is_some())
        .collect();
    let mut progress = Progress::on_stderr(if world.rank() == 0 { cases.len() + 1 } else { 0 });
    let mut measured = Vec::with_capacity(cases.len());
    let mut wrong = 0;
    for (done, &case) in cases.iter().enumerate() {
        let options = options(case, args.quick)?;
        let plan = Plan::new(&options, if case.is_collective() { world.size() } else { 2 })?;
        let mut records = Vec::with_capacity(plan.sizes.len());
        for &size in &plan.sizes {
            if world.rank() == 0 {
                progress.show(done, &format!("{case} {}", Bytes(size)));
            }
            let (record, wrong_here) = measure(world, &options, &plan, size, between.unwrap_or_default())?;
            records.push(record);
            wrong += if world.rank() == 0 { wrong_here } else { 0 };
            // Ranks that took no part come along.
            world.barrier()?;
        }
        measured.push((case, records));
    }
    if world.rank() == 0 {
        progress.show(cases.len(), "fabtests and the OSU benchmarks");
    }
    let others = others::measure(world, between, args.quick)?;
    progress.clear();
    let host = |rank: usize| world.endpoint().peers()[rank].host.clone();
    let same_type =
        |[one, other]: [usize; 2]| types[one].clone().filter(|it| types[other].as_ref() == Some(it));
    Ok(Measured {
        job: world.report().clone(),
        cases: measured,
        between: between.map(|ranks| ranks.map(host)),
        others,
        instance_type: between.and_then(same_type),
        wrong,
    })
}

/// Returns the two ranks that cases between two ranks are measured between: rank 0 and the first rank of another host,
/// or rank 1.
fn between(world: &Communicator) -> Option<[usize; 2]> {
    let peers = world.endpoint().peers();
    let elsewhere = peers.iter().position(|peer| peer.host != peers[0].host);
    (peers.len() > 1).then(|| [0, elsewhere.unwrap_or(1)])
}

/// Returns the options of `efa bench` for a case.
fn options(case: Case, quick: bool) -> Result<BenchArgs, Error> {
    let has_sizes = case != Case::Barrier;
    Ok(BenchArgs {
        case: Some(case),
        ranks: None,
        provider: None,
        emulation: EmulationArgs::default(),
        sizes: if quick && has_sizes { Some(QUICK_SIZES.parse::<Sizes>()?) } else { None },
        dtype: None,
        op: None,
        algorithm: None,
        iterations: quick.then_some(QUICK_ITERATIONS),
        warmup: None,
        check: true,
        format: Format::Json,
        plot: None,
    })
}

/// Writes the folder, and says where it is.
fn write(folder: &Folder, results: &Results) -> Result<(), Error> {
    folder.json("doctor.json", &results.examination.json)?;
    folder.text("doctor.svg", &results.examination.picture)?;
    if let Ok(info) = &results.info {
        folder.json("info.json", info)?;
    }
    if let Some(measured) = &results.measured {
        folder.json("job.json", &measured.job)?;
        folder.json("others.json", &measured.others)?;
        for (case, records) in &measured.cases {
            folder.json(&format!("{case}.json"), records)?;
            if *case != Case::Barrier {
                folder.text(&format!("{case}.svg"), &plot::svg(records)?)?;
            }
        }
    }
    let page = content::page(results);
    folder.text("report.md", &page.to_markdown())?;
    folder.text("report.html", &page.to_html())?;
    eprintln!("wrote {}", folder.path("report.html").display());
    Ok(())
}
