//! The command line: arguments in, exit code out. Printing is allowed here and nowhere else; no command decides
//! anything about events.
//!
//! Exit codes (CONTRACT): 0 done, 1 it failed, 2 wrong usage or configuration.

#[cfg(feature = "sim")]
mod bench;
#[cfg(feature = "sim")]
mod demo;
#[cfg(feature = "sim")]
mod dev;
mod doctor;
mod history;
mod package;
mod parked;
mod pause;
mod place;
mod placeholders;
mod reconcile;
mod register;
mod serve;

use crate::config;
use clap::{CommandFactory, Parser, Subcommand};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

/// The variable in which the Functions host gives its handler a port; while it is set, `serve` is the default command.
const PORT_VARIABLE: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";

/// Keeps tables of one Dataverse environment equal to another: an Azure Functions custom handler.
#[derive(Debug, Parser)]
#[command(name = "dataverse-sync", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do. Without it: `serve`, if the Functions host started us.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run as the custom handler: listen on 127.0.0.1:$FUNCTIONS_CUSTOMHANDLER_PORT (8080 if unset)
    ///
    /// On SIGTERM or SIGINT the handler finishes what is under way and serves what still comes, for a bounded time. A
    /// second signal ends it at once.
    Serve,
    /// Show the whole story on this machine: nothing to install, nothing to configure
    ///
    /// Starts two Dataverse stand-ins, a table storage, a stand-in of the Functions host with several handler processes,
    /// and sends traffic with duplicates, races, reordering, faults, throttling and a killed process. Ends with a verdict:
    /// exit code 0 only if both environments are equal and nothing is owed.
    #[cfg(feature = "sim")]
    Demo(demo::DemoArgs),
    /// Run the app on this machine as `func start` does: HTTP on port 7071, timers, and a queue of its own
    ///
    /// Against the environments of local.settings.json, or with --stand-ins against two Dataverse stand-ins with sample
    /// tables. Prints one line per invocation. The handler starts again when it dies, when it is built anew, and when
    /// sync.toml changes. Ctrl-C ends it.
    #[cfg(feature = "sim")]
    Dev(dev::Arguments),
    /// Measure the handler under load, with and without faults, against stand-ins on this machine
    ///
    /// Prints events per second, times, CPU, round trips and requests per event, how many requests the target saw at once
    /// over time, and always what was lost, doubled or different: exit code 0 only if that is nothing. Use a release
    /// build, and compare numbers only with those of the same machine.
    #[cfg(feature = "sim")]
    Bench(bench::BenchArgs),
    /// The handler that `demo --naive` starts.
    #[cfg(feature = "sim")]
    #[command(hide = true)]
    NaiveHandler,
    /// Check settings, mapping, tokens, ledger, target metadata and host.json; say what is wrong and how to mend it
    ///
    /// One line per check. Exit code 0: nothing failed (warnings allowed), 1: a check failed. Changes nothing but a probe
    /// in the ledger, which it removes.
    Doctor(doctor::Arguments),
    /// Show what happened to one row: its events in the order they were handled, and what the ledger knows of it
    History(history::Arguments),
    /// Work on parked events: list, show, replay, discard
    #[command(subcommand)]
    Parked(parked::Command),
    /// List rows of the target that are placeholders and wait for their own event for longer than an hour
    Placeholders(placeholders::Arguments),
    /// Store events instead of applying them, of one table or of all, until `resume`
    Pause(pause::Arguments),
    /// Apply again what `pause` had stored
    Resume(pause::Arguments),
    /// Build the folder or zip that is deployed, and refuse what the host would refuse
    Package(package::Arguments),
    /// Compare source and target, and mend what differs
    ///
    /// Without --full, what has changed at the source since the last run; the first time all rows. Each difference goes through
    /// the same engine as live events, so this may run while they flow. A run that was interrupted goes on where it was.
    ///
    /// Exit code 0: done; with --dry-run: both sides are equal. 1: something is left to do, or differs.
    Reconcile(reconcile::Arguments),
    /// Register the Service Bus endpoint (or a webhook) and its steps in the source environment
    ///
    /// One step per table and message of the mapping, asynchronous, with the image that events need. Run again, it mends
    /// what somebody changed and removes what the mapping no longer needs; it never touches what it did not register.
    /// The queue's connection string comes from $DATAVERSE_SEND_CONNECTION, never from the command line.
    ///
    /// Exit code 0: done; with --dry-run: nothing to do. 1: failed, or there is something to do.
    Register(register::Arguments),
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Trouble {
    /// It was asked or configured wrongly: exit code 2.
    Wrong(anyhow::Error),
    /// It failed: exit code 1.
    Failed(anyhow::Error),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let environment = config::environment();
    let started_by_host = environment.contains_key(PORT_VARIABLE);
    match Cli::parse().chosen(started_by_host) {
        Some(command) => finish(run(command, &environment)),
        None => help(),
    }
}

fn run(command: Command, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    match command {
        Command::Serve => serve::serve(environment),
        #[cfg(feature = "sim")]
        Command::Demo(arguments) => demo::demo(&arguments, environment),
        #[cfg(feature = "sim")]
        Command::Dev(arguments) => dev::dev(&arguments, environment),
        #[cfg(feature = "sim")]
        Command::Bench(arguments) => bench::bench(&arguments, environment),
        #[cfg(feature = "sim")]
        Command::NaiveHandler => demo::naive_handler(environment),
        Command::Doctor(arguments) => doctor::doctor(&arguments, environment),
        Command::History(arguments) => history::show(&arguments, environment),
        Command::Parked(command) => parked::parked(&command, environment),
        Command::Placeholders(arguments) => placeholders::list(&arguments, environment),
        Command::Pause(arguments) => pause::pause(&arguments, environment),
        Command::Resume(arguments) => pause::resume(&arguments, environment),
        Command::Package(arguments) => package::package(&arguments, environment),
        Command::Reconcile(arguments) => reconcile::reconcile(&arguments, environment),
        Command::Register(arguments) => register::register(&arguments, environment),
    }
}

impl<E: Into<anyhow::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Cli {
    /// The command to run: the one asked for, `serve` under the host, none if there is nothing to go by.
    #[must_use]
    pub fn chosen(self, started_by_host: bool) -> Option<Command> {
        self.command.or(started_by_host.then_some(Command::Serve))
    }
}

/// Ends a command: errors go to stderr as `error: ...`, with their causes.
fn finish(result: Result<(), Trouble>) -> ExitCode {
    let (error, code) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Trouble::Failed(error)) => (error, 1),
        Err(Trouble::Wrong(error)) => (error, 2),
    };
    // a closed stderr is no reason to fail in another way
    let _ = writeln!(std::io::stderr(), "error: {}", with_causes(&error));
    ExitCode::from(code)
}

/// An error and its causes, without those that an error above them has told in its own words already.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

/// Shows the help, for whoever gave no command: wrong usage.
fn help() -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{}", Cli::command().render_long_help());
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other("refused");
        let error = anyhow::Error::from(inner).context("the ledger: refused").context("nothing is known");
        assert_eq!(with_causes(&error), "nothing is known: the ledger: refused");
    }

    #[test]
    fn the_argument_parser_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_command_under_the_host() {
        let check = |args: &[&str], hosted: bool, expected: Option<Command>| {
            assert_eq!(Cli::parse_from(args).chosen(hosted), expected, "{args:?}");
        };
        check(&["dataverse-sync"], true, Some(Command::Serve));
        check(&["dataverse-sync"], false, None);
        check(&["dataverse-sync", "serve"], false, Some(Command::Serve));
        assert!(Cli::try_parse_from(["dataverse-sync", "server"]).is_err());
    }
}
