//! How the command fails: three lines on stderr (what, why, what to do) and an exit status.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use efa_error::{Error, Explanation, printable};

use crate::terminal::wants_colour;

/// Exit status of a command line that makes no sense.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Exit status of everything that failed in another way.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Exit status of `efa doctor` when something could not be determined.
pub(crate) const EXIT_UNDETERMINED: u8 = 3;

/// An error together with the status the command exits with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Absent where there is nobody to tell.
    error: Option<Error>,
    exit: u8,
}

impl Failure {
    /// Makes a failure of an error that deserves a status of its own, such as the shell's 127.
    pub(crate) fn new(error: Error, exit: u8) -> Self {
        Self { error: Some(error), exit }
    }

    /// Makes a failure that needs no words.
    pub(crate) fn quiet(exit: u8) -> Self {
        Self { error: None, exit }
    }

    /// Returns the rank that the error is about, where it is about one.
    pub(crate) fn rank(&self) -> Option<usize> {
        self.error.as_ref()?.peer().map(|peer| peer.rank)
    }

    /// Prints the three lines and gives the exit status. What another rank tells is not told again.
    pub(crate) fn report(self) -> ExitCode {
        match self.error {
            Some(Error::Refused { told_by: Some(_), .. }) | None => {}
            Some(error) => print(error.explanation()),
        }
        ExitCode::from(self.exit)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::Misuse(_) | Error::Setting(_) => EXIT_USAGE,
            _ => EXIT_FAILED,
        };
        Self::new(error, exit)
    }
}

/// Answers a command line of `efa` that clap did not take: help and version go to stdout, the rest is a usage error.
pub(crate) fn usage(error: &clap::Error, efa: &clap::Command) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that closed the pipe early has seen what it wanted.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            print(&explain(error, efa));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Writes the three lines. If stderr is closed nobody is left to tell.
fn print(explanation: &Explanation) {
    let stderr = io::stderr();
    let (red, bold, plain) =
        if wants_colour(&stderr) { ("\x1b[31;1m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let Explanation { what, why, remedy } = explanation;
    let [what, why, remedy] = [what, why, remedy].map(|text| printable(text));
    let text =
        format!("{red}error:{plain} {what}\n  {bold}why:{plain} {why}\n  {bold}fix:{plain} {remedy}\n");
    let _ = stderr.lock().write_all(text.as_bytes());
}

/// Puts clap's finding into our three sentences. Our own parsers have brought theirs.
fn explain(error: &clap::Error, efa: &clap::Command) -> Explanation {
    let cause = std::error::Error::source(error);
    if let Some(ours) = cause.and_then(|cause| cause.downcast_ref::<Error>()) {
        return ours.explanation().clone();
    }
    let context = |kind| error.get(kind).map(text_of).unwrap_or_default();
    let argument = context(ContextKind::InvalidArg);
    let value = context(ContextKind::InvalidValue);
    let (what, why) = match error.kind() {
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            ("no command given".into(), "efa does nothing on its own".into())
        }
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand);
            (format!("unknown command '{name}'"), "efa has no command of that name".into())
        }
        ErrorKind::UnknownArgument => {
            (format!("unexpected argument '{argument}'"), "the command takes no such argument".into())
        }
        ErrorKind::MissingRequiredArgument => {
            (format!("missing {argument}"), "the command can't go on without it".into())
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            (format!("no value for {argument}"), "the option needs one".into())
        }
        ErrorKind::InvalidValue => {
            (format!("cannot use '{value}' for {argument}"), "it is not one of the values it takes".into())
        }
        ErrorKind::ValueValidation => {
            let why = cause.map(ToString::to_string).unwrap_or_default();
            (format!("cannot use '{value}' for {argument}"), why)
        }
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg);
            if other == argument {
                (format!("{argument} given more than once"), "it can be given once".into())
            } else {
                (format!("{argument} together with {other}"), "one excludes the other".into())
            }
        }
        other => ("cannot read the command line".into(), other.to_string()),
    };
    Explanation { what, why, remedy: remedy(error, efa) }
}

/// Returns what to do: the closest match or the possible values, else where the help is.
fn remedy(error: &clap::Error, efa: &clap::Command) -> String {
    for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue] {
        if let Some(suggestion) = error.get(kind) {
            return format!("did you mean {}?", text_of(suggestion));
        }
    }
    for kind in [ContextKind::ValidValue, ContextKind::ValidSubcommand] {
        if let Some(values) = error.get(kind) {
            return format!("use one of: {}", text_of(values));
        }
    }
    let command = std::env::args().nth(1).filter(|name| efa.find_subcommand(name).is_some());
    match command {
        Some(command) => format!("see 'efa {command} --help'"),
        None => "see 'efa --help'".into(),
    }
}

fn text_of(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        ContextValue::StyledStr(text) => text.to_string(),
        ContextValue::StyledStrs(texts) => {
            texts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
