//! Settings: flags and environment variables, read once, described by `--help`.
//!
//! Each service has one `Settings` struct deriving [`clap::Args`], `Debug` and `Clone`. A field's doc
//! comment is its reference. Field types that keep mistakes out:
//!
//! | type | reads | example |
//! |---|---|---|
//! | [`Secret`] | one secret | `#[arg(long, env = "ADMIN_TOKEN", hide_env_values = true)]` |
//! | [`SecretList`] | several, comma-separated, for rotation | `#[arg(long, env = "SLACK_SIGNING_SECRET", hide_env_values = true, default_value = "")]` |
//! | [`Seconds`] | a length of time: `250ms`, `5s`, `2m`, `1h` | `default_value = "10s"` |
//! | [`Bytes`] | a size: `512`, `64KiB`, `1MiB` | `default_value = "1MiB"` |
//! | [`ServicePath`] | a file of which each service has its own | `.tocsin/keys/{service}.key` |
//! | [`HttpListen`] | where to listen: `127.0.0.1:8080`, `[::]:8080`; port 0 takes a free one | |
//!
//! **Secrets** must carry `hide_env_values = true`, or `--help` would print the variable's value, and
//! must have no default but the empty one. Their `Debug` and `Display` print `***`.
//!
//! An environment variable that is set but empty counts as not set, as it does in a compose file that
//! passes on `${NAME:-}`.

mod listen;
mod secret;
mod service_path;
mod units;

use std::ffi::{OsStr, OsString};

use clap::{ArgMatches, Args, Command, Parser};

pub use listen::{HttpListen, InvalidListen};
pub use secret::{EmptySecret, Secret, SecretList};
pub use service_path::ServicePath;
pub use units::{Bytes, InvalidUnit, Seconds};

/// Parses the process's own arguments and environment, or prints the error or help and exits.
#[must_use]
pub fn parse<P: Parser>() -> P {
    try_parse::<P>(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// Parses `arguments` (the first is the program's name) and the environment.
///
/// # Errors
/// clap's error, which also stands for `--help` and `--version`.
pub fn try_parse<P: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<P, clap::Error> {
    let mut command = without_empty_variables(P::command());
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The process's own arguments and environment, matched against `command`.
pub(crate) fn matches(command: Command) -> Result<ArgMatches, clap::Error> {
    without_empty_variables(command).try_get_matches()
}

/// Parses one service's settings alone: from the environment, and from `flags` as on that service's
/// own command line (without the program's name). So that one process can run several services
/// whose flags have the same names.
///
/// # Errors
/// clap's error; it names `service` as the program.
pub fn parse_service<S: Args>(
    service: &'static str,
    flags: impl IntoIterator<Item = OsString>,
) -> Result<S, clap::Error> {
    let mut command = without_empty_variables(S::augment_args(Command::new(service)));
    let arguments = std::iter::once(OsString::from(service)).chain(flags);
    let matches = command.try_get_matches_from_mut(arguments)?;
    S::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// clap takes a variable that is set to nothing as an empty value; we take it as not set.
#[expect(
    clippy::disallowed_methods,
    reason = "kit is where the environment is read"
)]
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    // Rare, and to change all commands takes a third of a megabyte.
    if reads_any(&command, &is_empty) {
        without_variables(command, &is_empty)
    } else {
        command
    }
}

/// Whether the command, or one below it, is connected to a variable that `named` knows.
fn reads_any(command: &Command, named: &dyn Fn(&OsStr) -> bool) -> bool {
    let mut variables = command.get_arguments().filter_map(clap::Arg::get_env);
    variables.any(named)
        || command
            .get_subcommands()
            .any(|subcommand| reads_any(subcommand, named))
}

/// The command, and those below it, with no connection to the variables that `ignored` names.
fn without_variables(command: Command, ignored: &dyn Fn(&OsStr) -> bool) -> Command {
    let subcommands: Vec<String> = command
        .get_subcommands()
        .map(|subcommand| subcommand.get_name().to_owned())
        .collect();
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(name) if ignored(name) => argument.env(None::<&'static str>),
        _ => argument,
    });
    subcommands.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |subcommand| without_variables(subcommand, ignored))
    })
}

#[cfg(test)]
mod tests;
