//! `parked`: arguments and printing.

mod show;

use super::Trouble;
use super::place::{Place, one_line, print};
use crate::app::desk::Stores;
use crate::operate::parked::{self, Desk, DeskError, Listing, Parked, ParkedFilter, Treated};
use anyhow::anyhow;
use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};

/// What is done with parked events.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// List them, the longest parked first
    List(ListArguments),
    /// Show one: why it is parked, what to do, and what is known of the event
    Show(ShowArguments),
    /// Have them run again, with the next sweep
    Replay(Many),
    /// Give them up: the payload is dropped for good
    Discard(Many),
}

/// Which of them.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those with this reason: its first word, or all of it
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// Only those of this source table
    #[arg(long)]
    table: Option<String>,
}

/// What `parked list` is told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ListArguments {
    #[command(flatten)]
    filter: Filter,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What `parked show` is told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ShowArguments {
    /// The id that `parked list` shows
    id: String,
    /// Print the payload too; it holds the row's values
    #[arg(long)]
    payload: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What `parked replay` and `parked discard` are told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Many {
    /// The ids that `parked list` shows
    #[arg(conflicts_with_all = ["reason", "table", "all"])]
    ids: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// All of them
    #[arg(long, conflicts_with_all = ["reason", "table"])]
    all: bool,
    /// Do not ask when there are several
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl From<&Filter> for ParkedFilter {
    fn from(filter: &Filter) -> Self {
        Self { reason: filter.reason.clone(), table: filter.table.clone() }
    }
}

/// Works on parked events.
///
/// # Errors
/// [`Trouble`].
pub fn parked(command: &Command, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    match command {
        Command::List(arguments) => {
            arguments.place.with_stores(environment, async |stores| list(arguments, &stores).await)
        }
        Command::Show(arguments) => {
            arguments.place.with_stores(environment, async |stores| show::show(arguments, &stores).await)
        }
        Command::Replay(many) => {
            many.place.with_stores(environment, async |stores| treat(many, &stores, Verb::Replay).await)
        }
        Command::Discard(many) => {
            many.place.with_stores(environment, async |stores| treat(many, &stores, Verb::Discard).await)
        }
    }
}

fn desk(stores: &Stores) -> Desk<'_> {
    Desk { ledger: &stores.ledger, inbox: &stores.inbox, clock: stores.clock.as_ref() }
}

async fn list(arguments: &ListArguments, stores: &Stores) -> Result<(), Trouble> {
    let listing = parked::list(&stores.inbox, &(&arguments.filter).into(), parked::ENTRIES_MAX).await?;
    let Listing { found, more, unreadable } = &listing;
    if arguments.json {
        print(&format!("{:#}\n", json!({"parked": found, "more": more, "unreadable": unreadable})));
        return Ok(());
    }
    found.iter().for_each(|entry| print(&line(entry)));
    if found.is_empty() {
        print("nothing is parked\n");
    }
    if *more {
        print("there are more; name a reason or a table\n");
    }
    if *unreadable > 0 {
        print(&format!("{unreadable} entries cannot be read\n"));
    }
    Ok(())
}

fn line(entry: &Parked) -> String {
    let table = if entry.table.is_empty() { "-" } else { &entry.table };
    format!("{}  {}  {table}  {}\n", entry.id, time(entry.parked_ms), one_line(&entry.reason))
}

fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[derive(Clone, Copy)]
enum Verb {
    Replay,
    Discard,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }
}

async fn treat(many: &Many, stores: &Stores, verb: Verb) -> Result<(), Trouble> {
    let chosen = !many.ids.is_empty() || many.all || many.filter != Filter::default();
    if !chosen {
        let verb = verb.name();
        return Err(Trouble::Wrong(anyhow!(
            "which events? `parked list` shows their ids: parked {verb} <id>...; or several by --reason, --table or --all"
        )));
    }
    let mut more = false;
    let ids = if many.ids.is_empty() {
        let listing = parked::list(&stores.inbox, &(&many.filter).into(), parked::ENTRIES_MAX).await?;
        more = listing.more;
        listing.found.into_iter().map(|entry| entry.id).collect()
    } else {
        many.ids.clone()
    };
    if ids.len() > 1 && !many.yes {
        ask(verb, ids.len())?;
    }
    let desk = desk(stores);
    let (mut treated, mut failed) = (Vec::new(), 0);
    for id in &ids {
        let ended = match verb {
            Verb::Replay => parked::replay(&desk, id).await,
            Verb::Discard => parked::discard(&desk, id).await,
        };
        match ended {
            Ok(one) => {
                failed += usize::from(!one.done.is_well());
                if !many.json {
                    print(&format!("{:9}  {}  {}\n", one.done.name(), one.id, one_line(&one.detail)));
                }
                treated.push(one);
            }
            Err(error) if parked::concerns_one(&error) => {
                failed += 1;
                print(&format!("failed     {id}  {error}\n"));
            }
            Err(error) => return Err(stopped(&treated, ids.len(), error)),
        }
    }
    if many.json {
        print(&format!("{:#}\n", json!({"done": treated, "failed": failed, "more": more})));
    } else if ids.is_empty() {
        print("nothing is parked\n");
    } else if more {
        print("there are more: run it again\n");
    }
    match failed {
        0 => Ok(()),
        failed => Err(Trouble::Failed(anyhow!("{failed} of {} were not done; their lines say why", ids.len()))),
    }
}

fn stopped(treated: &[Treated], of: usize, error: DeskError) -> Trouble {
    let context = format!("stopped after {} of {of}; run it again", treated.len());
    Trouble::Failed(anyhow::Error::new(error).context(context))
}

/// Asks in a terminal; elsewhere `--yes` must say it.
fn ask(verb: Verb, entries: usize) -> Result<(), Trouble> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Trouble::Wrong(anyhow!("this would {} {entries} events; say --yes if you mean it", verb.name())));
    }
    let _ = write!(std::io::stderr(), "{} {entries} events? [y/N] ", verb.name());
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Trouble::Failed(anyhow!("nothing was done"))) }
}
