//! The options of `efa bench`, and what they mean for a case.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use efa_core::Error;
use efa_core::collective::{Algorithm, Collective, ReduceOp};
use efa_core::fabric::ProviderChoice;
use efa_core::tensor::DType;

use super::case::Case;
use super::output::Format;
use super::sizes::Sizes;
use crate::bytes::Bytes;
use crate::emulation::EmulationArgs;
use crate::run::parse_ranks;

/// The sizes that are measured unless told otherwise: from one double to what saturates any link.
const DEFAULT_SIZES: &str = "8:4M";
/// More iterations than this would need more memory for their times than they are worth.
const MOST_ITERATIONS: u64 = 100_000_000;

/// The options of `efa bench`.
#[derive(Debug, Args)]
#[command(
    override_usage = "efa bench CASE [OPTIONS]\n       efa bench suite --report DIR [OPTIONS]",
    after_help = "\
Starts its own ranks on this machine, unless a launcher (efa run, torchrun, srun, mpirun) has started it.

Sizes are bytes; K, M, G mean 2^10, 2^20, 2^30. A range 8:4M doubles each time, 8:4M:4 goes times four,
and 64,1M is a list. Latency is one way. A collective's time is that of its slowest rank.

Exit status: 0; 1 if something failed or a result was wrong; 2 for a wrong command line.

Examples:
  efa bench latency
  efa bench bandwidth --provider shm --sizes 1K:16M --plot bandwidth.svg
  efa bench all-reduce -n 4 --dtype bf16 --algorithm ring --format json
  efa bench suite --report DIR                               everything, in one folder"
)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(required = true)]
    pub(crate) case: Option<Case>,
    /// How many ranks to start [default: 2]
    #[arg(short = 'n', long = "ranks", value_name = "N", value_parser = parse_ranks)]
    pub(crate) ranks: Option<usize>,
    /// Provider to use: auto, efa, shm, tcp or sockets [default: auto]
    #[arg(long, value_name = "P")]
    pub(crate) provider: Option<ProviderChoice>,
    #[command(flatten)]
    pub(crate) emulation: EmulationArgs,
    /// Message sizes in bytes [default: 8:4M]
    #[arg(long, value_name = "SIZES")]
    pub(crate) sizes: Option<Sizes>,
    /// Element type of a collective [default: f32]
    #[arg(long, value_name = "TYPE")]
    pub(crate) dtype: Option<DType>,
    /// How all-reduce combines: sum, product, min, max or average [default: sum]
    #[arg(long, alias = "redop", value_name = "OP", value_parser = parse_op)]
    pub(crate) op: Option<ReduceOp>,
    /// Algorithm of a collective [default: auto]
    #[arg(long, value_name = "NAME")]
    pub(crate) algorithm: Option<String>,
    /// How often to measure each size [default: fewer for larger sizes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_ITERATIONS))]
    pub(crate) iterations: Option<u64>,
    /// How often to run before measuring [default: a tenth of the iterations]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MOST_ITERATIONS))]
    pub(crate) warmup: Option<u64>,
    /// Check what arrives, byte for byte, after measuring each size
    #[arg(long)]
    pub(crate) check: bool,
    /// How to print the results
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Draw the results over the size
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

impl BenchArgs {
    /// Returns what to measure.
    pub(crate) fn case(&self) -> Case {
        self.case.expect("the command line has a case or a command of its own")
    }
}

/// What to measure, once the options have been found to make sense together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) case: Case,
    pub(crate) sizes: Vec<u64>,
    pub(crate) dtype: DType,
    pub(crate) op: ReduceOp,
    pub(crate) algorithm: Algorithm,
}

impl Plan {
    /// Checks the options against one another and against the number of ranks.
    ///
    /// # Errors
    /// [`Error::Setting`] for options that the case does not have, sizes it can't have, a number of ranks it does not
    /// work with, an algorithm that is not one for it.
    pub(crate) fn new(args: &BenchArgs, ranks: usize) -> Result<Self, Error> {
        let case = args.case();
        if !case.is_collective() && ranks != 2 {
            return Err(Error::setting(
                format!("cannot measure {case} with {ranks} ranks"),
                "it is measured between two",
                "leave -n out, or choose a collective",
            ));
        }
        let foreign = [
            ("--sizes", args.sizes.is_some() && case == Case::Barrier),
            ("--plot", args.plot.is_some() && case == Case::Barrier),
            ("--dtype", args.dtype.is_some() && !case.moves_data_collectively()),
            ("--op", args.op.is_some() && case != Case::AllReduce),
            ("--algorithm", args.algorithm.is_some() && !case.is_collective()),
        ];
        if let Some((option, _)) = foreign.into_iter().find(|&(_, given)| given) {
            return Err(Error::setting(
                format!("cannot use {option} with {case}"),
                "there is nothing that it would change",
                format!("leave {option} out"),
            ));
        }
        let dtype = args.dtype.unwrap_or(DType::F32);
        let op = args.op.unwrap_or(ReduceOp::Sum);
        if !op.exists_for(dtype) {
            return Err(Error::setting(
                format!("cannot measure {case} by {op} of {dtype}"),
                format!("{op} exists for integers only"),
                "choose another --op or --dtype",
            ));
        }
        Ok(Self {
            case,
            sizes: sizes(args, dtype)?,
            dtype,
            op,
            algorithm: algorithm(case, args.algorithm.as_deref())?,
        })
    }
}

fn sizes(args: &BenchArgs, dtype: DType) -> Result<Vec<u64>, Error> {
    let case = args.case();
    if case == Case::Barrier {
        return Ok(vec![0]);
    }
    let sizes = match &args.sizes {
        Some(sizes) => sizes.clone(),
        None => DEFAULT_SIZES.parse()?,
    };
    let element = if case.moves_data_collectively() { dtype.size() as u64 } else { 1 };
    for &size in sizes.as_slice() {
        if size == 0 && case != Case::Latency && case != Case::MessageRate {
            return Err(Error::setting(
                format!("cannot measure {case} at size 0"),
                "moving nothing has no bandwidth",
                "start from 1 byte, or measure latency",
            ));
        }
        if !size.is_multiple_of(element) {
            return Err(Error::setting(
                format!("cannot measure {case} at {}", Bytes(size)),
                format!("an element of type {dtype} has {element} bytes"),
                format!("use multiples of {element}, or another --dtype"),
            ));
        }
    }
    Ok(sizes.as_slice().to_vec())
}

fn algorithm(case: Case, name: Option<&str>) -> Result<Algorithm, Error> {
    let (Some(name), Some(collective)) = (name, collective(case)) else { return Ok(Algorithm::Auto) };
    Algorithm::parse(collective, name)
}

/// Returns the library's name for a collective case.
pub(crate) fn collective(case: Case) -> Option<Collective> {
    match case {
        Case::AllReduce => Some(Collective::AllReduce),
        Case::Broadcast => Some(Collective::Broadcast),
        Case::Barrier => Some(Collective::Barrier),
        _ => None,
    }
}

fn parse_op(name: &str) -> Result<ReduceOp, Error> {
    ReduceOp::from_str(name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Harness {
        #[command(flatten)]
        args: BenchArgs,
    }

    /// Returns the options after `efa bench`.
    pub(in crate::bench) fn options(arguments: &[&str]) -> BenchArgs {
        let words = std::iter::once(&"bench").chain(arguments);
        Harness::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args
    }

    fn plan(arguments: &[&str], ranks: usize) -> Result<Plan, Error> {
        Plan::new(&options(arguments), ranks)
    }

    #[test]
    fn a_case_alone_is_enough() {
        let plan = plan(&["all-reduce"], 2).expect("a plan");
        assert_eq!((plan.sizes.first(), plan.sizes.last()), (Some(&8), Some(&(4 << 20))));
        assert_eq!((plan.dtype, plan.op, plan.algorithm), (DType::F32, ReduceOp::Sum, Algorithm::Auto));
    }

    #[test]
    fn options_that_change_nothing_are_refused() {
        for arguments in [
            &["barrier", "--sizes", "8"][..],
            &["barrier", "--plot", "x.svg"],
            &["latency", "--dtype", "f32"],
            &["latency", "--algorithm", "ring"],
            &["broadcast", "--op", "sum"],
        ] {
            let error = plan(arguments, 2).expect_err("refused");
            assert!(error.explanation().what.contains(arguments[1]), "{error}");
        }
    }

    #[test]
    fn sizes_must_suit_the_case() {
        assert!(plan(&["latency", "--sizes", "0:8"], 2).is_ok());
        assert!(plan(&["bandwidth", "--sizes", "0:8"], 2).is_err());
        assert!(plan(&["all-reduce", "--sizes", "6"], 2).is_err());
        assert!(plan(&["all-reduce", "--sizes", "6", "--dtype", "bf16"], 2).is_ok());
        assert_eq!(plan(&["barrier"], 4).expect("a plan").sizes, [0]);
    }

    #[test]
    fn point_to_point_is_between_two() {
        for ranks in [1, 3] {
            let error = plan(&["latency"], ranks).expect_err("refused");
            assert_eq!(error.explanation().why, "it is measured between two");
        }
        assert!(plan(&["all-reduce"], 1).is_ok());
    }

    #[test]
    fn an_algorithm_belongs_to_its_collective() {
        assert_eq!(
            plan(&["all-reduce", "--algorithm", "ring"], 2).expect("a plan").algorithm,
            Algorithm::Ring
        );
        let error = plan(&["broadcast", "--algorithm", "ring"], 2).expect_err("refused");
        assert!(error.explanation().remedy.contains("tree"), "{error}");
    }

    #[test]
    fn names_are_checked_on_the_way_in() {
        for arguments in [
            &["latency", "--sizes", "8:x"][..],
            &["all-reduce", "--dtype", "f31"],
            &["all-reduce", "--op", "xor"],
            &["latency", "--iterations", "0"],
            &["latency", "--format", "xml"],
            &["dance"],
        ] {
            let words = std::iter::once(&"bench").chain(arguments);
            assert!(Harness::try_parse_from(words).is_err(), "{arguments:?}");
        }
    }
}
