//! `EFA_LOG`: the library's messages on standard error, for programs that have no logger.

use std::io::Write;
use std::sync::OnceLock;

use log::{LevelFilter, Log, Metadata, Record};

use crate::error::{Error, Result, printable};
use crate::input;

const VARIABLE: &str = "EFA_LOG";

/// Prints the library's messages on standard error if the environment asks for that.
///
/// `EFA_LOG` is `error`, `warn`, `info`, `debug` or `trace`, and then messages of that level and of those before it are
/// printed, one per line after `efa rank 3 info:`; or it is `off`, as when it is not set. A program that has set a logger
/// of its own (crate `log`) gets the messages there, by its own settings; `EFA_LOG` then changes nothing. So set it before
/// [`run`](crate::run()) or [`Init::from_env`](crate::Init::from_env), which call this function. Messages of other crates
/// are not printed.
///
/// # Errors
/// [`Error::Setting`] for any other value of `EFA_LOG`.
pub fn log_from_env() -> Result<()> {
    let Some(value) = input::variable(VARIABLE) else { return Ok(()) };
    let level: LevelFilter = value.parse().map_err(|_| {
        Error::setting(
            format!("cannot use {VARIABLE}={value}"),
            "it is not a level of messages",
            "set it to error, warn, info, debug or trace; or unset it",
        )
    })?;
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

/// Has the messages that are printed from now on say this rank. The first call counts.
pub(crate) fn prefix_rank(rank: usize) {
    let _ = LOGGER.rank.set(rank);
}

static LOGGER: StandardError = StandardError { rank: OnceLock::new() };

/// Prints messages on standard error.
struct StandardError {
    rank: OnceLock<usize>,
}

impl StandardError {
    /// The line for a message, whatever characters it has.
    fn line(&self, record: &Record<'_>) -> String {
        let rank = self.rank.get().map(|rank| format!(" rank {rank}")).unwrap_or_default();
        let level = record.level().as_str().to_lowercase();
        let text = record.args().to_string();
        let lines: Vec<_> = text.lines().map(|line| printable(line.trim()).to_string()).collect();
        format!("efa{rank} {level}: {}\n", lines.join("; "))
    }
}

impl Log for StandardError {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let krate = metadata.target().split("::").next().unwrap_or_default();
        (krate == "efa" || krate.starts_with("efa_")) && metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // A closed standard error is no reason to fail.
            let _ = std::io::stderr().write_all(self.line(record).as_bytes());
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    #[test]
    fn a_message_is_one_line_with_rank_and_level() {
        let line = |rank: Option<usize>, text: &str| {
            let logger = StandardError { rank: rank.map(OnceLock::from).unwrap_or_default() };
            logger.line(&Record::builder().level(Level::Warn).args(format_args!("{text}")).build())
        };
        assert_eq!(line(None, "all is well"), "efa warn: all is well\n");
        assert_eq!(line(Some(3), "one\n  two\x1b[2J"), "efa rank 3 warn: one; two\\u{1b}[2J\n");
    }

    #[test]
    fn messages_of_other_crates_are_not_printed() {
        let logger = StandardError { rank: OnceLock::new() };
        let says = |target| logger.enabled(&Metadata::builder().level(Level::Error).target(target).build());
        log::set_max_level(LevelFilter::Trace);
        assert!(says("efa_core::init") && says("efa::run"));
        assert!(!says("aws_config") && !says("rustls::client") && !says("efacts"));
    }
}
