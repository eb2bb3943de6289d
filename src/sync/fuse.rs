//! The fuse against mass deletes: someone empties a table by mistake, and the target must not follow before a person has
//! looked.
//!
//! Each instance counts the rows of a table that it really takes away (deleted or set inactive) within `deletes_window`.
//! Deletes that turn out stale or are repeated, and rows that the target does not have, do not count. One more than
//! `deletes_max`, and the fuse blows: that delete and those after it are parked (`mass_delete`), on every instance, as
//! soon as it looks ([`ASKED_EVERY`]). What is parked keeps its row as it is; other operations go on.
//!
//! A blown fuse closes when no delete of the table was stopped for one window. Until then each stopped delete keeps it
//! open, so a long mass delete does not trickle through. A replay passes a blown fuse, because a person decided it.
//!
//! If the ledger does not answer, no delete is made: it comes back.

use super::failure::Failure;
use crate::clock::Clock;
use crate::domain::mapping::{Mapping, TableMap};
use crate::ledger::claim::LedgerError;
use crate::ledger::system::System;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an answer about the fuse's state is believed: what other instances may still delete after it blew.
pub const ASKED_EVERY: Duration = Duration::from_secs(10);
/// `last_ms` of a fuse that a person closed.
const CLOSED: i64 = 0;
/// Parts of a window that are counted together.
const PARTS: u32 = 20;

/// That the fuse of a table blew; kept in the ledger under [`name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blown {
    /// When (ms).
    pub since_ms: i64,
    /// When it last stopped a delete (ms), to within a [`PARTS`]th of the window.
    pub last_ms: i64,
}

impl Blown {
    /// Whether deletes of the table are still stopped: it has stopped one within the window.
    fn is_open(&self, now_ms: i64, window: Duration) -> bool {
        now_ms.saturating_sub(self.last_ms) < millis(window)
    }
}

/// The name of a table's fuse among the ledger's states.
#[must_use]
pub fn name(target_table: &str) -> String {
    format!("fuse:{target_table}")
}

/// Closes the fuse of a table: a person decided that deletes go on. Other instances follow within [`ASKED_EVERY`].
///
/// # Errors
/// [`LedgerError`]: it may still be blown.
pub async fn close(system: &System, target_table: &str) -> Result<(), LedgerError> {
    let close = |found: Option<&Blown>| {
        found.filter(|blown| blown.last_ms != CLOSED).map(|blown| Blown { last_ms: CLOSED, ..*blown })
    };
    system.update(&name(target_table), close).await?;
    Ok(())
}

/// The tables, by their names in the source, whose deletes are parked now. One round trip per table of the mapping.
///
/// # Errors
/// [`LedgerError`].
pub async fn blown(system: &System, mapping: &Mapping, now_ms: i64) -> Result<Vec<String>, LedgerError> {
    let mut tables = Vec::new();
    for table in mapping.tables.values() {
        let found = system.state::<Blown>(&name(&table.target)).await?;
        if found.is_some_and(|found| found.record.is_open(now_ms, mapping.limits.deletes_window)) {
            tables.push(table.source.clone());
        }
    }
    Ok(tables)
}

/// The fuses of all tables, as one instance knows them.
#[derive(Debug, Default)]
pub(super) struct Fuse(Mutex<BTreeMap<String, Seen>>);

/// What an instance knows of one fuse.
#[derive(Debug, Default)]
struct Seen {
    /// Deletes made, by the part of a window in which they were (monotonic).
    made: VecDeque<(Duration, u32)>,
    blown: Option<Blown>,
    asked: Option<Duration>,
}

/// Whose fuse it is, and where its state is shared.
pub(super) struct Fused<'a> {
    pub(super) mapping: &'a Mapping,
    pub(super) system: Option<&'a System>,
    pub(super) table: &'a TableMap,
}

impl Fuse {
    /// Lets one delete through and counts it, or says that it has to be parked.
    pub(super) async fn pass(&self, fused: &Fused<'_>, clock: &dyn Clock) -> Result<(), Failure> {
        let (limits, table) = (&fused.mapping.limits, fused.table.target.as_str());
        let max = fused.table.deletes_max.unwrap_or(limits.deletes_max);
        if max == 0 {
            return Ok(());
        }
        let (window, now_ms) = (limits.deletes_window, clock.now().timestamp_millis());
        if let Some(system) = fused.system
            && self.is_old(table, clock.monotonic())
        {
            let found = system.state::<Blown>(&name(table)).await?.map(|found| found.record);
            let mut seen = self.seen();
            let seen = seen.entry(table.to_owned()).or_default();
            if found.is_some_and(|found| found.last_ms == CLOSED) && seen.blown != found {
                seen.made.clear();
            }
            (seen.blown, seen.asked) = (found, Some(clock.monotonic()));
        }
        let blown = match self.count(table, max, window, clock.monotonic(), now_ms) {
            Counted::Passes => return Ok(()),
            Counted::Stopped(blown) => blown,
        };
        self.keep_open(fused, blown, window, now_ms).await?;
        Err(Failure::never(reason(fused.table, max, window)))
    }

    /// A delete that was let through took nothing away.
    pub(super) fn return_one(&self, table: &str) {
        if let Some((_, made)) = self.seen().get_mut(table).and_then(|seen| seen.made.back_mut()) {
            *made = made.saturating_sub(1);
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_old(&self, table: &str, now: Duration) -> bool {
        let asked = self.seen().get(table).and_then(|seen| seen.asked);
        asked.is_none_or(|asked| now.saturating_sub(asked) >= ASKED_EVERY)
    }

    fn count(&self, table: &str, max: u32, window: Duration, now: Duration, now_ms: i64) -> Counted {
        let mut seen = self.seen();
        let seen = seen.entry(table.to_owned()).or_default();
        seen.made.retain(|(at, _)| now.saturating_sub(*at) < window);
        if let Some(blown) = seen.blown.filter(|blown| blown.is_open(now_ms, window)) {
            return Counted::Stopped(Some(blown));
        }
        if seen.made.iter().map(|(_, made)| made).sum::<u32>() >= max {
            return Counted::Stopped(None);
        }
        match seen.made.back_mut().filter(|(at, _)| now.saturating_sub(*at) < window / PARTS) {
            Some((_, made)) => *made += 1,
            None => seen.made.push_back((now, 1)),
        }
        Counted::Passes
    }

    /// Writes down that the fuse stopped a delete, unless that was written a moment ago.
    async fn keep_open(
        &self,
        fused: &Fused<'_>,
        blown: Option<Blown>,
        window: Duration,
        now_ms: i64,
    ) -> Result<(), Failure> {
        let table = fused.table.target.as_str();
        let recently = |blown: &Blown| now_ms.saturating_sub(blown.last_ms) < millis(window / PARTS);
        if blown.as_ref().is_some_and(recently) {
            return Ok(());
        }
        if blown.is_none() {
            tracing::error!(table, "mass_delete: the fuse blew, deletes are parked from now on");
        }
        let open = move |found: Option<&Blown>| {
            let still = found.filter(|found| found.is_open(now_ms, window));
            let last_ms = still.map_or(now_ms, |found| found.last_ms.max(now_ms));
            Some(Blown { since_ms: still.map_or(now_ms, |found| found.since_ms), last_ms })
        };
        let written = match fused.system {
            Some(system) => system.update(&name(table), open).await?,
            None => open(blown.as_ref()),
        };
        self.seen().entry(table.to_owned()).or_default().blown = written;
        Ok(())
    }
}

enum Counted {
    Passes,
    /// By a fuse that was blown before, or that blows by this delete.
    Stopped(Option<Blown>),
}

fn reason(table: &TableMap, max: u32, window: Duration) -> String {
    let (source, seconds) = (&table.source, window.as_secs());
    format!(
        "mass_delete: more than {max} rows of {source} were deleted within {seconds} s, so this and further deletes of the \
         table wait for a person; if they are meant, let them through with `dataverse-sync parked replay --reason \
         mass_delete --table {source}`; new ones pass again when none came for {seconds} s, or with a larger `deletes_max`"
    )
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
