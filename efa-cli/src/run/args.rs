//! The options of `efa run`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use efa_core::admission::Policy;
use efa_core::fabric::ProviderChoice;

use crate::emulation::EmulationArgs;

/// Most ranks that can be started on one machine. Beyond this a test job is a fork bomb by mistake.
pub(crate) const MAX_RANKS: usize = 1024;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_ranks_is_between_one_and_the_limit() {
        assert_eq!(parse_ranks("1"), Ok(1));
        assert_eq!(parse_ranks("1024"), Ok(1024));
        for nonsense in ["0", "1025", "-1", "two", "", "99999999999999999999"] {
            assert!(parse_ranks(nonsense).is_err(), "{nonsense}");
        }
    }
}
