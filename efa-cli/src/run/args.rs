//! The options of `efa run`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser};
use efa_core::Error;
use efa_core::admission::Policy;
use efa_core::fabric::ProviderChoice;

use super::cores::Bind;
use crate::emulation::EmulationArgs;

/// Most ranks that can be started on one machine. Beyond this a test job is a fork bomb by mistake.
pub(crate) const MAX_RANKS: usize = 1024;

/// The options of `efa run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "efa run -n N [OPTIONS] [--] PROGRAM [ARGS]... [: -n M [--] PROGRAM [ARGS]...]...",
    after_help = "\
Every rank finds its place in the environment: EFA_RANK, EFA_WORLD_SIZE, EFA_LOCAL_RANK,
EFA_LOCAL_WORLD_SIZE, EFA_RENDEZVOUS, EFA_JOB_ID, EFA_JOB_KEY, and EFA_PROVIDER and EFA_POLICY if given.
Rank 0 gets the standard input. If a rank fails or is killed, the others get SIGTERM, and SIGKILL after
the grace time; so does whatever a rank has left running when it ends. After ':' come more ranks of the
same job, of another program.

Exit status: that of the rank that failed first (128 + N if signal N killed it), 0 if none did,
124 after --timeout, 126 if PROGRAM cannot be executed, 127 if it is not found, 2 for a wrong command line.

Examples:
  efa run -n 4 -- ./my-program --its-own-flags
  efa run -n 2 --provider tcp python3 train.py < corpus.txt
  efa run -n 1 -- ./coordinator : -n 3 -- ./worker
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
    /// Seconds after which the job is ended, with status 124 [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = parse_limit)]
    pub(crate) timeout: Option<Duration>,
    /// core: every rank has cores of its own; none: all share all [default: core where there are enough]
    #[arg(long, value_name = "HOW", hide_possible_values = true)]
    pub(crate) bind: Option<Bind>,
    /// The program to start, and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

/// Ranks that run one program.
#[derive(Debug)]
pub(crate) struct Part {
    /// How many ranks.
    pub(crate) ranks: usize,
    /// The program and its arguments; at least one element.
    pub(crate) program: Vec<OsString>,
}

/// More ranks, as they stand after a colon.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct More {
    #[arg(short = 'n', long = "ranks", value_parser = parse_ranks)]
    ranks: usize,
    #[arg(trailing_var_arg = true, required = true)]
    program: Vec<OsString>,
}

impl RunArgs {
    /// The programs with the ranks that run each. A colon ends a program's arguments where `-n` or `--ranks` follows.
    ///
    /// # Errors
    /// [`Error::Setting`] when what follows a colon makes no sense, or the ranks are too many.
    pub(super) fn parts(&self) -> Result<Vec<Part>, Error> {
        let begins = |at: usize| {
            let option = self.program.get(at + 1).map(|next| next.to_string_lossy().into_owned());
            self.program[at] == ":" && option.is_some_and(|o| o.starts_with("-n") || o.starts_with("--ranks"))
        };
        let mut colons: Vec<usize> = (1..self.program.len()).filter(|&at| begins(at)).collect();
        colons.push(self.program.len());
        let mut parts = vec![Part { ranks: self.ranks, program: self.program[..colons[0]].to_vec() }];
        for ends in colons.windows(2) {
            let more = More::try_parse_from(&self.program[ends[0] + 1..ends[1]]).map_err(|error| {
                let why = error.to_string().lines().next().unwrap_or_default().replace("error: ", "");
                Error::setting(
                    "cannot understand what follows a ':' of efa run",
                    why,
                    "write 'efa run -n N -- PROGRAM : -n M -- PROGRAM'",
                )
            })?;
            parts.push(Part { ranks: more.ranks, program: more.program });
        }
        let ranks = parts.iter().map(|part| part.ranks).sum::<usize>();
        match ranks <= MAX_RANKS {
            true => Ok(parts),
            false => Err(Error::setting(
                format!("cannot start {ranks} ranks"),
                format!("one machine may be given {MAX_RANKS}"),
                "ask for fewer",
            )),
        }
    }
}

/// Parses a number of ranks for one machine.
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

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "seconds are a number such as 5 or 0.5".to_string())?;
    let hour = 3600.0;
    if (0.0..=hour).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("seconds go from 0 to 3600".into())
    }
}

fn parse_limit(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 31_536_000.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a limit is a number of seconds from above 0 to 31536000".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};

    /// The parts of a command line, as `2 a b | 3 c`.
    fn parts(line: &str) -> Result<String, Error> {
        let Ok(Cli { command: Command::Run(args) }) = Cli::try_parse_from(line.split(' ')) else {
            panic!("{line}");
        };
        let shown = args.parts()?.into_iter().map(|part| {
            let words: Vec<_> = part.program.iter().map(|word| word.to_string_lossy()).collect();
            format!("{} {}", part.ranks, words.join(" "))
        });
        Ok(shown.collect::<Vec<_>>().join(" | "))
    }

    #[test]
    fn a_program_needs_no_dashes_before_it_and_has_its_own_arguments() {
        for (line, expected) in [
            ("efa run -n 2 a", "2 a"),
            ("efa run -n 2 a -n 3 --grace 4", "2 a -n 3 --grace 4"),
            ("efa run -n 2 -- a -- b", "2 a -- b"),
            ("efa run -n 2 a -- b", "2 a -- b"),
            ("efa run a -n 2", ""),
        ] {
            match expected {
                "" => assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}"),
                _ => assert_eq!(parts(line).unwrap(), expected, "{line}"),
            }
        }
    }

    #[test]
    fn several_programs_are_parts_of_one_job() {
        assert_eq!(parts("efa run -n 1 -- a x : -n 3 -- b -y").unwrap(), "1 a x | 3 b -y");
        assert_eq!(parts("efa run -n 1 a : -n 3 b : --ranks=2 c").unwrap(), "1 a | 3 b | 2 c");
        // A colon of the program's own.
        assert_eq!(parts("efa run -n 1 a : b").unwrap(), "1 a : b");
        for line in ["efa run -n 1 a : -n", "efa run -n 1 a : -n 0 b", "efa run -n 1000 a : -n 25 b"] {
            assert!(matches!(parts(line), Err(Error::Setting(_))), "{line}");
        }
    }

    #[test]
    fn a_number_of_ranks_is_between_one_and_the_limit() {
        assert_eq!(parse_ranks("1"), Ok(1));
        assert_eq!(parse_ranks("1024"), Ok(1024));
        for nonsense in ["0", "1025", "-1", "two", "", "99999999999999999999"] {
            assert!(parse_ranks(nonsense).is_err(), "{nonsense}");
        }
    }
}
