//! The purge of what is old, a part of it in each sweep, from where the last one came to. Knows no entry.

use super::{SweepParts, Sweeper, millis};
use crate::ledger::purge::{PurgeRequest, Purged, ScanStart, purge};
use std::time::Duration;

/// Records that one sweep's purge looks at.
const PURGE_RECORDS: usize = 2_000;
const PURGE_STATE: &str = "purge";

impl Sweeper {
    pub(super) async fn purge(&self, deadline: Duration) -> Result<Purged, String> {
        let SweepParts { system, records, clock, limits, .. } = &self.parts;
        let before = |age: Duration| self.now_ms().saturating_sub(millis(age));
        let cursor = system.state::<ScanStart>(PURGE_STATE).await.map_err(|error| error.to_string())?;
        let request = PurgeRequest {
            start: cursor.map(|stored| stored.record).unwrap_or_default(),
            events_before_ms: before(limits.dedup_window),
            rows_before_ms: before(limits.tombstones),
            scanned_max: PURGE_RECORDS,
            deadline,
        };
        let purged = purge(records.as_ref(), clock.as_ref(), &request).await.map_err(|error| error.to_string())?;
        if purged.next != request.start {
            let next = purged.next.clone();
            system.update::<ScanStart>(PURGE_STATE, |_| Some(next.clone())).await.map_err(|error| error.to_string())?;
        }
        Ok(purged)
    }
}
