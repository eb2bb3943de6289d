//! Coming back to what is owed: due entries of the inbox, claims whose worker died, and the purge of what is old.
//!
//! A sweep begins with one range query over all shards; nothing due: that is all it costs. Shards that have work are leased,
//! so that sweeps of several instances share the work instead of doing it twice; nothing depends on it, the claim alone
//! decides who works on an event. The work ends well before the next tick.

use crate::domain::outcome::Outcome;
use crate::inbox::{Entry, Inbox, Slip};
use crate::ledger::purge::{Expiring, PurgeRequest, Purged, ScanStart, purge};
use crate::ledger::system::{Leased, System};
use crate::sync::engine::Engine;
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Entries taken at a time.
const ENTRIES_AT_ONCE: usize = 256;
/// Events worked on side by side; the gate before the target narrows it further.
const EVENTS_AT_ONCE: usize = 16;
/// Longest sweep: the timer ticks every minute.
const BUDGET: Duration = Duration::from_secs(45);
/// Records that one sweep's purge looks at.
const PURGE_RECORDS: usize = 2_000;
const PURGE_STATE: &str = "purge";

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Events that ended.
    pub ended: usize,
    /// Events that were deferred again.
    pub deferred: usize,
    /// Entries whose event had ended before.
    pub settled: usize,
    /// Entries of paused tables, put off without a look at their events.
    pub paused: usize,
    /// Entries that could not be worked on: they are still due.
    pub failed: usize,
    /// Records purged.
    pub purged: usize,
}

impl Swept {
    /// Entries that are not in the way of others any more.
    fn progress(&self) -> usize {
        self.ended + self.deferred + self.settled + self.paused
    }
}

/// Sweeps.
#[derive(Debug)]
pub struct Sweeper {
    engine: Arc<Engine>,
    system: System,
    records: Arc<dyn Expiring>,
}

impl Sweeper {
    /// A sweeper for what this engine owes.
    #[must_use]
    pub fn new(engine: Arc<Engine>, system: System, records: Arc<dyn Expiring>) -> Self {
        Self { engine, system, records }
    }

    /// Whose debts these are.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// One sweep, at most 45 s and what was begun by then.
    ///
    /// # Errors
    /// A text, when the inbox cannot be read at all. What fails for one entry is counted, and the entry stays due.
    pub async fn sweep(&self, invocation: &str) -> Result<Swept, String> {
        let parts = self.engine.parts();
        let Some(inbox) = &parts.inbox else { return Ok(Swept::default()) };
        let deadline = parts.clock.monotonic().saturating_add(BUDGET);
        let mut swept = Swept::default();
        loop {
            let now_ms = parts.clock.now().timestamp_millis();
            let due = inbox.due(now_ms, ENTRIES_AT_ONCE).await.map_err(|error| error.to_string())?;
            let before = swept.progress();
            if due.is_empty() {
                break;
            }
            self.work_off(inbox, due, deadline, invocation, &mut swept).await;
            // no progress: the rest waits for the next tick
            if swept.progress() == before || parts.clock.monotonic() >= deadline {
                break;
            }
        }
        if parts.clock.monotonic() < deadline {
            match self.purge(deadline).await {
                Ok(purged) => swept.purged = purged.events + purged.rows,
                Err(error) => tracing::warn!(error, "the purge did not get on"),
            }
        }
        Ok(swept)
    }

    async fn work_off(
        &self,
        inbox: &Inbox,
        due: Vec<(Slip, Entry)>,
        deadline: Duration,
        invocation: &str,
        swept: &mut Swept,
    ) {
        // as long as a row's: a sweep that died keeps a shard from the others no longer than its rows
        let lease = self.engine.parts().mapping.limits.lease;
        let mut shards: BTreeMap<u8, Vec<(Slip, Entry)>> = BTreeMap::new();
        for (slip, entry) in due {
            shards.entry(entry.shard()).or_default().push((slip, entry));
        }
        let shards = shards.into_iter().map(|(shard, entries)| async move {
            let name = format!("sweep:{shard}");
            let held = match self.system.lease(&name, Uuid::new_v4(), lease).await {
                Ok(Leased::Held(held)) => held,
                Ok(Leased::Busy { .. }) => return Swept::default(),
                Err(error) => {
                    tracing::warn!(%error, shard, "the shard could not be leased");
                    return Swept { failed: entries.len(), ..Swept::default() };
                }
            };
            let mut swept = Swept::default();
            for (slip, entry) in entries {
                if self.engine.parts().clock.monotonic() >= deadline {
                    break;
                }
                self.one(inbox, &slip, &entry, invocation, &mut swept).await;
            }
            if let Err(error) = self.system.release(held).await {
                tracing::debug!(%error, shard, "the shard's lease runs out by itself");
            }
            swept
        });
        let mut done = stream::iter(shards).buffer_unordered(EVENTS_AT_ONCE);
        while let Some(of_shard) = done.next().await {
            swept.ended += of_shard.ended;
            swept.deferred += of_shard.deferred;
            swept.settled += of_shard.settled;
            swept.paused += of_shard.paused;
            swept.failed += of_shard.failed;
        }
    }

    async fn one(&self, inbox: &Inbox, slip: &Slip, entry: &Entry, invocation: &str, swept: &mut Swept) {
        match self.engine.put_off_if_paused(slip, entry).await {
            Ok(false) => {}
            Ok(true) => {
                swept.paused += 1;
                return;
            }
            Err(error) => {
                tracing::warn!(%error, table = entry.table, "an entry of a paused table could not be put off");
                swept.failed += 1;
                return;
            }
        }
        match self.engine.resume(slip, entry, invocation).await {
            Ok(None) => swept.settled += 1,
            Ok(Some(report)) => {
                let (outcome, event_id, table, row) = (&report.outcome, &report.event_id, &report.table, &report.row);
                tracing::info!(outcome = outcome.name(), detail = outcome.detail(), event_id, table, row, "handled");
                match outcome {
                    Outcome::Deferred { .. } => swept.deferred += 1,
                    _ => swept.ended += 1,
                }
            }
            Err(error) => {
                tracing::warn!(%error, table = entry.table, "an owed event could not be worked on");
                swept.failed += 1;
                // it must not stand before others for ever
                let later = self.engine.parts().clock.now().timestamp_millis().saturating_add(30_000);
                let moved = inbox.reschedule(slip, &entry.again(later, entry.attempts, &error.to_string())).await;
                if let Err(error) = moved {
                    tracing::warn!(%error, "its entry could not be moved either");
                }
            }
        }
    }

    async fn purge(&self, deadline: Duration) -> Result<Purged, String> {
        let parts = self.engine.parts();
        let limits = &parts.mapping.limits;
        let before = |age: Duration| {
            parts.clock.now().timestamp_millis().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
        };
        let cursor = self.system.state::<ScanStart>(PURGE_STATE).await.map_err(|error| error.to_string())?;
        let request = PurgeRequest {
            start: cursor.map(|stored| stored.record).unwrap_or_default(),
            events_before_ms: before(limits.dedup_window),
            rows_before_ms: before(limits.tombstones),
            scanned_max: PURGE_RECORDS,
            deadline,
        };
        let purged =
            purge(self.records.as_ref(), parts.clock.as_ref(), &request).await.map_err(|error| error.to_string())?;
        if purged.next != request.start {
            let next = purged.next.clone();
            self.system
                .update::<ScanStart>(PURGE_STATE, |_| Some(next.clone()))
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(purged)
    }
}
