//! Entries that are put aside, so that they do not stand before others: those of paused tables, and those that could not even
//! be worked on.

use super::turns::Row;
use super::{EVENTS_AT_ONCE, FAILED_MAX, FAILED_MIN, Sweeper, Swept, millis};
use crate::inbox::{Entry, Inbox, InboxError, Slip};
use crate::sync::paused::PAUSED;
use futures_util::{StreamExt, stream};

impl Sweeper {
    /// Puts off what is paused, and gives back the rest.
    pub(super) async fn without_paused(&self, rows: Vec<Row>) -> (Swept, Vec<Row>) {
        let looked_at = rows.into_iter().map(|row| async move {
            let (mut swept, mut rest) = (Swept::default(), Row { cut: row.cut, ..Row::default() });
            for (slip, entry) in row.entries {
                match self.0.engine.put_off_if_paused(&slip, &entry).await {
                    Ok(false) => rest.entries.push((slip, entry)),
                    Ok(true) => swept.paused += 1,
                    Err(error) => {
                        tracing::warn!(%error, table = entry.table, "an entry of a paused table could not be put off");
                        swept.failed += 1;
                    }
                }
            }
            (swept, rest)
        });
        let looked_at: Vec<(Swept, Row)> = stream::iter(looked_at).buffered(EVENTS_AT_ONCE).collect().await;
        let mut swept = Swept::default();
        let mut rows = Vec::with_capacity(looked_at.len());
        for (of_row, row) in looked_at {
            swept += of_row;
            rows.extend(Some(row).filter(|row| !row.entries.is_empty()));
        }
        (swept, rows)
    }

    /// Moves an entry that cannot even be worked on away from the others, for longer each time, and parks it in the end.
    pub(super) async fn put_off(&self, inbox: &Inbox, slip: &Slip, entry: &Entry, why: &str) -> Result<(), InboxError> {
        let (now_ms, limits) = (self.now_ms(), &self.0.limits);
        let attempts = entry.attempts.saturating_add(1);
        // the time that a pause took is not the event's
        let entry = &Entry { first_ms: if entry.reason == PAUSED { now_ms } else { entry.first_ms }, ..entry.clone() };
        let too_old = now_ms.saturating_sub(entry.first_ms) > millis(limits.age_max);
        if attempts >= limits.attempts_max || too_old {
            let word = if too_old { "too_old" } else { "attempts_exhausted" };
            inbox.park(&entry.again(now_ms, attempts, why), &format!("{word}: {why}"), now_ms).await?;
            return inbox.settle(slip).await;
        }
        let pause = FAILED_MIN.saturating_mul(1 << entry.attempts.min(8)).min(FAILED_MAX);
        let later = entry.again(now_ms.saturating_add(millis(pause)), attempts, why);
        inbox.reschedule(slip, &later).await.map(drop)
    }
}
