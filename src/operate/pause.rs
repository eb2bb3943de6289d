//! `pause` and `resume`: writes the state that every instance looks at before it applies an event, and makes due what was held
//! back. Applies nothing itself.
//!
//! What is held back is looked at again after an hour at the latest, so a resume that stops halfway costs time, no event.

use crate::clock::Clock;
use crate::domain::mapping::Mapping;
use crate::inbox::entry::SHARDS;
use crate::inbox::{Entry, Inbox, InboxError, Slip};
use crate::ledger::claim::LedgerError;
use crate::ledger::system::System;
use crate::sync::fuse;
pub use crate::sync::paused::{KNOWN_FOR, Paused};
use crate::sync::paused::{PAUSED, PAUSED_STATE};
use futures_util::{StreamExt, TryStreamExt, stream};

/// Entries listed at a time, of one shard.
const ENTRIES_AT_ONCE: usize = 1_000;
/// Entries moved at the same time.
const MOVES_AT_ONCE: usize = 16;

/// Why nothing was paused or resumed.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// The table is not in the mapping.
    #[error(transparent)]
    Table(#[from] super::UnknownTable),
    /// One table cannot be resumed while everything is paused.
    #[error("everything is paused, so {table} alone cannot be resumed; resume without a table, then pause the others")]
    AllPaused {
        /// Which.
        table: String,
    },
    /// The state could not be read or written.
    #[error("the ledger: {0}")]
    Ledger(#[from] LedgerError),
}

/// Pauses a table (by either side's name), or everything. Gives back what is paused then. Two round trips.
///
/// # Errors
/// [`PauseError`]; after a ledger error it may be paused.
pub async fn pause(system: &System, mapping: &Mapping, table: Option<&str>) -> Result<Paused, PauseError> {
    let table = table.map(|table| super::table_named(mapping, table)).transpose()?;
    let paused = system.update::<Paused>(PAUSED_STATE, |before| {
        let mut paused = before.cloned().unwrap_or_default();
        match table {
            Some(table) => drop(paused.tables.insert(table.source.clone())),
            None => paused.all = true,
        }
        (before != Some(&paused)).then_some(paused)
    });
    Ok(paused.await?.unwrap_or_default())
}

/// Resumes a table, or everything: then single tables are resumed too. Gives back what is still paused. A table that
/// is not in the mapping any more may be named as it was paused. A fuse that blew ([`fuse`]) is closed: whoever resumes a
/// table has looked. Two round trips, and one or two per table.
///
/// # Errors
/// [`PauseError`]; after a ledger error it may be resumed.
pub async fn resume(system: &System, mapping: &Mapping, table: Option<&str>) -> Result<Paused, PauseError> {
    let before = Paused::read(system).await?;
    let table = match table {
        Some(table) if before.tables.contains(table) => Some(table),
        Some(table) => Some(super::table_named(mapping, table)?.source.as_str()),
        None => None,
    };
    if let (true, Some(table)) = (before.all, table) {
        return Err(PauseError::AllPaused { table: table.to_owned() });
    }
    for resumed in mapping.tables.values().filter(|resumed| table.is_none_or(|table| table == resumed.source)) {
        fuse::close(system, &resumed.target).await?;
    }
    let left = system.update::<Paused>(PAUSED_STATE, |before| {
        let mut left = before.cloned().unwrap_or_default();
        match table {
            Some(table) => drop(left.tables.remove(table)),
            None => left = Paused::default(),
        }
        before.is_some_and(|before| *before != left).then_some(left)
    });
    Ok(left.await?.unwrap_or_default())
}

/// Makes due what waits for a pause that is over; `paused`: what still is. How many there were. An instance may hold back
/// more for [`KNOWN_FOR`] after a resume, so this is done again then. A round trip per thousand entries that wait, two per
/// entry moved.
///
/// # Errors
/// [`InboxError`]: some may still wait, for an hour at the longest; doing it again is safe.
pub async fn release(inbox: &Inbox, clock: &dyn Clock, paused: &Paused) -> Result<usize, InboxError> {
    let now_ms = clock.now().timestamp_millis();
    let waits = |entry: &Entry| entry.reason == PAUSED && entry.due_ms > now_ms && !paused.holds(&entry.table);
    let mut released = 0;
    for shard in 0..SHARDS {
        let mut after: Option<Slip> = None;
        loop {
            let page = inbox.due_in(shard, i64::MAX - 1, ENTRIES_AT_ONCE, after.as_ref()).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let moves = page.iter().filter(|(_, entry)| waits(entry)).map(|(slip, entry)| async move {
                // those that came first are tried first
                let due = entry.again(entry.first_ms.min(now_ms), entry.attempts, PAUSED);
                inbox.reschedule(slip, &due).await
            });
            released += stream::iter(moves).buffer_unordered(MOVES_AT_ONCE).try_collect::<Vec<_>>().await?.len();
        }
    }
    Ok(released)
}
