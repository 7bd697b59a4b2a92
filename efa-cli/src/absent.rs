//! What a build without libfabric says in place of the commands and options that it lacks.

use std::ffi::OsString;

use clap::Args;
use efa_error::Error;

use crate::failure::Failure;

/// Any arguments of a command that this build lacks.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct AbsentArgs {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<OsString>,
}

/// Returns the failure that says what can't be done, and how to get an `efa` that can.
pub(crate) fn absent(what: &str) -> Failure {
    Failure::from(Error::setting(
        format!("cannot {what}"),
        "this efa was built without libfabric, so it only judges the jobs that files describe (efa doctor --members FILE)",
        "install it with its default features, which takes a C compiler: cargo install --path efa-cli; or, where the \
         system has a libfabric: cargo install --path efa-cli --no-default-features --features libfabric",
    ))
}
