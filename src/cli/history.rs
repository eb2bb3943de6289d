//! `history`: arguments and printing. A few lines per event, then what the ledger knows of the row.

use super::Trouble;
use super::place::{Place, one_line, print};
use crate::app::desk::Stores;
use crate::operate::history::{EventLine, History, HistoryError, StateView, history};
use anyhow::anyhow;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;

/// What `history` is told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The table, by its name in the source or the target; or a many-to-many relationship
    table: String,
    /// The row: its GUID; column=value[,column=value] where a key identifies rows; of a link both GUIDs: guid,guid
    row: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Shows what happened to a row.
///
/// # Errors
/// [`Trouble::Wrong`] for a table or row that is not named rightly, [`Trouble::Failed`] if the ledger cannot be read or knows
/// nothing of the row.
pub fn show(arguments: &Arguments, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    arguments.place.with_stores(environment, async |stores| {
        let now_ms = stores.clock.now().timestamp_millis();
        let found = history(&stores.ledger, &stores.mapping, &arguments.table, &arguments.row, now_ms).await;
        let found = found.map_err(|error| match error {
            HistoryError::Table(_) | HistoryError::Row(_) => Trouble::Wrong(error.into()),
            HistoryError::Ledger(_) => Trouble::Failed(error.into()),
        })?;
        print(&if arguments.json { format!("{:#}\n", json!(found)) } else { as_lines(&found) });
        if found.is_empty() { Err(Trouble::Failed(nothing(&found, &arguments.table, &stores))) } else { Ok(()) }
    })
}

/// Why nothing may be known.
fn nothing(found: &History, table: &str, stores: &Stores) -> anyhow::Error {
    let days = stores.mapping.limits.dedup_window.as_secs() / 86_400;
    anyhow!(
        "the ledger knows nothing of {}: no event of it came to this system, or none that was for it. Check that the row is \
         named as the ledger names it (the GUID is the one in the source), that `doctor --settings` reads the same ledger \
         as the app, and `parked list --table {table}`. Ended events are kept for {days} days, what is known of a row \
         stays",
        found.row
    )
}

fn as_lines(found: &History) -> String {
    if found.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n\n", found.row);
    found.events.iter().for_each(|event| text.push_str(&event_lines(event)));
    if found.more {
        text.push_str("there are more events than are shown\n");
    }
    if let Some(state) = &found.state {
        text.push_str(&format!("\nwhat the ledger knows of the row\n{}", state_lines(state)));
    }
    text
}

fn event_lines(event: &EventLine) -> String {
    let detail = if event.detail.is_empty() { String::new() } else { format!(": {}", one_line(&event.detail)) };
    let mut facts = vec![format!("arrived {}", event.arrived)];
    facts.extend(event.version.as_ref().map(|version| format!("version {version}")));
    facts.push(if event.attempts == 1 { "1 attempt".to_owned() } else { format!("{} attempts", event.attempts) });
    if event.replays > 0 {
        facts.push(format!("replayed {} times", event.replays));
    }
    if event.folded_with > 0 {
        facts.push(format!("together with {} others", event.folded_with));
    }
    let mut lines = format!("{}  {:6}  {}{detail}\n", event.updated, event.operation, event.outcome);
    let mut line = |text: String| lines.push_str(&format!("    {text}\n"));
    line(facts.join(", "));
    if !event.columns.is_empty() {
        line(format!("carries {}", event.columns.join(", ")));
    }
    if !event.holds.is_empty() {
        line(format!("in the target still {}", event.holds.join(", ")));
    }
    let source = event.source.as_ref().map(|source| format!(" of {}", one_line(source))).unwrap_or_default();
    line(format!("id {}{source}", one_line(&event.id)));
    lines
}

fn state_lines(state: &StateView) -> String {
    let mut lines = String::new();
    let mut line = |name: &str, value: &str| lines.push_str(&format!("    {name:18}  {value}\n"));
    let exists = if state.exists { "yes" } else { "not known" };
    line("in the target", if state.is_deleted { "deleted" } else { exists });
    if let Some(id) = state.target_id {
        line("target id", &id.to_string());
    }
    for (name, value) in [("last delete", &state.deleted), ("placeholder since", &state.placeholder_since)] {
        if let Some(value) = value {
            line(name, value);
        }
    }
    if state.ambiguous {
        line("ambiguous", "two events tied and arrival decided; compare the row with the source");
    }
    if !state.in_doubt.is_empty() {
        let columns = state.in_doubt.join(", ");
        line("in doubt", &format!("{columns} (a write was not confirmed; the next one makes sure)"));
    }
    match &state.lease {
        Some(lease) => line("worked on by", &format!("{} until {} at the latest", lease.holder, lease.until)),
        None => line("worked on by", "nobody"),
    }
    for (column, version) in &state.columns {
        line("column", &format!("{column} at {version}"));
    }
    lines
}
