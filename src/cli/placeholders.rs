//! `placeholders`: arguments and printing.

use super::Trouble;
use super::place::{Place, print};
use crate::operate::placeholders::placeholders;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;

/// What `placeholders` is told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Lists them.
///
/// # Errors
/// [`Trouble`].
pub fn list(arguments: &Arguments, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    arguments.place.with_stores(environment, async |stores| {
        let now_ms = stores.clock.now().timestamp_millis();
        let found = placeholders(&stores.inbox, &stores.ledger, now_ms).await;
        let (waiting, more) = found.map_err(|error| Trouble::Failed(error.into()))?;
        if arguments.json {
            print(&format!("{:#}\n", json!({ "placeholders": waiting, "more": more })));
            return Ok(());
        }
        for row in &waiting {
            print(&format!("{}  {}  since {}  needed by a row of {}\n", row.table, row.id, row.since, row.needed_by));
        }
        if waiting.is_empty() {
            print("no placeholder has waited for its row for longer than an hour\n");
        }
        if more {
            print("there are more than were looked at\n");
        }
        Ok(())
    })
}
