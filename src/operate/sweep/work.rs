//! Working on entries here: rows side by side, and what becomes of those that cannot be worked on.

use super::turns::Row;
use super::{Run, Sweeper, Swept, millis};
use crate::domain::outcome::Outcome;
use crate::inbox::{Entry, Inbox, InboxError, Slip};
use crate::sync::Owed;
use crate::sync::paused::PAUSED;
use futures_util::{StreamExt, stream};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// First and longest pause after an entry could not be worked on.
const FAILED_MIN: Duration = Duration::from_secs(30);
const FAILED_MAX: Duration = Duration::from_secs(900);

impl Sweeper {
    /// Works on rows side by side, and on the events of a row one after the other; when one of them cannot be finished the
    /// others of its row wait for another round.
    pub(super) async fn work(&self, run: &Run<'_>, rows: Vec<Row>) -> Swept {
        let rows = rows.into_iter().map(|row| async move {
            let mut swept = Swept::default();
            for (slip, entry) in row.entries {
                if self.is_over(run) {
                    break;
                }
                let ended = self.one(run, slip, entry).await;
                swept += ended;
                if ended.deferred + ended.failed > 0 {
                    break;
                }
            }
            swept
        });
        let mut swept = Swept::default();
        let mut done = stream::iter(rows).buffer_unordered(run.places.load(Ordering::Relaxed));
        while let Some(of_row) = done.next().await {
            swept += of_row;
        }
        swept
    }

    async fn one(&self, run: &Run<'_>, slip: Slip, entry: Entry) -> Swept {
        let mut swept = Swept::default();
        match self.0.engine.come_back(&Owed::Entry(slip.clone(), entry.clone()), run.invocation).await {
            Ok(None) => swept.settled = 1,
            Ok(Some(report)) => {
                let (outcome, event_id, table, row) = (&report.outcome, &report.event_id, &report.table, &report.row);
                tracing::info!(outcome = outcome.name(), detail = outcome.detail(), event_id, table, row, "handled");
                match outcome {
                    Outcome::Deferred { .. } => swept.deferred = 1,
                    _ => swept.ended = 1,
                }
            }
            Err(error) => {
                tracing::warn!(%error, table = entry.table, "an owed event could not be worked on");
                swept.failed = 1;
                if let Err(error) = self.put_off(run.inbox, &slip, &entry, &error.to_string()).await {
                    tracing::warn!(%error, "its entry could not be moved either");
                    swept.stuck = 1;
                }
            }
        }
        swept
    }

    /// Moves an entry that cannot even be worked on away from the others, for longer each time, and parks it in the end.
    async fn put_off(&self, inbox: &Inbox, slip: &Slip, entry: &Entry, why: &str) -> Result<(), InboxError> {
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
