//! The command line: names, flags, help.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use efa_core::admission::Policy;
use efa_core::fabric::ProviderChoice;

use crate::bench::BenchArgs;
use crate::run::EmulationArgs;

/// Most ranks that can be started on one machine. Beyond this a test job is a fork bomb by mistake.
pub(crate) const MAX_RANKS: usize = 1024;

#[derive(Debug, Parser)]
#[command(
    name = "efa",
    version,
    about = "OS-bypass messaging in the manner of an Elastic Fabric Adapter: judge, launch, measure",
    disable_help_subcommand = true,
    after_help = "\
Examples:
  efa info                                                  what is here
  efa doctor --members job.json --security-groups sg.json   judge a job before it is launched
  efa run -n 4 -- ./my-program --its-own-flags              four ranks on this machine
  efa bench latency                                         two ranks, tables in the manner of OSU
  efa bench all-reduce -n 4 --plot all-reduce.svg           and of nccl-tests, with a picture

Results go to stdout, progress and errors to stderr. Exit status: 0 good, 1 failed, 2 usage.
'efa COMMAND --help' shows the options of a command."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the libfabric in use, its devices and limits, and whether this host would be admitted
    Info(InfoArgs),
    /// Judge this host, the job it is started in, or one that files describe, and check what it needs
    Doctor(DoctorArgs),
    /// Start N ranks of a program on this machine
    Run(RunArgs),
    /// Measure latency, bandwidth and collectives between ranks
    Bench(BenchArgs),
    /// Ends the ranks when the launcher dies; started by `efa run`, never by hand
    #[command(name = "__guard", hide = true)]
    Guard,
}

/// The options of `efa info`.
#[derive(Debug, Args)]
#[command(
    override_usage = "efa info [--json]",
    after_help = "\
Lists every device that efa, shm, tcp and sockets can use here. What a provider lacks can't be seen: if efa
is missing, 'efa doctor --provider efa' says why.

Examples:
  efa info
  efa info --json | jq '.devices[].device'"
)]
pub(crate) struct InfoArgs {
    /// One JSON object instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `efa doctor`.
#[derive(Debug, Args)]
#[command(
    override_usage = "efa doctor [--members FILE [--only NAME] [--for N]] [--security-groups FILE] [--policy P] [--provider P] [--plot FILE.svg] [--json|--script|--format F|--watch S]",
    after_help = "\
Without --members it judges and checks this host or, started by a launcher, all ranks of the job together: then
every rank also sends to every other, and rank 0 prints one report with the matrix of pairs. The members file
lists each member's rank, instance_id and interfaces; the security groups file is what
'aws ec2 describe-security-groups --output json' prints.

Exit status: 0 admitted; 1 refused, a rule is broken or a pair is closed; 3 no rule is known to be broken, but
something could not be determined; 2 for a wrong command line or a file that cannot be read.

Examples:
  efa doctor
  efa run --no-prefix -n 4 -- efa doctor     CLICOLOR_FORCE=1 colours it
  efa doctor --provider efa --json
  efa doctor --members job.json --security-groups sg.json --policy same-zone
  efa doctor --members cluster.yaml --only train --for 16 --plot job.svg"
)]
pub(crate) struct DoctorArgs {
    /// The members of the job: a members file; what 'aws ec2 describe-instances', 'describe-network-interfaces',
    /// 'describe-launch-template-versions' or 'terraform show -json' prints; a CloudFormation template; a configuration
    /// of AWS ParallelCluster 3, Karpenter or eksctl
    #[arg(long, value_name = "FILE")]
    pub(crate) members: Option<PathBuf>,
    /// Judge only what this is the name of in the file: a queue, node group or resource
    #[arg(long, value_name = "NAME", requires = "members")]
    pub(crate) only: Option<String>,
    /// Judge N copies of the one kind of instance that the file describes, such as a launch template
    #[arg(long = "for", value_name = "N", requires = "members")]
    pub(crate) copies: Option<usize>,
    /// The rules of their security groups, as the AWS command line prints them
    #[arg(long, value_name = "FILE")]
    pub(crate) security_groups: Option<PathBuf>,
    /// How far apart members may be: strict (one subnet), same-zone (one zone of one VPC), tcp-across-subnets
    /// (strict, but tcp may do without EFA), mutual-groups (groups that let each other in and out will do), or several
    /// with commas between [default: EFA_POLICY, else strict]
    #[arg(long, value_name = "P")]
    pub(crate) policy: Option<Policy>,
    /// What the job will use: auto, efa (judged more closely), shm, tcp or sockets [default: in a job EFA_PROVIDER,
    /// else auto]
    #[arg(long, value_name = "P")]
    pub(crate) provider: Option<ProviderChoice>,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Also draw members, network cards, subnets and groups as a picture, with what is wrong marked
    #[arg(long, value_name = "FILE.svg", conflicts_with = "watch")]
    pub(crate) plot: Option<PathBuf>,
    /// Judge again every S seconds (1 to 3600) and print what has changed, with the time, until it is interrupted
    #[arg(long, value_name = "S", value_parser = parse_interval, conflicts_with_all = ["json", "script", "format"])]
    pub(crate) watch: Option<Duration>,
    /// All remedies as one shell script instead: checks that only read, then changes, with --dry-run unless APPLY=1
    #[arg(long, conflicts_with = "json")]
    pub(crate) script: bool,
    /// How to print the findings for a pipeline: sarif (2.1.0) or junit
    #[arg(long, value_name = "F", conflicts_with_all = ["json", "script"])]
    pub(crate) format: Option<ReportFormat>,
}

/// A form of the findings that other programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReportFormat {
    /// Static Analysis Results Interchange Format 2.1.0
    Sarif,
    /// JUnit's XML
    Junit,
}

/// The options of `efa run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "efa run -n N [--provider P] [--policy P] [--emulate-efa [--devices D]] [--no-prefix] [--grace SECONDS] -- PROGRAM [ARGS]...",
    after_help = "\
Every rank finds its place in the environment: EFA_RANK, EFA_WORLD_SIZE, EFA_LOCAL_RANK,
EFA_LOCAL_WORLD_SIZE, EFA_RENDEZVOUS, EFA_JOB_ID, EFA_JOB_KEY, and EFA_PROVIDER and EFA_POLICY if given.
Rank 0 gets the standard input. If a rank fails or is killed, the others get SIGTERM, and SIGKILL after
the grace time; so does whatever a rank has left running when it ends.

Exit status: that of the rank that failed first (128 + N if signal N killed it), 0 if none did,
126 if PROGRAM cannot be executed, 127 if it is not found, 2 for a wrong command line.

Examples:
  efa run -n 4 -- ./my-program --its-own-flags
  efa run -n 2 --provider tcp -- python3 train.py < corpus.txt
  efa run -n 8 --no-prefix -- sh -c 'echo rank $EFA_RANK of $EFA_WORLD_SIZE'"
)]
pub(crate) struct RunArgs {
    /// How many ranks to start (1 to 1024)
    #[arg(short = 'n', long = "ranks", value_name = "N", value_parser = parse_ranks)]
    pub(crate) ranks: usize,
    /// Provider for the ranks, in EFA_PROVIDER: auto, efa, shm, tcp or sockets
    #[arg(long, value_name = "P")]
    pub(crate) provider: Option<ProviderChoice>,
    /// Policy of admission for the ranks, in EFA_POLICY: strict, same-zone, tcp-across-subnets or mutual-groups
    #[arg(long, value_name = "P")]
    pub(crate) policy: Option<Policy>,
    #[command(flatten)]
    pub(crate) emulation: EmulationArgs,
    /// Do not put the rank before each line of output
    #[arg(long)]
    pub(crate) no_prefix: bool,
    /// Seconds between asking ranks to end and killing them
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    pub(crate) grace: Duration,
    /// The program to start, and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

pub(crate) fn parse_ranks(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(ranks) if (1..=MAX_RANKS).contains(&ranks) => Ok(ranks),
        Ok(0) => Err("a job has at least one rank".into()),
        Ok(ranks) => {
            Err(format!("{ranks} ranks are more than the {MAX_RANKS} that one machine may be given"))
        }
        Err(_) => Err(format!("a number of ranks goes from 1 to {MAX_RANKS}")),
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("an interval goes from 1 to 3600 seconds".into()),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "seconds are a number such as 5 or 0.5".to_string())?;
    let hour = 3600.0;
    if (0.0..=hour).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("seconds go from 0 to 3600".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_fits_one_screen() {
        let help = Cli::command().render_help().to_string();
        assert!(help.lines().count() <= 30, "{help}");
        assert!(help.lines().all(|line| line.len() <= 110), "{help}");
    }

    #[test]
    fn a_number_of_ranks_is_between_one_and_the_limit() {
        assert_eq!(parse_ranks("1"), Ok(1));
        assert_eq!(parse_ranks("1024"), Ok(1024));
        for nonsense in ["0", "1025", "-1", "two", "", "99999999999999999999"] {
            assert!(parse_ranks(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn fuzz_command_lines_are_refused_with_a_usage_or_understood() {
        let lines = [
            "efa info --json",
            "efa doctor --members job.json --security-groups sg.json --policy same-zone --provider efa --json",
            "efa run -n 4 --provider tcp --policy strict --emulate-efa --devices 4 --grace 0.5 -- ./program --own",
            "efa bench all-reduce -n 4 --sizes 8:4M:8 --dtype bf16 --algorithm ring --op average --check",
            "efa bench latency --provider shm --sizes 64,1M --iterations 50 --format csv --plot out.svg",
        ];
        efa_fuzz::rounds("command lines", 5000, |random| {
            let mut words: Vec<String> = random.pick(&lines).split(' ').map(str::to_owned).collect();
            for _ in 0..=random.below(3) {
                let place = 1 + random.below(words.len() - 1);
                match random.below(4) {
                    0 => drop(words.remove(place)),
                    1 => words.insert(place, words[random.below(words.len())].clone()),
                    2 => words[place] = random.number().to_string(),
                    _ => words[place] = random.mutate_text(&words[place]),
                }
                if words.len() < 2 {
                    break;
                }
            }
            if let Err(error) = Cli::try_parse_from(&words) {
                assert!(!error.render().to_string().is_empty());
                assert!([0, 2].contains(&error.exit_code()), "{words:?}: {error}");
            }
        });
    }
}
