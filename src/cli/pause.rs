//! `pause` and `resume`: arguments and printing.

use super::Trouble;
use super::place::{Place, print};
use crate::operate::pause::{self, KNOWN_FOR, PauseError, Paused};
use anyhow::Context;
use clap::Args;
use std::collections::BTreeMap;
use std::time::Duration;

/// What `pause` and `resume` are told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// One table; without it everything
    table: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Pauses.
///
/// # Errors
/// [`Trouble`].
pub fn pause(arguments: &Arguments, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    arguments.place.with_stores(environment, async |stores| {
        let ended = pause::pause(&stores.system, &stores.mapping, arguments.table.as_deref()).await;
        print(&told(&ended.map_err(trouble)?));
        Ok(())
    })
}

/// Resumes, and makes due what was held back.
///
/// # Errors
/// [`Trouble`]; what was held back is applied within an hour even if this fails after the state is written.
pub fn resume(arguments: &Arguments, environment: &BTreeMap<String, String>) -> Result<(), Trouble> {
    arguments.place.with_stores(environment, async |stores| {
        let left = pause::resume(&stores.system, &stores.mapping, arguments.table.as_deref()).await.map_err(trouble)?;
        print(&told(&left));
        let release = || pause::release(&stores.inbox, stores.clock.as_ref(), &left);
        let context = "it is resumed, but stored events wait for up to an hour; run it again to apply them sooner";
        let at_once = release().await.context(context)?;
        // until then an instance may still have held back what came
        tokio::time::sleep(KNOWN_FOR + Duration::from_secs(1)).await;
        let released = at_once + release().await.context(context)?;
        print(&format!("{released} stored events are due now; the next sweeps apply them\n"));
        Ok(())
    })
}

fn trouble(error: PauseError) -> Trouble {
    match error {
        PauseError::Table(_) | PauseError::AllPaused { .. } => Trouble::Wrong(error.into()),
        PauseError::Ledger(_) => Trouble::Failed(error.into()),
    }
}

fn told(paused: &Paused) -> String {
    let tables: Vec<&str> = paused.tables.iter().map(String::as_str).collect();
    match (paused.all, tables.is_empty()) {
        (true, _) => "everything is paused: in 5 s no instance begins to apply an event; they are stored\n".to_owned(),
        (false, true) => "nothing is paused\n".to_owned(),
        (false, false) => format!("paused: {}; in force within 5 s\n", tables.join(", ")),
    }
}
