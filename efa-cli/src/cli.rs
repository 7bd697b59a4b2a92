//! The command line of `efa`: its commands and its help. The options of a command are in the command's own module.

use clap::{Parser, Subcommand};

#[cfg(not(feature = "libfabric"))]
use crate::absent::AbsentArgs;
use crate::doctor::DoctorArgs;
#[cfg(feature = "libfabric")]
use crate::{bench::BenchCommand, info::InfoArgs, run::RunArgs};

#[derive(Debug, Parser)]
#[command(
    name = "efa",
    version,
    about = "OS-bypass messaging in the manner of an Elastic Fabric Adapter: judge, launch, measure",
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
    #[cfg(feature = "libfabric")]
    Info(InfoArgs),
    /// Show the libfabric in use, its devices and limits (not in this build)
    #[cfg(not(feature = "libfabric"))]
    Info(AbsentArgs),
    /// Judge this host, the job it is started in, or one that files describe, and check what it needs
    Doctor(DoctorArgs),
    /// Start N ranks of a program on this machine
    #[cfg(feature = "libfabric")]
    Run(RunArgs),
    /// Start N ranks of a program on this machine (not in this build)
    #[cfg(not(feature = "libfabric"))]
    Run(AbsentArgs),
    /// Measure latency, bandwidth and collectives between ranks
    #[cfg(feature = "libfabric")]
    Bench(BenchCommand),
    /// Measure latency, bandwidth and collectives between ranks (not in this build)
    #[cfg(not(feature = "libfabric"))]
    Bench(AbsentArgs),
    /// Ends the ranks when the launcher dies; started by `efa run`, never by hand
    #[cfg(feature = "libfabric")]
    #[command(name = "__guard", hide = true)]
    Guard,
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

    #[cfg(feature = "libfabric")]
    #[test]
    fn fuzz_command_lines_are_refused_with_a_usage_or_understood() {
        let lines = [
            "efa info --json",
            "efa doctor --members job.json --security-groups sg.json --policy same-zone --provider efa --json",
            "efa run -n 4 --provider tcp --policy strict --emulate-efa --devices 4 --grace 0.5 -- ./program --own",
            "efa bench all-reduce -n 4 --sizes 8:4M:8 --dtype bf16 --algorithm ring --op average --check",
            "efa bench suite --report folder -n 4 --provider shm --quick",
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
