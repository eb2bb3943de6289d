//! The line `standing`, once per sweep: what is parked and owed at its end. Alerts wait for it (`infra/alerts.bicep`), because
//! what stands still writes no other line. Two range queries of one page each, a minute.

use crate::inbox::{Counts, Inbox};

/// Entries of each kind that are counted: one page. More is `at_least`; alerts only ask whether there are any.
const SCAN_MAX: usize = 1_000;

/// Writes the line. `looked_ms` is when the oldest that the sweep saw in its last look came due.
pub(super) async fn tell(inbox: &Inbox, now_ms: i64, looked_ms: Option<i64>) {
    match inbox.counts(now_ms, SCAN_MAX).await {
        Ok(counts) => {
            let Counts { parked, owed, at_least, .. } = counts;
            let oldest_due_s = oldest_due_s(&counts, now_ms, looked_ms);
            tracing::info!(parked, owed, oldest_due_s, at_least, "standing");
        }
        Err(error) => tracing::warn!(%error, "what is owed and parked was not counted"),
    }
}

/// For how long the oldest entry has been due, in seconds; 0 if none is. The count goes shard by shard, so that one that ended
/// early may have missed the oldest; the sweep's look had the oldest of each shard.
fn oldest_due_s(counts: &Counts, now_ms: i64, looked_ms: Option<i64>) -> i64 {
    let looked_ms = looked_ms.filter(|_| counts.at_least);
    let oldest_ms = counts.oldest_due_ms.into_iter().chain(looked_ms).min();
    oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms).max(0) / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_what_was_counted_unless_the_count_ended_early() {
        let check = |oldest_due_ms: Option<i64>, at_least: bool, looked_ms: Option<i64>, expected: i64| {
            let counts = Counts { oldest_due_ms, at_least, ..Counts::default() };
            assert_eq!(oldest_due_s(&counts, 100_000, looked_ms), expected, "{counts:?} {looked_ms:?}");
        };
        check(None, false, None, 0);
        check(Some(40_000), false, Some(10_000), 60);
        check(Some(40_000), true, Some(10_000), 90);
        check(Some(40_000), true, None, 60);
        check(Some(160_000), false, None, 0);
    }
}
